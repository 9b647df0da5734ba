//! The figures of one capacity check, as plain data for plan, status and JSON.

use serde::Deserialize;
use serde::Serialize;

use crate::state::desired::DemandSource;

/// Whether demand fits, with all figures behind the verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityReport {
    /// CPU in thousandths of a core.
    pub cpu: ResourceReport,
    /// Memory in bytes.
    pub memory: ResourceReport,
    /// One row per service, dominant ratio first.
    pub services: Vec<ServiceRatio>,
    /// What may be done about a ratio above 1, best first.
    pub remedies: Vec<String>,
    /// Declared demand does not fit.
    pub refused: bool,
    /// Which replica finds no node, where the sum of all nodes would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfit: Option<String>,
}

/// One resource over all services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceReport {
    /// What the engine has.
    pub total: u64,
    /// Kept back for the host.
    pub reserve: u64,
    /// Taken by containers outside the stack.
    pub foreign: u64,
    /// C = total − reserve − foreign.
    pub capacity: u64,
    /// M of the steady state.
    pub demand: u64,
    /// M of the steady state that is declared by reservations.
    pub declared: u64,
    /// M at the height of the change (with surge).
    pub surge: u64,
}

/// One service's share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRatio {
    /// Service.
    pub service: String,
    /// Replicas counted.
    pub replicas: u32,
    /// CPU of one replica in thousandths of a core.
    pub cpu_milli: u64,
    /// Where it comes from.
    pub cpu_source: DemandSource,
    /// Memory of one replica in bytes.
    pub memory: u64,
    /// Where it comes from.
    pub memory_source: DemandSource,
    /// CPU ratio in thousandths.
    pub cpu_ratio_milli: u64,
    /// Memory ratio in thousandths.
    pub memory_ratio_milli: u64,
    /// `cpu` or `memory`: the larger one.
    pub dominant: String,
}
