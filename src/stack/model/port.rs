//! Published ports.

use std::net::IpAddr;

use serde::Serialize;

use super::Route;
use crate::stack::Place;

/// One port of a service. A range in the file becomes one `Port` each, unless
/// the host may choose from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Port inside the container.
    pub target: u16,
    /// First host port; `None` lets the host choose any.
    pub published: Option<u16>,
    /// Last host port the host may choose from; the same as `published` where
    /// the port is fixed.
    pub published_end: Option<u16>,
    /// Host address; `None` is every address.
    pub host_ip: Option<IpAddr>,
    /// Transport.
    pub protocol: Protocol,
    /// Through the gateway, or bound by the container itself.
    pub mode: PortMode,
    /// A name for people.
    pub name: Option<String>,
    /// `http` lets the gateway balance requests instead of connections.
    pub app_protocol: Option<String>,
    /// The route of the port's own `x-shop`.
    pub route: Option<Route>,
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
}

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// How a port reaches the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PortMode {
    /// Balanced over the replicas.
    #[default]
    Ingress,
    /// Bound by each container on its host.
    Host,
}
