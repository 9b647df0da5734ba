//! The control plane: what shopctl asks, and who answers it.
//!
//! Carries no client traffic. Test: `tests/gateway/control.rs`, `tests/gateway/probe.rs`.

pub(crate) mod bridge;
pub(crate) mod health;
pub(crate) mod operations;
pub(crate) mod probe;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod stdin;
