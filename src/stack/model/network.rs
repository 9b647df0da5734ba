//! Networks and how services join them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::stack::Place;

/// A network of the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Its name on the engine: `<stack>_<key>`, or as declared.
    pub name: String,
    /// Exists already and is not ours to make or remove.
    pub external: bool,
    /// Driver; the engine's default when absent.
    pub driver: Option<String>,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Without a way out.
    pub internal: bool,
    /// Other containers may join.
    pub attachable: bool,
    /// IPv4 addresses; the engine's default when absent.
    pub enable_ipv4: Option<bool>,
    /// IPv6 addresses; the engine's default when absent.
    pub enable_ipv6: Option<bool>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Address management.
    pub ipam: Ipam,
    /// Where it is declared; empty for the implied `default`.
    #[serde(skip)]
    pub place: Place,
}

/// Address management of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ipam {
    /// Driver.
    pub driver: Option<String>,
    /// Address pools.
    pub config: Vec<IpamPool>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// One pool of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IpamPool {
    /// Subnet in CIDR form.
    pub subnet: Option<String>,
    /// Range for containers in CIDR form.
    pub ip_range: Option<String>,
    /// Gateway address.
    pub gateway: Option<String>,
    /// Reserved addresses by host name.
    pub aux_addresses: BTreeMap<String, String>,
}

/// How a service joins one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// More names of the service on this network.
    pub aliases: Vec<String>,
    /// Fixed IPv4 address.
    pub ipv4_address: Option<String>,
    /// Fixed IPv6 address.
    pub ipv6_address: Option<String>,
    /// Link-local addresses.
    pub link_local_ips: Vec<String>,
    /// MAC address.
    pub mac_address: Option<String>,
    /// Name of the interface in the container.
    pub interface_name: Option<String>,
    /// Order of joining, highest first.
    pub priority: i64,
    /// The highest one gives the default route.
    pub gw_priority: i64,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
}

/// A network namespace that is not made of the stack's networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// No network.
    None,
    /// The host's.
    Host,
    /// The engine's default bridge.
    Bridge,
    /// That of a service's container.
    Service(String),
    /// That of a foreign container.
    Container(String),
    /// Anything else, passed on as written.
    Other(String),
}
