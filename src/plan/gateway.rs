//! The stack's own helpers: gateways for published ports, or a keeper for the
//! store where nothing is published.
//!
//! A port stays with the gateway container that publishes it, because the engine
//! cannot change published ports; new ports together get one new gateway.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::action::Action;
use super::action::Cause;
use super::action::Listen;
use super::action::StepId;
use super::doors::Gateways;
use super::draft::Draft;
use super::ground::Ground;
use super::inner;
use super::keeper;
use super::listeners;
use super::reach;
use super::upgrade;
use super::view::View;
use crate::state::desired::PublishedPort;
use crate::state::names;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::Role;
use crate::state::ports::Bound;

/// First port a gateway listens on inside its container.
const FIRST_INSIDE: u16 = 10_001;

/// Makes, mends, replaces and removes helpers.
pub(super) fn draft(view: &View<'_>, draft: &mut Draft, ground: &Ground) -> Gateways {
    let ports = active_ports(view);
    let mut gateways = Gateways::default();
    let is_new =
        |port: &&PublishedPort| published(view).all(|one| !one.listens.contains_key(&port.id));
    let new: Vec<&PublishedPort> = ports.iter().copied().filter(is_new).collect();
    let mut leaving = Vec::new();
    for one in published(view) {
        let kept: Vec<&PublishedPort> = ports
            .iter()
            .copied()
            .filter(|port| one.listens.contains_key(&port.id))
            .collect();
        if kept.is_empty() && view.input.desired.only.is_empty() {
            leaving.push(one);
        } else {
            keep(view, draft, ground, &mut gateways, one, &kept);
            gateways.exist = true;
        }
    }
    // One that holds a port under another address goes before the new one comes.
    let (first, last): (Vec<&Instance>, Vec<&Instance>) = leaving.into_iter().partition(|one| {
        bounds(one.listens.keys())
            .iter()
            .any(|held| clash(held, &new))
    });
    for one in first {
        let text = format!(
            "{} is replaced; its ports will not answer for a moment",
            one.name
        );
        draft.note(true, "", text);
        let gone = retire(draft, one, &Cause::Replaced, &[]);
        gateways.released.push((gone, bounds(one.listens.keys())));
    }
    if !new.is_empty() {
        open(view, draft, ground, &mut gateways, &new);
    }
    let name = (!new.is_empty()).then(|| free_name(view, &BTreeSet::new()));
    inner::open(
        view,
        draft,
        ground,
        &mut gateways,
        &name.into_iter().collect(),
    );
    keeper::draft(view, draft, ground, &ports, &mut gateways);
    for one in last {
        let gone = retire(draft, one, &Cause::NotInFile, &gateways.all());
        gateways.released.push((gone, bounds(one.listens.keys())));
    }
    listeners::first(view, draft, &ports, &mut gateways);
    inner::name(view, draft, ground, &mut gateways);
    gateways
}

/// Makes the gateway of new ports.
fn open(
    view: &View<'_>,
    draft: &mut Draft,
    ground: &Ground,
    gateways: &mut Gateways,
    new: &[&PublishedPort],
) {
    let wanted: Vec<Bound> = new.iter().filter_map(|port| bound(port)).collect();
    let needs = gateways.released(&wanted);
    let name = free_name(view, &BTreeSet::new());
    let step = create(view, draft, ground, &name, new, Cause::Missing, &needs);
    let holders = holders(view, new);
    if holders.is_empty() {
        gateways.ready.push(step);
        gateways.probing.push(step);
    } else {
        let ids: Vec<&str> = new.iter().map(|port| port.id.as_str()).collect();
        let text = format!(
            "the gateway takes {} over from {}; nothing answers there for a moment",
            ids.join(", "),
            holders.iter().cloned().collect::<Vec<_>>().join(", ")
        );
        draft.note(true, "", text);
        gateways.handover = !gateways.exist;
        gateways.waiting.push((step, holders));
    }
    gateways.exist = true;
}

