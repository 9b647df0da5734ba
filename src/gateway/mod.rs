//! The control client of the gateway: routes, targets, drain, probes.
//!
//! The gateway is the data plane and survives without us; this module only
//! talks to it, over one process per gateway container that the engine keeps
//! connected for the run. What is said stands in `shop_gateway::protocol`.

mod control;
mod fence;
mod fleet;

pub use control::Control;
pub use control::GatewayError;
pub use fence::fence;
pub use fleet::Fleet;
