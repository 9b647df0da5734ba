//! The gateway over real sockets on loopback addresses; no engine needed.
//!
//! One program, so that it is linked once. `support` holds the replicas, the
//! clients and the rig; every other module is one subject.

mod control;
mod cut;
mod doors;
mod health;
mod http;
mod lock;
mod probe;
mod program;
mod protocol;
mod restart;
mod retry;
mod shutdown;
mod split;
mod streaming;
mod succession;
mod support;
mod switch;
mod tcp;
mod upgrade;
mod upstream;
