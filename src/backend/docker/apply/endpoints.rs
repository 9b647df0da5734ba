//! How a container is attached to networks: with the first one it is made, the others are
//! connected before the start, since API 1.41 takes one only.

use std::collections::HashMap;

use bollard::models::EndpointIpamConfig;
use bollard::models::EndpointSettings;
use bollard::models::NetworkingConfig;

use crate::plan::action::InstanceSpec;
use crate::state::since;
use crate::state::spec::Endpoint;
use crate::state::spec::NetworkMode;

/// Option of an endpoint that names its interface.
const INTERFACE: &str = "com.docker.network.endpoint.ifname";

/// The network that a container is made with.
pub(super) fn first(instance: &InstanceSpec, minor: u32) -> Option<NetworkingConfig> {
    let own_mac = instance.spec.mac_address.clone();
    let (name, endpoint) = match (&instance.spec.network, own_mac) {
        // A network of the engine's own, like `bridge`.
        (NetworkMode::Other(mode), Some(mac)) if minor >= since::ENDPOINT_MAC => {
            let endpoint = EndpointSettings {
                mac_address: Some(mac),
                ..EndpointSettings::default()
            };
            (mode.clone(), endpoint)
        }
        _ => endpoints(instance, minor).into_iter().next()?,
    };
    Some(NetworkingConfig {
        endpoints_config: Some(HashMap::from([(name, endpoint)])),
    })
}

/// The MAC address of the first network, for engines that take it as a setting of the
/// container.
pub(super) fn container_mac(instance: &InstanceSpec, minor: u32) -> Option<&str> {
    if minor >= since::ENDPOINT_MAC {
        return None;
    }
    let networks = instance.spec.network.in_order();
    let first = networks
        .first()
        .and_then(|(_, one)| one.mac_address.as_ref());
    first
        .or(instance.spec.mac_address.as_ref())
        .map(String::as_str)
}

/// Engine name of each network of an instance, in the order of joining, and how it is
/// attached: found by its unique alias on every one.
pub(super) fn endpoints(instance: &InstanceSpec, minor: u32) -> Vec<(String, EndpointSettings)> {
    let networks = instance.spec.network.in_order().into_iter();
    networks
        .enumerate()
        .map(|(index, (key, found))| {
            let name = instance.networks.get(key).unwrap_or(key).clone();
            let mut endpoint = endpoint(found, minor);
            if !instance.alias.is_empty() {
                let aliases = endpoint.aliases.get_or_insert_default();
                aliases.push(instance.alias.clone());
            }
            let own = instance.spec.mac_address.as_ref();
            if index == 0 && minor >= since::ENDPOINT_MAC && endpoint.mac_address.is_none() {
                endpoint.mac_address = own.cloned();
            }
            (name, endpoint)
        })
        .collect()
}

/// One attachment, without what an engine of this age does not know.
fn endpoint(found: &Endpoint, minor: u32) -> EndpointSettings {
    let Endpoint {
        aliases,
        ipv4,
        ipv6,
        link_local,
        mac_address,
        driver_opts,
        interface,
        priority: _,
        gateway_priority,
    } = found;
    let fixed = ipv4.is_some() || ipv6.is_some() || !link_local.is_empty();
    let mut options: HashMap<String, String> = driver_opts.clone().into_iter().collect();
    if let Some(interface) = interface
        && minor >= since::INTERFACE_NAME
    {
        options.insert(INTERFACE.to_owned(), interface.clone());
    }
    EndpointSettings {
        ipam_config: fixed.then(|| EndpointIpamConfig {
            ipv4_address: ipv4.clone(),
            ipv6_address: ipv6.clone(),
            link_local_ips: (!link_local.is_empty()).then(|| link_local.clone()),
        }),
        mac_address: mac_address.clone().filter(|_| minor >= since::ENDPOINT_MAC),
        driver_opts: (!options.is_empty()).then_some(options),
        gw_priority: Some(*gateway_priority)
            .filter(|priority| *priority != 0 && minor >= since::GATEWAY_PRIORITY),
        ..named(aliases.clone())
    }
}

/// An attachment with names and nothing else.
pub(super) fn named(aliases: Vec<String>) -> EndpointSettings {
    EndpointSettings {
        aliases: (!aliases.is_empty()).then_some(aliases),
        ..EndpointSettings::default()
    }
}

/// What the network of a container is called where it is made.
pub(super) fn mode(instance: &InstanceSpec) -> String {
    match &instance.spec.network {
        NetworkMode::Networks(_) => {
            let networks = instance.spec.network.in_order();
            networks.first().map_or_else(
                || "none".to_owned(),
                |(key, _)| instance.networks.get(*key).unwrap_or(key).clone(),
            )
        }
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Service(service) => {
            format!("container:{}", instance.join.as_ref().unwrap_or(service))
        }
        NetworkMode::Container(name) => format!("container:{name}"),
        NetworkMode::Other(mode) => mode.clone(),
    }
}
