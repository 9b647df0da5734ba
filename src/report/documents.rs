//! Answers as data: the JSON and YAML that scripts may rely on.
//!
//! Fields are added, never renamed. The schemas in `docs/reference/schema/` are
//! generated from these types, and a test holds both equal.

use serde::Deserialize;
use serde::Serialize;

use crate::capacity::report::CapacityReport;
use crate::capacity::report::NodeRatio;
use crate::capacity::report::ResourceReport;
use crate::capacity::report::ServiceRatio;
use crate::plan::action::Note;
use crate::plan::action::Plan;
use crate::plan::action::Step;
use crate::state::desired::DemandSource;

/// Version of the documents.
pub const VERSION: &str = "1";

/// `status -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StatusDocument {
    /// Version of this format.
    pub version: String,
    /// Name of the stack.
    pub stack: String,
    /// Where it runs.
    pub backend: String,
    /// Number of the stable release that serves; null when none is recorded.
    pub release: Option<u64>,
    /// The newest release, where it is not the one that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentStatus>,
    /// With `--drift`: what differs from the recorded release, one line each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Vec<String>>,
    /// A plan made now would be empty.
    pub converged: bool,
    /// M, C and R of the stack.
    pub capacity: Capacities,
    /// The services by name.
    pub services: Vec<ServiceStatus>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// A release that is not the one that serves.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeploymentStatus {
    /// Its number.
    pub release: u64,
    /// `running`, `rolled_back`, `failed` or `interrupted`. Running without a lock
    /// means that its run was killed.
    pub outcome: String,
    /// Who began it, as `user@host`.
    pub by: String,
    /// When it began, in milliseconds since the epoch.
    pub at: u64,
    /// Steps of its first plan.
    pub steps: usize,
    /// Steps that a deploy of it would still take; null where it will not go on.
    pub left: Option<usize>,
    /// The first of them: where it was interrupted. Null where none is left.
    pub next: Option<PendingStep>,
    /// Why it failed; empty where it did not.
    pub reason: String,
}

/// A step that a release has still to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PendingStep {
    /// Service, or empty for the stack's own steps.
    pub service: String,
    /// What is to be done, in words.
    pub what: String,
    /// Why.
    pub cause: String,
}

/// M, C and R of the stack.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Capacities {
    /// In cores.
    pub cpu: CpuTotal,
    /// In bytes.
    pub memory: MemoryTotal,
}

/// CPU of the stack in cores.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CpuTotal {
    /// M.
    pub demand: f64,
    /// C.
    pub capacity: f64,
    /// R = M / C.
    pub ratio: f64,
}

/// Memory of the stack in bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MemoryTotal {
    /// M.
    pub demand: u64,
    /// C.
    pub capacity: u64,
    /// R = M / C.
    pub ratio: f64,
}

/// One service in `status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What it runs.
    pub image: ImageStatus,
    /// How many replicas.
    pub replicas: Replicas,
    /// Its share of the capacity.
    pub ratio: Ratio,
    /// What goes through its gateway; null where nothing is measured.
    pub performance: Option<PerformanceStatus>,
    /// Published ports, with the address of the host where one is set.
    pub ports: Vec<String>,
    /// Its containers by name.
    pub instances: Vec<InstanceStatus>,
}

/// An image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ImageStatus {
    /// Reference.
    pub r#ref: String,
    /// Image id of the running replicas; null when none runs.
    pub id: Option<String>,
    /// Digest in a registry, where it came from one.
    pub repo_digest: Option<String>,
}

/// How many replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Replicas {
    /// Asked for.
    pub desired: u32,
    /// Running.
    pub running: u32,
    /// Serving.
    pub ready: u32,
}

/// R of a service or of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ratio {
    /// CPU.
    pub cpu: f64,
    /// Memory.
    pub memory: f64,
    /// The larger of both: `cpu` or `memory`.
    pub dominant: String,
}

