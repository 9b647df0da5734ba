//! What can be taken once only: host ports and container names.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::section;
use crate::stack::report::At;
use crate::stack::report::Report;
use crate::stack::source::Span;
use crate::stack::yaml::Node;

pub(super) fn check(tree: &Node, report: &mut Report) {
    container_names(tree, report);
    host_ports(tree, report);
}

fn container_names(tree: &Node, report: &mut Report) {
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    let root = At::ROOT.key("services");
    for (service, entry) in section(tree, "services") {
        let Some(node) = entry.node.get("container_name") else {
            continue;
        };
        let Some(name) = node.as_text().filter(|name| !name.is_empty()) else {
            continue;
        };
        let at = root.key(service);
        let at = at.key("container_name");
        let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        let valid = name.len() > 1
            && begins
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if !valid {
            report
                .error(
                    "name",
                    node.span,
                    &at,
                    format!("`{name}` is no container name"),
                )
                .hint("use letters, digits, `_`, `.` and `-`, beginning with a letter or digit");
        }
        match seen.get(name) {
            Some(first) => {
                report
                    .error(
                        "conflict",
                        node.span,
                        &at,
                        format!("two services have the container name `{name}`"),
                    )
                    .related(*first, "the other one")
                    .hint("remove `container_name`, and shopctl names the containers");
            }
            None => {
                seen.insert(name, node.span);
            }
        }
    }
}

/// One port on the host.
struct Taken<'t> {
    service: &'t str,
    address: Option<IpAddr>,
    port: u16,
    protocol: &'t str,
    /// Path and host of the route, when the port has one.
    route: Option<(String, String)>,
    span: Span,
}

fn host_ports(tree: &Node, report: &mut Report) {
    let mut taken: BTreeMap<u16, Vec<Taken<'_>>> = BTreeMap::new();
    let root = At::ROOT.key("services");
    for (service, entry) in section(tree, "services") {
        let ports = entry
            .node
            .get("ports")
            .and_then(Node::as_list)
            .unwrap_or_default();
        for (index, node) in ports.iter().enumerate() {
            let Some(port) = fixed(service, &entry.node, node) else {
                continue;
            };
            let at = root.key(service);
            let at = at.key("ports");
            let same_number = taken.entry(port.port).or_default();
            if let Some(other) = same_number.iter().find(|other| clash(other, &port)) {
                let message = format!(
                    "the host port {}/{} is published by {} and by {}",
                    port.port, port.protocol, other.service, port.service
                );
                let at = at.index(index);
                // One of them on every address: whether that works is the
                // host's to say.
                let finding = if other.address == port.address {
                    report.unfit("port-clash", port.span, &at, message)
                } else {
                    report.warning("port-overlap", port.span, &at, message)
                };
                finding.related(other.span, "the other one").hint(
                    "publish another port, or give both an x-shop.route with its own path or host",
                );
            }
            same_number.push(port);
        }
    }
}

/// A port with a fixed number on the host.
fn fixed<'t>(service: &'t str, owner: &'t Node, node: &'t Node) -> Option<Taken<'t>> {
    let published = node.get("published")?;
    let protocol = node.text_of("protocol").unwrap_or("tcp");
    let own = node.get("x-shop").and_then(|shop| shop.get("route"));
    let of_service = owner
        .get("x-shop")
        .and_then(|shop| shop.get("route"))
        .filter(|route| {
            route
                .get("port")
                .is_none_or(|port| Some(&port.value) == node.get("target").map(|node| &node.value))
        });
    let route = own
        .or(of_service)
        .filter(|_| protocol == "tcp")
        .map(|route| {
            let part = |key: &str| route.text_of(key).unwrap_or_default().to_owned();
            let path = part("path");
            let path = if path.is_empty() {
                "/".to_owned()
            } else {
                path
            };
            (path, part("host"))
        });
    Some(Taken {
        service,
        address: node
            .text_of("host_ip")
            .and_then(|address| address.parse().ok())
            .filter(|address: &IpAddr| !address.is_unspecified()),
        port: published
            .scalar_text()?
            .parse()
            .ok()
            .filter(|port| *port != 0)?,
        protocol,
        route,
        span: if published.span.file == 0 {
            node.span
        } else {
            published.span
        },
    })
}

fn clash(one: &Taken<'_>, other: &Taken<'_>) -> bool {
    let same_place = one.port == other.port
        && one.protocol == other.protocol
        && (one.address.is_none() || other.address.is_none() || one.address == other.address);
    let routed_apart = matches!((&one.route, &other.route), (Some(a), Some(b)) if a != b);
    same_place && !routed_apart
}
