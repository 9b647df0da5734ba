//! Which services are reached through the gateway when others call them by name.

use std::collections::BTreeSet;

use crate::stack::Stack;
use crate::stack::model;
use crate::stack::model::NetworkMode;
use crate::stack::model::Protocol;

/// The ports at which the gateway can stand for a service; empty where it cannot: where a
/// port of it is not declared as HTTP, where something else than a service's name leads to
/// its containers, where the file says no, and where there is nobody who could call.
pub(super) fn ports(stack: &Stack, service: &model::Service, one_off: bool) -> BTreeSet<u16> {
    let shop = service.shop.as_ref();
    let off = shop.and_then(|shop| shop.gateway).or(stack.shop.gateway) == Some(false);
    let kept_off = routes(service).any(|route| route.internal == Some(false));
    let fixed = service.network_mode.is_some() || service.container_name.is_some();
    if off || kept_off || fixed || one_off || !can_be_called(stack, service) {
        return BTreeSet::new();
    }
    declared(service).unwrap_or_default()
}

fn routes(service: &model::Service) -> impl Iterator<Item = &model::Route> {
    let own = service.shop.as_ref().and_then(|shop| shop.route.as_ref());
    own.into_iter()
        .chain(service.ports.iter().filter_map(|port| port.route.as_ref()))
}

/// Every port that the file names, if all of them speak HTTP.
fn declared(service: &model::Service) -> Option<BTreeSet<u16>> {
    let shop = service.shop.as_ref();
    let ready = shop.and_then(|shop| shop.ready.as_ref());
    let route = shop.and_then(|shop| shop.route.as_ref());
    let mut ports: BTreeSet<u16> = BTreeSet::new();
    for port in &service.ports {
        if !service.is_http(port) {
            return None;
        }
        ports.insert(port.target);
    }
    ports.extend(route.and_then(|route| route.port));
    for range in &service.expose {
        for port in range.first..=range.last {
            let routed = route.is_some_and(|route| route.port.is_none_or(|own| own == port));
            let probed = ready.is_some_and(|ready| ready.is_http() && ready.port() == port);
            if range.protocol != Protocol::Tcp || !(routed || probed || ports.contains(&port)) {
                return None;
            }
            ports.insert(port);
        }
    }
    // The port of a probe alone says nothing about where its requests go.
    if ports.is_empty() {
        return None;
    }
    match ready {
        Some(ready) if ready.is_http() => {
            ports.insert(ready.port());
        }
        Some(ready) if !ports.contains(&ready.port()) => return None,
        _ => {}
    }
    Some(ports)
}

/// Whether another service shares a network with it, and its names there are its own.
fn can_be_called(stack: &Stack, service: &model::Service) -> bool {
    let others = || {
        let services = stack.services.values();
        services.filter(|other| other.name != service.name)
    };
    let joined = others().any(|other| {
        matches!(&other.network_mode, Some(NetworkMode::Service(name)) if *name == service.name)
    });
    let names = |of: &model::Service, network: &str| -> BTreeSet<String> {
        let aliases = of.networks.get(network).into_iter();
        let aliases = aliases.flat_map(|attachment| attachment.aliases.iter().cloned());
        aliases.chain([of.name.clone()]).collect()
    };
    let near = |other: &&model::Service| {
        let mut networks = service.networks.keys();
        other.network_mode.is_none() && networks.any(|key| other.networks.contains_key(key))
    };
    let shares = |other: &model::Service| {
        let mut networks = service.networks.keys();
        networks.any(|key| {
            other.networks.contains_key(key) && !names(service, key).is_disjoint(&names(other, key))
        })
    };
    !joined && others().any(|other| near(&other)) && !others().any(shares)
}
