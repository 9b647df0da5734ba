//! The way between services: one gateway without published ports, to which the names of
//! services lead inside each of their networks.
//!
//! The engine cannot change the names of a container in a network while it stays there,
//! so another set of names is another container: it is made nameless, gets the routes,
//! and joins the networks under the names when it can answer; the one before goes last.
//! Published ports belong to other gateways and are never touched by this.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::action::Action;
use super::action::Cause;
use super::doors::Gateways;
use super::draft::Draft;
use super::gateway;
use super::gateway::Mended;
use super::ground::Ground;
use super::input::Goal;
use super::input::PlanInput;
use super::listeners;
use super::stage::Stage;
use super::upgrade;
use super::view::ServiceView;
use super::view::Slot;
use super::view::View;
use crate::state::desired::Route;
use crate::state::desired::ServiceSpec;
use crate::state::names;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::Role;
use crate::state::spec::NetworkMode;

/// Said of a service whose calls could go through the gateway and do not yet.
pub const PLAIN: &str = "calls by its name do not go through the gateway yet: a replica from before still has the name; the next change of all its replicas ends that";

/// Names by network.
type Names = BTreeMap<String, BTreeSet<String>>;

/// Where a service's name leads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Leads {
    /// New replicas are made without the service's name.
    pub(super) nameless: bool,
    /// After the plan the name leads to the gateway.
    pub(super) here: bool,
    /// It does now, and will not after the plan.
    pub(super) leaves: bool,
}

/// Where the name of a service leads. One replica that stays and has the name keeps it
/// with all that come; one that stays and lacks it needs the gateway to have it.
pub(super) fn leads(
    input: &PlanInput<'_>,
    service: &ServiceSpec,
    in_scope: bool,
    slots: &BTreeMap<u32, Slot<'_>>,
) -> Leads {
    let found = || {
        let instances = input.observed.instances.iter();
        instances.filter(|one| one.role == Role::Service && one.service == service.name)
    };
    let acts = in_scope && input.options.goal == Goal::Deploy;
    let stay: Vec<&Instance> = if acts {
        let holders = slots.values().filter_map(|slot| slot.holder.as_ref());
        holders
            .filter(|(_, verdict)| verdict.stays())
            .map(|(one, _)| *one)
            .collect()
    } else {
        found().collect()
    };
    let wanted = !service.inner.is_empty();
    // What Docker Compose made has no name of its own that the gateway could lead to, so
    // who takes its place takes the name too.
    let adopted = !slots.is_empty() && found().any(|one| !one.ours);
    let nameless = wanted && !adopted && stay.iter().all(|one| one.nameless);
    let here = stay.iter().any(|one| one.nameless) || (acts && nameless);
    let has = input.observed.instances.iter().any(|one| {
        one.is_inner()
            && one
                .names
                .values()
                .any(|names| names.contains(&service.name))
    });
    Leads {
        nameless,
        here,
        leaves: acts && has && !here,
    }
}

/// Replicas of a service whose name comes to the gateway, to which it sends nothing yet:
/// they have the name and serve, so they must be targets before the gateway answers too.
pub(super) fn enrolled<'a>(
    input: &PlanInput<'a>,
    one: &ServiceView<'_>,
) -> impl Iterator<Item = &'a Instance> {
    let (name, wanted) = (one.service.name.clone(), one.leads.here);
    input.observed.instances.iter().filter(move |found| {
        wanted
            && found.role == Role::Service
            && found.service == name
            && found.ours
            && !found.nameless
            && !found.alias.is_empty()
            && crate::state::change::serves(found)
    })
}

/// The names that lead to the gateway after the plan.
fn names(view: &View<'_>) -> Names {
    let mut all = Names::new();
    for one in view.services.iter().filter(|one| one.leads.here) {
        for (network, names) in names_of(view, one.service) {
            let entry = all.entry(network.clone()).or_default();
            entry.insert(names::door_name(&network));
            entry.extend(names);
        }
    }
    all
}

fn names_of(view: &View<'_>, service: &ServiceSpec) -> Names {
    let NetworkMode::Networks(endpoints) = &service.container.network else {
        return Names::new();
    };
    endpoints
        .iter()
        .filter_map(|(key, endpoint)| {
            let network = view.input.desired.networks.get(key)?;
            let mut names: BTreeSet<String> = endpoint.aliases.iter().cloned().collect();
            names.insert(service.name.clone());
            Some((network.name.clone(), names))
        })
        .collect()
}

