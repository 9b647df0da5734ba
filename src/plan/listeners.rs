//! Which ports lead where, before and after the services change.

use std::collections::BTreeMap;

use super::action::Action;
use super::action::Cause;
use super::action::StepId;
use super::doors::Gateways;
use super::draft::Draft;
use super::gateway;
use super::inner;
use super::view::View;
use crate::state::desired::PublishedPort;
use crate::state::desired::Route;
use crate::state::names;

/// Listeners of new ports exist at once; there is nothing yet that they could
/// take away. Changes of routes wait for their targets: [`last`].
pub(super) fn first(
    view: &View<'_>,
    draft: &mut Draft,
    ports: &[&PublishedPort],
    gateways: &mut Gateways,
) {
    let known = known(view);
    let doors = inner::meanwhile(view);
    if !gateways.exist || !told(view, ports) {
        return;
    }
    let mut listeners: Vec<PublishedPort> = Vec::new();
    for port in ports {
        let mut port = (*port).clone();
        if let Some((http, routes)) = known.get(&port.id) {
            port.http = *http;
            port.routes.clone_from(routes);
        }
        listeners.push(port);
    }
    listeners.extend(with_doors(Vec::new(), &doors));
    let cause = if known.is_empty() && view.doors.is_empty() {
        Cause::Missing
    } else {
        Cause::RoutesChanged
    };
    let needs = gateways.ready();
    let step = draft.step("", Action::SetListeners { listeners }, cause, &needs);
    gateways.ready.push(step);
}

/// The routes as the file has them, once the services behind them have targets.
pub(super) fn last(
    view: &View<'_>,
    draft: &mut Draft,
    gateways: &Gateways,
    serving: &BTreeMap<String, Vec<StepId>>,
) -> Option<StepId> {
    let known = known(view);
    let ports = gateway::active_ports(view);
    let changed: Vec<&&PublishedPort> = ports
        .iter()
        .filter(|port| {
            known
                .get(&port.id)
                .is_some_and(|(http, routes)| *http != port.http || *routes != port.routes)
        })
        .collect();
    let gone = view.input.desired.only.is_empty()
        && known
            .keys()
            .any(|id| ports.iter().all(|port| port.id != *id));
    // The first listeners, where something new called for them, name no port that is gone.
    if changed.is_empty() && (!gone || told(view, &ports) || !gateways.exist) {
        return None;
    }
    let mut needs = gateways.all();
    for route in changed.iter().flat_map(|port| &port.routes) {
        needs.extend(serving.get(&route.service).into_iter().flatten());
    }
    let listeners = with_doors(ports, &inner::meanwhile(view));
    let action = Action::SetListeners { listeners };
    Some(draft.step("", action, Cause::RoutesChanged, &needs))
}

/// Whether there are listeners that the gateways do not know.
fn told(view: &View<'_>, ports: &[&PublishedPort]) -> bool {
    let known = known(view);
    ports.iter().any(|port| !known.contains_key(&port.id)) || inner::meanwhile(view) != view.doors
}

/// Published ports, and what is listened on between services.
pub(super) fn with_doors(
    ports: Vec<&PublishedPort>,
    doors: &BTreeMap<String, Vec<Route>>,
) -> Vec<PublishedPort> {
    let doors = doors.iter().map(|(id, routes)| PublishedPort {
        id: id.clone(),
        http: true,
        routes: routes.clone(),
        ..PublishedPort::default()
    });
    ports.into_iter().cloned().chain(doors).collect()
}

/// The published ports that the gateways know.
fn known(view: &View<'_>) -> BTreeMap<String, (bool, Vec<Route>)> {
    view.input
        .observed
        .store
        .as_ref()
        .and_then(|store| store.routes.as_ref())
        .map(|routes| routes.listeners.clone())
        .unwrap_or_default()
        .into_iter()
        .filter(|(id, _)| names::parse_door(id).is_none())
        .collect()
}