impl Ratio {
    /// The larger ratio.
    pub fn dominant_ratio(&self) -> f64 {
        self.cpu.max(self.memory)
    }

    fn of(cpu_milli: u64, memory_milli: u64) -> Self {
        let is_memory = memory_milli > cpu_milli;
        Self {
            cpu: thousandths(cpu_milli.min(NO_CAPACITY)),
            memory: thousandths(memory_milli.min(NO_CAPACITY)),
            dominant: if is_memory { "memory" } else { "cpu" }.to_owned(),
        }
    }
}

/// T, N and P of one service.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PerformanceStatus {
    /// T in requests per second.
    pub throughput_rps: f64,
    /// N in milliseconds; null while nothing was measured.
    pub latency_ms: Option<Latency>,
    /// P = T / N, N being the 95th percentile.
    pub power: Option<f64>,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// One container in `status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InstanceStatus {
    /// Container name.
    pub name: String,
    /// `ready`, `starting`, `unhealthy`, `created`, `paused`, `restarting`, `exited`, `dead`.
    pub state: String,
    /// Cores in use; null unless measured.
    pub cpu: Option<f64>,
    /// Bytes in use; null unless measured.
    pub memory: Option<u64>,
    /// Times the engine restarted it.
    pub restarts: u32,
}

/// `plan -o json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlanDocument {
    /// Version of this format.
    pub version: String,
    /// Name of the stack.
    pub stack: String,
    /// Services the plan is for; empty means all.
    pub only: Vec<String>,
    /// Digest of the observed state that the plan was made for.
    pub basis: String,
    /// One line per change, for people.
    pub changes: Vec<String>,
    /// The steps in order; no value of an environment, secret or config is in them.
    pub steps: Vec<PlanStep>,
    /// M, C and R after the change, and at its height.
    pub capacity: CapacityDocument,
    /// What the user should know.
    pub notes: Vec<PlanNote>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlanStep {
    /// Its number.
    pub id: u32,
    /// Service, or empty.
    pub service: String,
    /// Kind of action, e.g. `create_instance`.
    pub action: String,
    /// What is done, in words.
    pub what: String,
    /// Why.
    pub cause: String,
    /// Steps that must have succeeded first, gates included.
    pub needs: Vec<u32>,
    /// Steps whose action must have succeeded first.
    pub after: Vec<u32>,
}

/// One note of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlanNote {
    /// Whether it deserves attention.
    pub warning: bool,
    /// Service it is about, or empty.
    pub service: String,
    /// The words.
    pub message: String,
}

impl From<&Note> for PlanNote {
    fn from(note: &Note) -> Self {
        Self {
            warning: note.warning,
            service: note.service.clone(),
            message: note.message.clone(),
        }
    }
}

impl PlanDocument {
    /// The plan with its changes and steps in words.
    pub fn new(
        plan: &Plan,
        only: &[String],
        changes: Vec<String>,
        words: impl Fn(&Step) -> (String, String),
    ) -> Self {
        let step = |step: &Step| {
            let (what, cause) = words(step);
            PlanStep {
                id: step.id,
                service: step.service.clone(),
                action: kind(step),
                what,
                cause,
                needs: step.needs.clone(),
                after: step.after.clone(),
            }
        };
        Self {
            version: VERSION.to_owned(),
            stack: plan.stack.clone(),
            only: only.to_vec(),
            basis: plan.basis.clone(),
            changes,
            steps: plan.steps.iter().map(step).collect(),
            capacity: CapacityDocument::new(&plan.stack, &plan.capacity),
            notes: plan.notes.iter().map(PlanNote::from).collect(),
        }
    }
}

/// The tag of the action's serialised form.
fn kind(step: &Step) -> String {
    serde_json::to_value(&step.action)
        .ok()
        .and_then(|value| Some(value.get("action")?.as_str()?.to_owned()))
        .unwrap_or_default()
}

