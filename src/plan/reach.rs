//! The networks a gateway must be attached to.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::view::View;
use crate::state::desired::PublishedPort;

/// Networks on which a gateway reaches every service behind its ports: one per
/// service is enough, one it is on already before a new one.
pub(super) fn networks(
    view: &View<'_>,
    ports: &[&PublishedPort],
    attached: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut chosen = BTreeSet::new();
    let internal: BTreeMap<&str, bool> = view
        .input
        .desired
        .networks
        .values()
        .map(|network| (network.name.as_str(), network.internal))
        .collect();
    let is_internal = |name: &String| internal.get(name.as_str()).copied().unwrap_or(false);
    for route in ports.iter().flat_map(|port| &port.routes) {
        let Some(service) = view.input.desired.services.get(&route.service) else {
            continue;
        };
        let names = view.networks_of(service);
        let reached = |name: &&String| attached.contains(*name) || chosen.contains(*name);
        let best = names
            .iter()
            .find(|name| reached(name))
            .or_else(|| names.iter().find(|name| !is_internal(name)))
            .or_else(|| names.first());
        chosen.extend(best.cloned());
    }
    // Ports cannot be published from internal networks alone.
    if chosen.iter().chain(attached).all(is_internal)
        && let Some(open) = view
            .input
            .desired
            .networks
            .values()
            .find(|one| !one.internal)
    {
        chosen.insert(open.name.clone());
    }
    chosen
}
