//! R = M / C: demand, capacity and their ratio.
//!
//! M is what the replicas ask for, C what the engine has after a reserve for the
//! host and what containers outside the stack take. Only declared demand can refuse
//! a change. Integer arithmetic only; no clock, no random number, no engine.

pub mod allocate;
pub mod demand;
pub mod place;
pub mod ratio;
pub mod remedy;
pub mod report;
pub mod supply;
