//! The way to the targets: names to addresses, connections, their reuse.
//!
//! Decides nothing about which target is used. Test: in each file, and
//! `tests/gateway/upstream.rs`.

pub(crate) mod connect;
mod nameserver;
pub(crate) mod pool;
pub(crate) mod resolve;
pub(crate) mod stream;
pub(crate) mod upload;
pub(crate) mod watch;