/// `capacity -o json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CapacityDocument {
    /// Version of this format.
    pub version: String,
    /// Name of the stack.
    pub stack: String,
    /// CPU in cores.
    pub cpu: CpuCapacity,
    /// Memory in bytes.
    pub memory: MemoryCapacity,
    /// One row per service, dominant ratio first.
    pub services: Vec<ServiceCapacity>,
    /// One row per node that takes pods, dominant ratio first; not on an engine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeCapacity>,
    /// What may be done about a ratio above 1, best first.
    pub remedies: Vec<String>,
    /// Declared demand does not fit: deploy would refuse.
    pub refused: bool,
    /// Which replica finds no node, where the sum of all nodes would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfit: Option<String>,
}

/// CPU in cores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CpuCapacity {
    /// What the engine has.
    pub total: f64,
    /// Kept back for the host.
    pub reserve: f64,
    /// Taken by containers outside the stack.
    pub foreign: f64,
    /// C.
    pub capacity: f64,
    /// M of the steady state.
    pub demand: f64,
    /// The part of M that reservations declare.
    pub declared: f64,
    /// M at the height of the change.
    pub surge: f64,
    /// R = M / C.
    pub ratio: f64,
    /// R at the height of the change.
    pub surge_ratio: f64,
}

/// Memory in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MemoryCapacity {
    /// What the engine has.
    pub total: u64,
    /// Kept back for the host.
    pub reserve: u64,
    /// Taken by containers outside the stack.
    pub foreign: u64,
    /// C.
    pub capacity: u64,
    /// M of the steady state.
    pub demand: u64,
    /// The part of M that reservations declare.
    pub declared: u64,
    /// M at the height of the change.
    pub surge: u64,
    /// R = M / C.
    pub ratio: f64,
    /// R at the height of the change.
    pub surge_ratio: f64,
}

/// One service's demand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServiceCapacity {
    /// Its name.
    pub name: String,
    /// Replicas counted.
    pub replicas: u32,
    /// Cores of one replica.
    pub cpu: f64,
    /// `reservation`, `limit` or `assumed`.
    pub cpu_source: String,
    /// Bytes of one replica.
    pub memory: u64,
    /// `reservation`, `limit` or `assumed`.
    pub memory_source: String,
    /// R of the service.
    pub ratio: Ratio,
}

/// A node of a cluster, and what the stack's pods that are there now ask of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeCapacity {
    /// Its name.
    pub name: String,
    /// Pods of the stack.
    pub pods: u64,
    /// C in cores: what pods may ask for less what those outside the stack ask for.
    pub cpu_capacity: f64,
    /// M in cores.
    pub cpu_demand: f64,
    /// C in bytes.
    pub memory_capacity: u64,
    /// M in bytes.
    pub memory_demand: u64,
    /// R of the node.
    pub ratio: Ratio,
}

impl CapacityDocument {
    /// The figures of a check.
    pub fn new(stack: &str, report: &CapacityReport) -> Self {
        let (cpu, memory) = (&report.cpu, &report.memory);
        Self {
            version: VERSION.to_owned(),
            stack: stack.to_owned(),
            cpu: CpuCapacity {
                total: thousandths(cpu.total),
                reserve: thousandths(cpu.reserve),
                foreign: thousandths(cpu.foreign),
                capacity: thousandths(cpu.capacity),
                demand: thousandths(cpu.demand),
                declared: thousandths(cpu.declared),
                surge: thousandths(cpu.surge),
                ratio: ratio(cpu.demand, cpu.capacity),
                surge_ratio: ratio(cpu.surge, cpu.capacity),
            },
            memory: MemoryCapacity {
                total: memory.total,
                reserve: memory.reserve,
                foreign: memory.foreign,
                capacity: memory.capacity,
                demand: memory.demand,
                declared: memory.declared,
                surge: memory.surge,
                ratio: ratio(memory.demand, memory.capacity),
                surge_ratio: ratio(memory.surge, memory.capacity),
            },
            services: report.services.iter().map(service_capacity).collect(),
            nodes: report.nodes.iter().map(node_capacity).collect(),
            remedies: report.remedies.clone(),
            refused: report.refused,
            misfit: report.misfit.clone(),
        }
    }
}