/// What the gateways listen on between services after the plan: by listener, who is
/// meant by the host that a request names. Where only one can be meant, any host will do.
pub(super) fn wanted(view: &View<'_>) -> BTreeMap<String, Vec<Route>> {
    let mut all: BTreeMap<String, Vec<Route>> = BTreeMap::new();
    for one in view.services.iter().filter(|one| one.leads.here) {
        for (network, names) in names_of(view, one.service) {
            for port in ports_of(view, one.service) {
                let routes = all.entry(names::door(&network, port)).or_default();
                let full = names.iter().map(|name| format!("{name}.{network}"));
                for host in full.chain(names.iter().cloned()) {
                    routes.push(route(Some(host), one.service, port));
                }
            }
        }
    }
    for (id, routes) in &mut all {
        let services: BTreeSet<&str> = routes.iter().map(|one| one.service.as_str()).collect();
        if services.len() == 1
            && let (Some(first), Some((_, port))) = (routes.first(), names::parse_door(id))
            && let Some(service) = view.input.desired.services.get(&first.service)
        {
            routes.push(route(None, service, port));
        }
        sort(routes);
    }
    all
}

fn route(host: Option<String>, service: &ServiceSpec, port: u16) -> Route {
    Route {
        host,
        path: "/".to_owned(),
        service: service.name.clone(),
        port,
    }
}

fn sort(routes: &mut Vec<Route>) {
    routes.sort_by(|a, b| (a.host.is_none(), a).cmp(&(b.host.is_none(), b)));
    routes.dedup();
}

/// Ports at which the gateway stands for a service: the file's, or where it has none any
/// more those that are in use.
fn ports_of(view: &View<'_>, service: &ServiceSpec) -> BTreeSet<u16> {
    if !service.inner.is_empty() {
        return service.inner.clone();
    }
    let known = view.doors.values().flatten();
    known
        .filter(|route| route.service == service.name)
        .map(|route| route.port)
        .collect()
}

/// What the gateways listen on between services while the plan is carried out: what they
/// do now and what they will.
pub(super) fn meanwhile(view: &View<'_>) -> BTreeMap<String, Vec<Route>> {
    let mut all = wanted(view);
    if found(view).next().is_some() {
        for (id, known) in &view.doors {
            let routes = all.entry(id.clone()).or_default();
            routes.extend(known.iter().cloned());
            sort(routes);
        }
    }
    all
}

fn found<'v>(view: &'v View<'_>) -> impl Iterator<Item = &'v Instance> {
    gateway::helpers(view, Role::Gateway).filter(|one| one.is_inner())
}

/// The one whose names are right and that can go on, if there is one.
fn right<'v>(view: &'v View<'_>) -> Option<&'v Instance> {
    let wanted = names(view);
    let usable = |one: &&Instance| {
        let gone = matches!(one.state, InstanceState::Created | InstanceState::Dead);
        !gone && one.names == wanted && one.networks.iter().eq(wanted.keys())
    };
    found(view).filter(|_| !wanted.is_empty()).find(usable)
}

/// Whether there is to be one.
pub(super) fn stays(view: &View<'_>) -> bool {
    view.services.iter().any(|one| one.leads.here)
}

/// Makes what is missing, without names where any could be called already.
pub(super) fn open(
    view: &View<'_>,
    draft: &mut Draft,
    ground: &Ground,
    gateways: &mut Gateways,
    taken: &BTreeSet<String>,
) {
    // One that goes takes its replicas' requests until then.
    gateways.exist |= found(view).any(|one| one.state == InstanceState::Running);
    let wanted = names(view);
    if wanted.is_empty() {
        return;
    }
    gateways.exist = true;
    if let Some(one) = right(view) {
        let started = match gateway::mend(draft, one) {
            Mended::Started(step) => Some(step),
            Mended::Runs | Mended::Removed(_) => None,
        };
        gateways.ready.extend(started);
        upgrade::draft(view, draft, gateways, one, started);
        return;
    }
    let name = gateway::free_name(view, taken);
    let cause = match found(view).next() {
        Some(_) => Cause::Changed(vec!["the names it answers to changed".to_owned()]),
        None => Cause::Missing,
    };
    let quiet = is_quiet(view);
    let networks: Vec<String> = wanted
        .keys()
        .take(if quiet { usize::MAX } else { 1 })
        .cloned()
        .collect();
    let mut needs = ground.of_networks(&networks);
    needs.extend(ground.store);
    let action = Action::CreateHelper {
        name: name.clone(),
        role: Role::Gateway,
        listens: Vec::new(),
        networks,
        names: if quiet { wanted } else { Names::new() },
    };
    let step = draft.step("", action, cause, &needs);
    gateways.ready.push(step);
    gateways.probing.push(step);
    gateways.inner = Some(name);
}

