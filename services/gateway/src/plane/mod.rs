//! The data plane: what clients talk to. One thread per core, each with its own
//! listening sockets, connections and pool; they share only `routing`.
//!
//! Must not know the control protocol. Test: `tests/gateway/http.rs`, `tests/gateway/tcp.rs`,
//! `tests/gateway/upgrade.rs`, `tests/gateway/switch.rs`.

pub(crate) mod accept;
pub(crate) mod body;
pub(crate) mod doors;
pub(crate) mod forward;
pub(crate) mod frames;
pub(crate) mod headers;
pub(crate) mod listen;
pub(crate) mod problem;
pub(crate) mod replay;
pub(crate) mod tcp;
pub(crate) mod upgrade;
pub(crate) mod worker;