fn bound(port: &PublishedPort) -> Option<Bound> {
    Some(Bound::new(&port.host_ip, port.host_port?, "tcp"))
}

/// The ids of listeners as ports of the host.
fn bounds<'i>(ids: impl Iterator<Item = &'i String>) -> Vec<Bound> {
    ids.filter_map(|id| Bound::parse(id)).collect()
}

fn clash(held: &Bound, ports: &[&PublishedPort]) -> bool {
    ports
        .iter()
        .filter_map(|port| bound(port))
        .any(|port| port.clashes(held))
}

/// Ports that belong to a gateway in this plan: all, or with named services those
/// that lead to one of them or are published already.
pub(super) fn active_ports<'a>(view: &View<'a>) -> Vec<&'a PublishedPort> {
    let in_scope: BTreeSet<&str> = view
        .services
        .iter()
        .filter(|one| one.in_scope && !one.taken_over)
        .map(|one| one.service.name.as_str())
        .collect();
    view.input
        .desired
        .ports
        .iter()
        .filter(|port| {
            let led_to = port
                .routes
                .iter()
                .any(|route| in_scope.contains(route.service.as_str()));
            let published = published(view).any(|gateway| gateway.listens.contains_key(&port.id));
            // An adopted container that is not to be replaced keeps its port.
            let kept = holders(view, &[*port]).iter().any(|name| {
                let instances = &view.input.observed.instances;
                instances
                    .iter()
                    .any(|one| one.name == *name && !in_scope.contains(one.service.as_str()))
            });
            published || (led_to && !kept)
        })
        .collect()
}

/// Names of running containers of the stack's services that hold one of these ports
/// themselves: adopted ones, or ones of ours whose port moves to the gateway.
fn holders(view: &View<'_>, ports: &[&PublishedPort]) -> BTreeSet<String> {
    let holds = |one: &Instance| {
        bounds(one.host_ports.iter())
            .iter()
            .any(|held| clash(held, ports))
    };
    let desired = &view.input.desired.services;
    view.input
        .observed
        .instances
        .iter()
        .filter(|one| one.role == Role::Service && desired.contains_key(&one.service))
        .filter(|one| one.state != InstanceState::Created && holds(one))
        .filter(|one| {
            !matches!(
                one.state,
                InstanceState::Exited { .. } | InstanceState::Dead
            )
        })
        .map(|one| one.name.clone())
        .collect()
}

/// Brings an existing gateway to the ports it keeps.
fn keep(
    view: &View<'_>,
    draft: &mut Draft,
    ground: &Ground,
    gateways: &mut Gateways,
    one: &Instance,
    kept: &[&PublishedPort],
) {
    let fewer = kept.len() < one.listens.len() && view.input.desired.only.is_empty();
    if fewer {
        let gone: Vec<&str> = one
            .listens
            .keys()
            .filter(|id| kept.iter().all(|port| port.id != **id))
            .map(String::as_str)
            .collect();
        let ids: Vec<&str> = kept.iter().map(|port| port.id.as_str()).collect();
        draft.note(
            true,
            "",
            format!(
                "{} is replaced because {} left the file; {} will not answer for a moment",
                one.name,
                gone.join(", "),
                ids.join(", ")
            ),
        );
        let removed = retire(draft, one, &Cause::Replaced, &[]);
        let held = bounds(one.listens.keys());
        gateways.released.push((removed, held));
        let cause = Cause::Changed(vec!["published ports changed".to_owned()]);
        let step = create(view, draft, ground, &one.name, kept, cause, &[removed]);
        gateways.ready.push(step);
        return;
    }
    match mend(draft, one) {
        Mended::Runs => upgrade::draft(view, draft, gateways, one, None),
        Mended::Started(step) => {
            gateways.ready.push(step);
            upgrade::draft(view, draft, gateways, one, Some(step));
        }
        Mended::Removed(step) => {
            let step = create(
                view,
                draft,
                ground,
                &one.name,
                kept,
                Cause::LeftOver,
                &[step],
            );
            gateways.ready.push(step);
            return;
        }
    }
    let wanted = reach::networks(view, kept, &one.networks);
    for network in wanted.difference(&one.networks) {
        let action = Action::ConnectNetwork {
            container: one.name.clone(),
            network: network.clone(),
            aliases: Vec::new(),
        };
        let cause = Cause::NeededBy("the routes".to_owned());
        let needs = ground.of_networks(std::slice::from_ref(network));
        let step = draft.step("", action, cause, &needs);
        gateways.ready.push(step);
    }
}

