//! R = M / C: demand, capacity and their ratio.
//!
//! Integer arithmetic only; no clock, no random number, no engine.

pub mod report;
