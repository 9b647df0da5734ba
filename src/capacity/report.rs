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
    /// One row per node, dominant ratio first; none on an engine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeRatio>,
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
}

/// What the stack's pods that are on a node now ask of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRatio {
    /// Node.
    pub node: String,
    /// C for CPU: what pods may ask for less what those outside the stack ask for, in
    /// thousandths of a core.
    pub cpu_capacity: u64,
    /// M for CPU: what the stack's pods ask for.
    pub cpu_demand: u64,
    /// C for memory in bytes.
    pub memory_capacity: u64,
    /// M for memory.
    pub memory_demand: u64,
    /// Pods of the stack.
    pub pods: u64,
    /// CPU ratio in thousandths.
    pub cpu_ratio_milli: u64,
    /// Memory ratio in thousandths.
    pub memory_ratio_milli: u64,
}
