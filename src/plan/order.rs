//! The order of services by their dependencies.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::state::desired::DesiredState;
use crate::state::desired::ServiceSpec;

/// Names of services so that each comes after what it needs; by name where
/// nothing else decides. A circle, which the loader refuses, is cut at the first name.
pub(super) fn by_dependency(services: &BTreeMap<String, ServiceSpec>) -> Vec<&str> {
    let mut sorted: Vec<&str> = Vec::with_capacity(services.len());
    let mut waiting: BTreeSet<&str> = services.keys().map(String::as_str).collect();
    while !waiting.is_empty() {
        let free = waiting.iter().copied().find(|name| {
            services[*name]
                .needs
                .iter()
                .all(|need| !waiting.contains(need.service.as_str()) || need.service == **name)
        });
        let Some(name) = free.or_else(|| waiting.first().copied()) else {
            break;
        };
        waiting.remove(name);
        sorted.push(name);
    }
    sorted
}

/// The named services and everything they need, near or far.
fn with_dependencies(
    services: &BTreeMap<String, ServiceSpec>,
    named: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending: Vec<&String> = named.iter().collect();
    while let Some(name) = pending.pop() {
        if let Some(service) = services.get(name)
            && found.insert(name.clone())
        {
            pending.extend(service.needs.iter().map(|need| &need.service));
        }
    }
    found
}

/// Names of the services that may change; `None` for all. What a named service needs and
/// nobody runs comes with it.
pub(super) fn scope(
    desired: &DesiredState,
    runs: impl Fn(&str) -> bool,
) -> Option<BTreeSet<String>> {
    let only = &desired.only;
    if only.is_empty() {
        return None;
    }
    let mut names = with_dependencies(&desired.services, only);
    names.retain(|name| only.contains(name) || !runs(name));
    Some(names)
}