/// Whether nobody runs who could call a name.
fn is_quiet(view: &View<'_>) -> bool {
    let mut instances = view.input.observed.instances.iter();
    !instances.any(|one| one.role == Role::Service && one.state == InstanceState::Running)
}

/// Lets the names lead to what was made, once it has listeners, and targets for whatever
/// serves now.
pub(super) fn name(view: &View<'_>, draft: &mut Draft, ground: &Ground, gateways: &mut Gateways) {
    let mut needs = gateways.ready();
    for (one, found) in &view.enrolled {
        let Some(service) = view.input.desired.services.get(one) else {
            continue;
        };
        let action = Action::AddTarget {
            service: one.clone(),
            alias: found.alias.clone(),
            group: found.group(),
            check: service.ready.check(),
        };
        let cause = Cause::NeededBy("calls by its name".to_owned());
        needs.push(draft.step(one, action, cause, &gateways.ready()));
    }
    tell(view, draft);
    let Some(container) = gateways.inner.clone() else {
        return;
    };
    let mut named = needs.clone();
    if !is_quiet(view) {
        for (index, (network, names)) in names(view).into_iter().enumerate() {
            let cause = || Cause::NeededBy("calls by name".to_owned());
            let mut needs = needs.clone();
            needs.extend(ground.of_networks(std::slice::from_ref(&network)));
            if index == 0 {
                // It is there without names: they come by joining alone.
                let (container, network) = (container.clone(), network.clone());
                let action = Action::DisconnectNetwork { container, network };
                needs = vec![draft.step("", action, cause(), &needs)];
            }
            let action = Action::ConnectNetwork {
                container: container.clone(),
                network,
                aliases: names.into_iter().collect(),
            };
            named.push(draft.step("", action, cause(), &needs));
        }
    }
    // Where ports change hands nothing may wait for routes that wait for it.
    if !gateways.handover {
        gateways.named = named;
    }
}

/// Says which names come to the gateway, and which do not yet.
fn tell(view: &View<'_>, draft: &mut Draft) {
    for one in view.services.iter().filter(|one| one.in_scope) {
        let name = &one.service.name;
        let led = found(view).any(|it| it.names.values().any(|names| names.contains(name)));
        if one.leads.here && !led {
            let ports: Vec<String> = one.service.inner.iter().map(u16::to_string).collect();
            let text = format!(
                "calls by its name go through the gateway, at the ports {}",
                ports.join(", ")
            );
            draft.note(false, name, text);
        } else if !one.leads.here && !one.service.inner.is_empty() {
            draft.note(false, name, PLAIN);
        }
    }
}

/// Removes what has other names than it should, after everything else: whoever calls an
/// old name is gone by then. What only its names needed goes with it.
pub(super) fn retire(stage: &mut Stage<'_, '_>) {
    let view = stage.view;
    let right = right(view).map(|one| one.name.clone());
    let mut last = stage.draft.ends();
    for one in found(view).filter(|one| Some(&one.name) != right.as_ref()) {
        let cause = if stays(view) {
            Cause::Replaced
        } else {
            Cause::NotInFile
        };
        let needs = last.clone();
        last = vec![gateway::retire(&mut stage.draft, one, &cause, &needs)];
    }
    let published = gateway::active_ports(view);
    if published.is_empty() && !stays(view) {
        return;
    }
    let doors = wanted(view);
    if doors != meanwhile(view) {
        let listeners = listeners::with_doors(published, &doors);
        let action = Action::SetListeners { listeners };
        last = vec![stage.draft.step("", action, Cause::RoutesChanged, &last)];
    }
    let leaving = view.services.iter().filter(|one| one.leads.leaves);
    for one in leaving.filter(|one| !one.published) {
        let service = &one.service.name;
        let mut aliases = stage.draft.routed(service);
        let known = view.targets.get(service).into_iter().flatten();
        aliases.extend(known.filter(|it| !stage.untargeted.contains(*it)).cloned());
        for alias in aliases {
            let action = Action::RemoveTarget {
                service: service.clone(),
                alias,
                drain_ms: 0,
            };
            stage
                .draft
                .step(service, action, Cause::RoutesChanged, &last);
        }
    }
}
