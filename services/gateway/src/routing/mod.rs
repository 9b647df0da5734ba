//! Where a request goes: the configuration in force, and the counted right to
//! use one of its targets.
//!
//! Knows nothing of sockets, threads or HTTP. Test: in each file.

pub(crate) mod balance;
pub(crate) mod service;
pub(crate) mod snapshot;
pub(crate) mod split;
pub(crate) mod table;
pub(crate) mod target;
