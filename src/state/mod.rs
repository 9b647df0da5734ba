//! What should be and what is: plain data in one vocabulary.
//!
//! No async and no backend type may appear here; the planner compares
//! [`desired::DesiredState`] with [`observed::ObservedState`] field by field.

pub mod change;
pub mod cluster;
pub mod desired;
pub mod devices;
pub mod digest;
pub mod happening;
pub mod history;
pub mod hooks;
pub mod labels;
pub mod live;
pub mod names;
pub mod observed;
pub mod ports;
pub mod records;
pub mod resolve;
pub mod scaling;
pub mod since;
pub mod spec;
pub mod strategy;
pub mod task;
