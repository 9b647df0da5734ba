//! The stack's own helpers: gateways for published ports, or a keeper for the
//! store where nothing is published.
//!
//! A port stays with the gateway container that publishes it, because the engine
//! cannot change published ports; new ports together get one new gateway.

use std::collections::BTreeSet;

use super::action::Action;
use super::action::Cause;
use super::action::Listen;
use super::action::StepId;
use super::draft::Draft;
use super::ground::Ground;
use super::keeper;
use super::listeners;
use super::reach;
use super::view::View;
use crate::state::desired::PublishedPort;
use crate::state::names;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::Role;
use crate::state::ports::Bound;

/// First port a gateway listens on inside its container.
const FIRST_INSIDE: u16 = 10_001;

/// What the services' steps need to know of the gateways.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    /// A gateway runs, or will.
    pub(super) exist: bool,
    /// Steps before targets may be added or removed.
    pub(super) ready: Vec<StepId>,
    /// Steps that bring a gateway which can probe.
    pub(super) probing: Vec<StepId>,
    /// Steps that publish ports which containers of the stack hold, with their names.
    waiting: Vec<(StepId, BTreeSet<String>)>,
}

impl Gateways {
    /// The gateways as they are, where a plan changes nothing about them.
    pub(super) fn running(view: &View<'_>) -> Self {
        Self {
            exist: helpers(view, Role::Gateway).any(|one| one.state == InstanceState::Running),
            ..Self::default()
        }
    }

    /// Whether a gateway can only be made once this container has stopped.
    pub(super) fn waits_for(&self, found: &Instance) -> bool {
        self.waiting
            .iter()
            .any(|(_, holders)| holders.contains(&found.name))
    }

    /// A step stops this container: what waits for its ports waits for that.
    pub(super) fn freed(&self, draft: &mut Draft, found: &Instance, stop: StepId) {
        for (step, holders) in &self.waiting {
            if holders.contains(&found.name) {
                draft.need(*step, &[stop]);
            }
        }
    }
}

/// Makes, mends, replaces and removes helpers.
pub(super) fn draft(view: &View<'_>, draft: &mut Draft, ground: &Ground) -> Gateways {
    let ports = active_ports(view);
    let mut gateways = Gateways::default();
    let mut listening = BTreeSet::new();
    let mut leaving = Vec::new();
    for one in helpers(view, Role::Gateway) {
        let kept: Vec<&PublishedPort> = ports
            .iter()
            .copied()
            .filter(|port| one.listens.contains_key(&port.id))
            .collect();
        listening.extend(kept.iter().map(|port| port.id.clone()));
        if kept.is_empty() && view.input.desired.only.is_empty() {
            leaving.push(one);
        } else {
            keep(view, draft, ground, &mut gateways, one, &kept);
        }
    }
    let new: Vec<&PublishedPort> = ports
        .iter()
        .copied()
        .filter(|port| !listening.contains(&port.id))
        .collect();
    if !new.is_empty() {
        let name = free_name(view);
        let step = create(view, draft, ground, &name, &new, Cause::Missing, &[]);
        gateways.ready.push(step);
        let holders = adopted_holders(view, &new);
        if holders.is_empty() {
            gateways.probing.push(step);
        } else {
            let ids: Vec<&str> = new.iter().map(|port| port.id.as_str()).collect();
            let text = format!(
                "{} moves from {} to the gateway; it will not answer for a moment",
                ids.join(", "),
                holders.iter().cloned().collect::<Vec<_>>().join(", ")
            );
            draft.note(true, "", text);
            gateways.waiting.push((step, holders));
        }
    }
    gateways.exist = !listening.is_empty() || !new.is_empty();
    keeper::draft(view, draft, ground, &ports, &mut gateways);
    for one in leaving {
        let needs = gateways.ready.clone();
        retire(draft, one, &Cause::NotInFile, &needs);
    }
    listeners::first(view, draft, &ports, &mut gateways);
    gateways
}

/// Ports that belong to a gateway in this plan: all, or with named services those
/// that lead to one of them or are published already.
pub(super) fn active_ports<'a>(view: &View<'a>) -> Vec<&'a PublishedPort> {
    let in_scope: BTreeSet<&str> = view
        .services
        .iter()
        .filter(|one| one.in_scope)
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
            let published =
                helpers(view, Role::Gateway).any(|gateway| gateway.listens.contains_key(&port.id));
            // An adopted container that is not to be replaced keeps its port.
            let kept = adopted_holders(view, &[*port]).iter().any(|name| {
                let instances = &view.input.observed.instances;
                instances
                    .iter()
                    .any(|one| one.name == *name && !in_scope.contains(one.service.as_str()))
            });
            published || (led_to && !kept)
        })
        .collect()
}

/// Names of running containers of the stack's services, made by Docker Compose,
/// that hold one of these ports.
fn adopted_holders(view: &View<'_>, ports: &[&PublishedPort]) -> BTreeSet<String> {
    let wanted: Vec<Bound> = ports
        .iter()
        .filter_map(|port| Some(Bound::new(&port.host_ip, port.host_port?, "tcp")))
        .collect();
    let holds = |one: &Instance| {
        one.host_ports
            .iter()
            .filter_map(|text| Bound::parse(text))
            .any(|held| wanted.iter().any(|port| port.clashes(&held)))
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
        let cause = Cause::Changed(vec!["published ports changed".to_owned()]);
        let step = create(view, draft, ground, &one.name, kept, cause, &[removed]);
        gateways.ready.push(step);
        return;
    }
    match mend(draft, one) {
        Mended::Runs => {}
        Mended::Started(step) => gateways.ready.push(step),
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

fn free_name(view: &View<'_>) -> String {
    let stack = &view.input.desired.stack;
    let mut number = 1;
    loop {
        let name = names::gateway(stack, number);
        if view
            .input
            .observed
            .instances
            .iter()
            .all(|one| one.name != name)
        {
            return name;
        }
        number += 1;
    }
}
