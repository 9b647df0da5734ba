//! `shopctl` brings a shop from one stack file to running, scaled,
//! capacity-checked services.

pub mod stack;
