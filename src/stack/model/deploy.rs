//! Replicas, resources and rollout.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::stack::Place;
use crate::stack::units::NanoCpus;
use crate::stack::units::Ratio;

/// The `deploy` section, with the older keys (`scale`, `mem_limit`, `cpus`, …)
/// folded in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deploy {
    /// Replicated or one per node.
    pub mode: DeployMode,
    /// Number of replicas; one, where the file says nothing.
    pub replicas: Option<u32>,
    /// Limits and reservations of one replica.
    pub resources: Resources,
    /// How new revisions are rolled out.
    pub update_config: Option<UpdateConfig>,
    /// How an old revision is rolled back to.
    pub rollback_config: Option<UpdateConfig>,
    /// When a container is restarted.
    pub restart_policy: Option<RestartPolicy>,
    /// Where replicas may run.
    pub placement: Placement,
    /// `vip` or `dnsrr`.
    pub endpoint_mode: Option<String>,
    /// Labels of the service, not of its containers.
    pub labels: BTreeMap<String, String>,
    /// Where the section, or the number of replicas, is declared.
    #[serde(skip)]
    pub place: Place,
}

/// How many replicas there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployMode {
    /// As many as `replicas` says.
    #[default]
    Replicated,
    /// One on each node.
    Global,
    /// As `Replicated`, and done when they exit.
    ReplicatedJob,
    /// As `Global`, and done when they exit.
    GlobalJob,
}

/// Resources of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// What it may use at most.
    pub limits: Limits,
    /// What it is sure to get.
    pub reservations: Reservations,
    /// Where they are declared.
    #[serde(skip)]
    pub place: Place,
}

/// Upper bounds of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// CPUs.
    pub cpus: Option<NanoCpus>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Processes; -1 is unlimited.
    pub pids: Option<i64>,
}

/// What one replica is sure to get: its declared demand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reservations {
    /// CPUs.
    pub cpus: Option<NanoCpus>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Devices; `gpus` is folded in.
    pub devices: Vec<DeviceRequest>,
    /// User-defined discrete resources: kind to amount.
    pub generic: BTreeMap<String, i64>,
}

/// A request for devices by capability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceRequest {
    /// Capabilities, like `gpu`.
    pub capabilities: Vec<String>,
    /// Driver.
    pub driver: Option<String>,
    /// How many; -1 is all.
    pub count: Option<i64>,
    /// Certain devices, instead of a count.
    pub device_ids: Vec<String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// How revisions are exchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateConfig {
    /// Replicas at a time; 0 is all.
    pub parallelism: Option<u64>,
    /// Pause between two batches.
    pub delay: Option<Duration>,
    /// What to do when a replica fails.
    pub failure_action: Option<FailureAction>,
    /// How long a replica is watched after it got ready.
    pub monitor: Option<Duration>,
    /// Share of failed replicas that is borne.
    pub max_failure_ratio: Option<Ratio>,
    /// New first, or old first.
    pub order: Option<UpdateOrder>,
}

/// What follows a failed update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureAction {
    /// Go on.
    Continue,
    /// Stop and leave it.
    Pause,
    /// Go back to the last stable release.
    Rollback,
}

/// What comes first when a replica is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// The new one gets ready before the old one stops.
    StartFirst,
    /// The old one stops before the new one starts.
    StopFirst,
}

/// The `deploy.restart_policy` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestartPolicy {
    /// When to restart.
    pub condition: RestartCondition,
    /// Wait before a restart.
    pub delay: Option<Duration>,
    /// At most so often.
    pub max_attempts: Option<u64>,
    /// How long a start is watched to count as good.
    pub window: Option<Duration>,
}

/// When `deploy.restart_policy` restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartCondition {
    /// Never.
    None,
    /// After a non-zero exit.
    OnFailure,
    /// After any exit.
    Any,
}

/// Where replicas may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// Conditions that a node has to meet.
    pub constraints: Vec<String>,
    /// Node properties to spread over, first one first.
    pub spread: Vec<String>,
    /// At most so many on one node.
    pub max_replicas_per_node: Option<u64>,
}
