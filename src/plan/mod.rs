//! What to do: a pure function from what should be and what is to a plan.
//!
//! Nothing here reads a clock, draws a random number, asks a question or logs.
//! The same input gives the same plan, byte for byte.

pub mod action;