pub(super) enum Mended {
    Runs,
    Started(StepId),
    Removed(StepId),
}

/// Starts a helper that ended, removes one that cannot be started.
pub(super) fn mend(draft: &mut Draft, one: &Instance) -> Mended {
    let container = one.name.clone();
    match &one.state {
        InstanceState::Running => Mended::Runs,
        InstanceState::Exited { code, .. } => Mended::Started(draft.step(
            "",
            Action::StartContainer { container },
            Cause::NotRunning(format!("exited {code}")),
            &[],
        )),
        InstanceState::Paused | InstanceState::Restarting => Mended::Started(draft.step(
            "",
            Action::RestartContainer { container },
            Cause::NotRunning("does not run".to_owned()),
            &[],
        )),
        InstanceState::Created | InstanceState::Dead => Mended::Removed(draft.step(
            "",
            Action::RemoveContainer { container },
            Cause::LeftOver,
            &[],
        )),
    }
}

fn create(
    view: &View<'_>,
    draft: &mut Draft,
    ground: &Ground,
    name: &str,
    ports: &[&PublishedPort],
    cause: Cause,
    needs: &[StepId],
) -> StepId {
    let mut sorted = ports.to_vec();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    let listens = sorted
        .iter()
        .zip(FIRST_INSIDE..)
        .map(|(port, inside)| Listen {
            id: port.id.clone(),
            host_ip: port.host_ip.clone(),
            host_port: port.host_port,
            inside,
        })
        .collect();
    let networks: Vec<String> = reach::networks(view, ports, &BTreeSet::new())
        .into_iter()
        .collect();
    let mut all = needs.to_vec();
    all.extend(ground.store);
    all.extend(ground.of_networks(&networks));
    let action = Action::CreateHelper {
        name: name.to_owned(),
        role: Role::Gateway,
        listens,
        networks,
        names: BTreeMap::new(),
    };
    draft.step("", action, cause, &all)
}

pub(super) fn retire(draft: &mut Draft, one: &Instance, cause: &Cause, needs: &[StepId]) -> StepId {
    let container = one.name.clone();
    let mut needs = needs.to_vec();
    if one.state == InstanceState::Running {
        let action = Action::StopContainer {
            container: container.clone(),
            grace_secs: None,
        };
        needs = vec![draft.step("", action, cause.clone(), &needs)];
    }
    draft.step(
        "",
        Action::RemoveContainer { container },
        cause.clone(),
        &needs,
    )
}

pub(super) fn helpers<'v>(view: &'v View<'_>, role: Role) -> impl Iterator<Item = &'v Instance> {
    view.input
        .observed
        .instances
        .iter()
        .filter(move |one| one.role == role)
}

/// Gateways of published ports.
pub(super) fn published<'v>(view: &'v View<'_>) -> impl Iterator<Item = &'v Instance> {
    helpers(view, Role::Gateway).filter(|one| !one.is_inner())
}

/// A name that no container has, and none of the plan.
pub(super) fn free_name(view: &View<'_>, taken: &BTreeSet<String>) -> String {
    let stack = &view.input.desired.stack;
    let mut number = 1;
    loop {
        let name = names::gateway(stack, number);
        let mut instances = view.input.observed.instances.iter();
        if !taken.contains(&name) && instances.all(|one| one.name != name) {
            return name;
        }
        number += 1;
    }
}