fn service_capacity(row: &ServiceRatio) -> ServiceCapacity {
    ServiceCapacity {
        name: row.service.clone(),
        replicas: row.replicas,
        cpu: thousandths(row.cpu_milli),
        cpu_source: source(row.cpu_source).to_owned(),
        memory: row.memory,
        memory_source: source(row.memory_source).to_owned(),
        ratio: Ratio::of(row.cpu_ratio_milli, row.memory_ratio_milli),
    }
}

fn node_capacity(row: &NodeRatio) -> NodeCapacity {
    NodeCapacity {
        name: row.node.clone(),
        pods: row.pods,
        cpu_capacity: thousandths(row.cpu_capacity),
        cpu_demand: thousandths(row.cpu_demand),
        memory_capacity: row.memory_capacity,
        memory_demand: row.memory_demand,
        ratio: Ratio::of(row.cpu_ratio_milli, row.memory_ratio_milli),
    }
}

impl Capacities {
    /// The totals of a check.
    pub fn new(report: &CapacityReport) -> Self {
        let of = |it: &ResourceReport| ratio(it.demand, it.capacity);
        Self {
            cpu: CpuTotal {
                demand: thousandths(report.cpu.demand),
                capacity: thousandths(report.cpu.capacity),
                ratio: of(&report.cpu),
            },
            memory: MemoryTotal {
                demand: report.memory.demand,
                capacity: report.memory.capacity,
                ratio: of(&report.memory),
            },
        }
    }
}

impl ServiceStatus {
    /// Its share, from the row of a capacity check.
    pub fn ratio(report: &CapacityReport, service: &str) -> Ratio {
        report
            .services
            .iter()
            .find(|row| row.service == service)
            .map_or_else(Ratio::default, |row| {
                Ratio::of(row.cpu_ratio_milli, row.memory_ratio_milli)
            })
    }
}

/// `build -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BuildDocument {
    /// Version of this format.
    pub version: String,
    /// Name of the stack.
    pub stack: String,
    /// One per service that is built.
    pub images: Vec<BuiltImage>,
}

/// A built image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BuiltImage {
    /// Service.
    pub service: String,
    /// Its tag, named by the content of the build.
    pub r#ref: String,
    /// Its names in the stack file: `image`, then `build.tags`.
    pub names: Vec<String>,
    /// Image id.
    pub id: String,
    /// Whether a build ran; otherwise the image was there.
    pub built: bool,
    /// Whether it was pushed by its names.
    pub pushed: bool,
}

/// `doctor -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DoctorDocument {
    /// Version of this format.
    pub version: String,
    /// No check failed.
    pub healthy: bool,
    /// The checks in order.
    pub checks: Vec<Check>,
}

/// One check of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// `ok`, `warning`, `failed` or `skipped`.
    pub outcome: String,
    /// What was found.
    pub finding: String,
    /// The command that mends it; null where nothing needs mending.
    pub mend: Option<String>,
}

/// Where a demand figure comes from, in a word.
fn source(source: DemandSource) -> &'static str {
    match source {
        DemandSource::Reservation => "reservation",
        DemandSource::Limit => "limit",
        DemandSource::Assumed => "assumed",
    }
}

/// R in thousandths that stands for a demand on no capacity at all.
const NO_CAPACITY: u64 = 999_000;

/// Integers of a report as numbers of a document.
fn thousandths(milli: u64) -> f64 {
    // Thousandths of all cores of a machine fit 32 bits by far.
    f64::from(u32::try_from(milli).unwrap_or(u32::MAX)) / 1000.0
}

/// R with three digits; a demand on no capacity at all is shown as 999.
fn ratio(demand: u64, capacity: u64) -> f64 {
    if demand == 0 {
        return 0.0;
    }
    thousandths(crate::capacity::ratio::milli(demand, capacity).min(NO_CAPACITY))
}
