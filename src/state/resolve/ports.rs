//! Which ports belong to the gateway, and which a container binds itself.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::stack::Stack;
use crate::stack::model;
use crate::stack::model::PortMode;
use crate::stack::model::Protocol;
use crate::state::desired::PublishedPort;
use crate::state::desired::Route;
use crate::state::spec::HostPort;

/// Ports of the gateway, ordered by id; services that share one share its routes.
pub(super) fn published(stack: &Stack) -> Vec<PublishedPort> {
    let mut ports: BTreeMap<String, PublishedPort> = BTreeMap::new();
    for service in stack.services.values() {
        for port in &service.ports {
            if !through_gateway(stack, service, port) {
                continue;
            }
            let id = id(service, port);
            let entry = ports.entry(id.clone()).or_insert_with(|| PublishedPort {
                id,
                host_ip: host_ip(port),
                host_port: port.published,
                http: false,
                routes: Vec::new(),
                place: port.place.to_string(),
            });
            entry.http |= service.is_http(port);
            let route = service.route_of(port);
            entry.routes.push(Route {
                host: route.and_then(|route| route.host.clone()),
                path: route
                    .and_then(|route| route.path.clone())
                    .unwrap_or_else(|| "/".to_owned()),
                service: service.name.clone(),
                port: port.target,
            });
        }
    }
    ports
        .into_values()
        .map(|mut port| {
            port.routes.sort_by(most_specific);
            port.routes.dedup();
            port
        })
        .collect()
}

/// Ports that each container of the service binds on the host itself.
pub(super) fn own(stack: &Stack, service: &model::Service) -> Vec<HostPort> {
    service
        .ports
        .iter()
        .filter(|port| !through_gateway(stack, service, port))
        .map(|port| HostPort {
            host_ip: host_ip(port),
            host_port: port.published,
            container_port: port.target,
            protocol: protocol(port.protocol).to_owned(),
        })
        .collect()
}

/// Ports exposed to neighbours, as `port/protocol`.
pub(super) fn exposed(service: &model::Service) -> BTreeSet<String> {
    let declared = service
        .expose
        .iter()
        .flat_map(|range| (range.first..=range.last).map(|port| (port, range.protocol)));
    let published = service
        .ports
        .iter()
        .map(|port| (port.target, port.protocol));
    declared
        .chain(published)
        .map(|(port, transport)| format!("{port}/{}", protocol(transport)))
        .collect()
}

fn through_gateway(stack: &Stack, service: &model::Service, port: &model::Port) -> bool {
    let wanted = service
        .shop
        .as_ref()
        .and_then(|shop| shop.gateway)
        .or(stack.shop.gateway)
        .unwrap_or(true);
    wanted
        && port.protocol == Protocol::Tcp
        && port.mode == PortMode::Ingress
        && service.network_mode.is_none()
}

/// `<host ip or *>:<port>/tcp`; where the engine chooses the port, the service and
/// its port stand for it.
fn id(service: &model::Service, port: &model::Port) -> String {
    let ip = match port.host_ip {
        Some(ip) if ip.is_ipv6() => format!("[{ip}]"),
        Some(ip) => ip.to_string(),
        None => "*".to_owned(),
    };
    match port.published {
        Some(published) => format!("{ip}:{published}/tcp"),
        None => format!("{ip}:{}.{}/tcp", service.name, port.target),
    }
}

fn host_ip(port: &model::Port) -> String {
    port.host_ip.map(|ip| ip.to_string()).unwrap_or_default()
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// A named host before any host, a longer path before a shorter one.
fn most_specific(a: &Route, b: &Route) -> std::cmp::Ordering {
    let key = |route: &Route| {
        (
            route.host.is_none(),
            std::cmp::Reverse(route.path.len()),
            route.clone(),
        )
    };
    key(a).cmp(&key(b))
}
