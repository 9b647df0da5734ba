//! Networks of the stack and how a service joins them.

use std::collections::BTreeMap;

use crate::stack::Stack;
use crate::stack::model;
use crate::state::spec::Endpoint;
use crate::state::spec::NetworkMode;
use crate::state::spec::NetworkSpec;

/// Networks of the stack.
pub(super) fn networks(stack: &Stack) -> BTreeMap<String, NetworkSpec> {
    stack
        .networks
        .iter()
        .map(|(key, network)| {
            let spec = NetworkSpec {
                name: network.name.clone(),
                external: network.external,
                driver: network.driver.clone(),
                options: network.driver_opts.clone(),
                internal: network.internal,
                attachable: network.attachable,
                ipv4: network.enable_ipv4,
                ipv6: network.enable_ipv6,
                subnets: network
                    .ipam
                    .config
                    .iter()
                    .map(|pool| {
                        (
                            pool.subnet.clone(),
                            pool.gateway.clone(),
                            pool.ip_range.clone(),
                        )
                    })
                    .collect(),
                reserved: network
                    .ipam
                    .config
                    .iter()
                    .filter(|pool| !pool.aux_addresses.is_empty())
                    .map(|pool| {
                        let subnet = pool.subnet.clone().unwrap_or_default();
                        (subnet, pool.aux_addresses.clone())
                    })
                    .collect(),
                ipam_driver: network.ipam.driver.clone(),
                ipam_options: network.ipam.options.clone(),
                labels: network.labels.clone(),
            };
            (key.clone(), spec)
        })
        .collect()
}

/// How the containers of a service are networked.
pub(super) fn mode(service: &model::Service) -> NetworkMode {
    match &service.network_mode {
        None => NetworkMode::Networks(
            service
                .networks
                .iter()
                .map(|(key, attachment)| (key.clone(), endpoint(&service.name, attachment)))
                .collect(),
        ),
        Some(model::NetworkMode::None) => NetworkMode::None,
        Some(model::NetworkMode::Host) => NetworkMode::Host,
        Some(model::NetworkMode::Bridge) => NetworkMode::Other("bridge".to_owned()),
        Some(model::NetworkMode::Service(other)) => NetworkMode::Service(other.clone()),
        Some(model::NetworkMode::Container(name)) => NetworkMode::Container(name.clone()),
        Some(model::NetworkMode::Other(mode)) => NetworkMode::Other(mode.clone()),
    }
}

fn endpoint(service: &str, attachment: &model::Attachment) -> Endpoint {
    let mut aliases = vec![service.to_owned()];
    for alias in &attachment.aliases {
        if !aliases.contains(alias) {
            aliases.push(alias.clone());
        }
    }
    Endpoint {
        aliases,
        ipv4: attachment.ipv4_address.clone(),
        ipv6: attachment.ipv6_address.clone(),
        link_local: attachment.link_local_ips.clone(),
        mac_address: attachment.mac_address.clone(),
        driver_opts: attachment.driver_opts.clone(),
        interface: attachment.interface_name.clone(),
        priority: attachment.priority,
        gateway_priority: attachment.gw_priority,
    }
}
