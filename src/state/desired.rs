//! What should be: the stack with every default filled in.
//!
//! Made from a loaded stack by `resolve`; no file, clock or network is read here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use super::hooks::Hooks;
use super::hooks::Lifecycle;
use super::hooks::StackHooks;
use super::scaling::Autoscale;
use super::spec::ContainerSpec;
use super::spec::NetworkSpec;
use super::spec::VolumeSpec;
use super::strategy::Staged;

/// Everything that should exist for one stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredState {
    /// Name of the stack (Compose calls it the project).
    pub stack: String,
    /// Services by name.
    pub services: BTreeMap<String, ServiceSpec>,
    /// Networks in use, by their key in the file.
    pub networks: BTreeMap<String, NetworkSpec>,
    /// Named volumes in use, by their key in the file.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// Seeded file sets (secrets, configs) by set name.
    pub files: BTreeMap<String, FileSet>,
    /// Ports that the gateway publishes, ordered by id.
    pub ports: Vec<PublishedPort>,
    /// Commands that run once around a change of any service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<StackHooks>,
    /// `x-shop.capacity: strict`: demand of any source may refuse.
    pub strict_capacity: bool,
    /// Registry and path before the names of images that are built; empty where the nodes
    /// have them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub registry: String,
    /// Factor by which CPU demand may exceed the capacity (1.0 by default).
    pub cpu_overcommit_percent: u32,
    /// Folder of the first file and the files themselves, for labels.
    pub working_dir: String,
    /// The stack files, for labels.
    pub config_files: Vec<String>,
    /// Services the user named: only these change; empty means all.
    pub only: BTreeSet<String>,
}

impl DesiredState {
    /// Host ports that the stack publishes, by its gateway or by a container itself, as
    /// `ip:port/protocol`.
    pub fn host_ports(&self) -> BTreeSet<String> {
        let gateway = self
            .ports
            .iter()
            .filter_map(|port| Some((&port.host_ip, port.host_port?, "tcp")));
        let own = self
            .services
            .values()
            .flat_map(|service| &service.container.ports)
            .filter_map(|port| Some((&port.host_ip, port.host_port?, port.protocol.as_str())));
        gateway
            .chain(own)
            .map(|(ip, port, protocol)| format!("{ip}:{port}/{protocol}"))
            .collect()
    }
}

/// One service, resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Name in the file.
    pub name: String,
    /// Where the service stands in the file, as `file:line:column`.
    pub place: String,
    /// By what Docker Compose would know a container of it; empty in releases, which take
    /// nothing over.
    #[serde(skip)]
    pub compose_hash: String,
    /// Replicas the file asks for.
    pub replicas: u32,
    /// Whether the file names the count (else it is the default of 1).
    pub replicas_declared: bool,
    /// What one of its containers is.
    pub container: ContainerSpec,
    /// Where the image comes from.
    pub image: ImageSource,
    /// The image that its reference meant when it was released: what counts from then
    /// on, whatever the reference means. Only in releases, and only where it is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<PinnedImage>,
    /// Services that must come first.
    pub needs: Vec<Dependency>,
    /// When a new container counts as ready.
    pub ready: ReadyGate,
    /// Demand M of one replica.
    pub demand: Demand,
    /// How replicas are replaced.
    pub rollout: Rollout,
    /// What kind of work it does.
    pub class: Class,
    /// Fixed container name, where the file asks for one.
    pub container_name: Option<String>,
    /// Runs to completion: no restart policy, and others wait for its success.
    pub one_off: bool,
    /// Volumes, by key, that one container may write at a time.
    #[serde(default)]
    pub exclusive_volumes: Vec<String>,
    /// Ports on which other services reach it through the gateway when they call it by
    /// name; empty: its replicas have the name themselves.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub inner: BTreeSet<u16>,
    /// Commands that run once around a change of this service.
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    /// Commands inside its replicas.
    #[serde(default, skip_serializing_if = "Lifecycle::is_empty")]
    pub lifecycle: Lifecycle,
    /// How its count may follow the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<Autoscale>,
    /// The mesh of the cluster that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<Mesh>,
}

/// Where an image comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// Pulled, or present on the engine.
    Pull {
        /// Reference as written.
        reference: String,
        /// When it is pulled.
        policy: PullPolicy,
    },
    /// Built from a context; the tag carries the content digest.
    Build {
        /// `<stack>-<service>:<12 hex of the content digest>`, `None` while the
        /// digest cannot be known because prepare commands have yet to run.
        tag: Option<String>,
    },
    /// Not set (only while resolving).
    #[default]
    Unset,
}

/// An image that a reference once meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedImage {
    /// Its id.
    pub id: String,
    /// The name by which its registry gives it, `repository@sha256:…`; none for an image
    /// that was never pulled.
    #[serde(default)]
    pub repo_digest: Option<String>,
}

impl PinnedImage {
    /// Its id, short enough for a line of text.
    pub fn short(&self) -> &str {
        self.id.get(..19).unwrap_or(&self.id)
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// When the engine does not have it.
    #[default]
    Missing,
    /// At every deploy.
    Always,
    /// Never.
    Never,
    /// When it was last pulled longer ago than so many seconds.
    Refresh(u64),
}

/// A service that must come first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Name of the other service.
    pub service: String,
    /// What is waited for.
    pub condition: Condition,
    /// Whether its absence is an error.
    pub required: bool,
    /// Whether this service restarts when the other is replaced.
    pub restart: bool,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Started.
    Started,
    /// Ready by its probe or health check.
    Healthy,
    /// Ended with exit code 0.
    CompletedSuccessfully,
}

/// When a new container counts as ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyGate {
    /// It runs, and still does after a short look.
    #[default]
    Running,
    /// `x-shop.ready`: probed from inside the stack's network.
    Probe {
        /// Port inside the container.
        port: u16,
        /// HTTP path that must answer 2xx; `None` is a TCP connect.
        http: Option<String>,
        /// Time limit in milliseconds.
        deadline_ms: u64,
    },
    /// The engine's health check says healthy.
    Healthy {
        /// Time limit in milliseconds.
        deadline_ms: u64,
        /// Interval of the check: the worst case the gate adds.
        interval_ms: u64,
    },
    /// It ends with exit code 0.
    Completed {
        /// Time limit in milliseconds.
        deadline_ms: u64,
    },
}

impl ReadyGate {
    /// How long it may take, in milliseconds, where it takes time.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self {
            Self::Running => None,
            Self::Probe { deadline_ms, .. }
            | Self::Healthy { deadline_ms, .. }
            | Self::Completed { deadline_ms, .. } => Some(*deadline_ms),
        }
    }

    /// The same question, asked on while a replica serves.
    pub fn check(&self) -> Option<HealthCheck> {
        match self {
            Self::Probe { port, http, .. } => Some(HealthCheck {
                port: *port,
                http: http.clone(),
            }),
            Self::Running | Self::Healthy { .. } | Self::Completed { .. } => None,
        }
    }
}

/// How the gateways ask a replica whether it still serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Port inside the container.
    pub port: u16,
    /// HTTP path that must answer 2xx; `None` is a TCP connect.
    #[serde(default)]
    pub http: Option<String>,
}

/// Demand M of one replica, per resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// CPU in thousandths of a core.
    pub cpu_milli: u64,
    /// Where the CPU figure comes from.
    pub cpu_source: DemandSource,
    /// Memory in bytes.
    pub memory: u64,
    /// Where the memory figure comes from.
    pub memory_source: DemandSource,
}

/// Where a demand figure comes from; only a reservation can refuse a deploy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DemandSource {
    /// `deploy.resources.reservations` or its service-level form.
    Reservation,
    /// `deploy.resources.limits` or its service-level form.
    Limit,
    /// Nothing declared: an assumption of ours.
    #[default]
    Assumed,
}

/// How replicas are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// New before old, or old before new.
    pub order: RolloutOrder,
    /// Replicas replaced at a time; 0 means all.
    pub parallelism: u32,
    /// Pause between batches in milliseconds.
    pub delay_ms: u64,
    /// Time a new replica is watched after it became ready, in milliseconds.
    pub monitor_ms: u64,
    /// What follows when more replicas fail than are borne.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Share of the service's replicas that may fail, in millionths.
    #[serde(default, skip_serializing_if = "is_none_borne")]
    pub max_failures: u32,
    /// In stages that are judged; `None`: batch by batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Staged>,
    /// How they are replaced on the way back to this state; `None`: the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Back>,
}

/// How replicas are replaced on the way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// New before old, or old before new.
    pub order: RolloutOrder,
    /// Replicas replaced at a time; 0 means all.
    pub parallelism: u32,
    /// Pause between batches in milliseconds.
    pub delay_ms: u64,
    /// Time a replica is watched after it became ready, in milliseconds.
    pub monitor_ms: u64,
}

/// What follows when a new replica fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The whole stack goes back to the last stable release.
    #[default]
    Rollback,
    /// What was changed stays, what was not serves on.
    Pause,
    /// The rest of the service's replicas is changed all the same.
    Continue,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_none_borne(millionths: &u32) -> bool {
    *millionths == 0
}

impl Rollout {
    /// How replicas are replaced on the way back.
    #[must_use]
    pub fn backwards(&self) -> Self {
        let mut rollout = self.clone();
        if let Some(back) = rollout.back.take() {
            rollout.order = back.order;
            rollout.parallelism = back.parallelism;
            rollout.delay_ms = back.delay_ms;
            rollout.monitor_ms = back.monitor_ms;
        }
        rollout
    }

    /// So many of these replicas may fail.
    pub fn borne_of(&self, replicas: usize) -> u32 {
        let replicas = u64::try_from(replicas).unwrap_or(u64::MAX);
        let borne = replicas.saturating_mul(self.max_failures.into()) / 1_000_000;
        u32::try_from(borne).unwrap_or(u32::MAX)
    }
}

/// New before old, or old before new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOrder {
    /// The new replica is ready before the old one is stopped.
    #[default]
    StartFirst,
    /// The old replica is stopped before the new one starts; there is a gap.
    StopFirst,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            order: RolloutOrder::StartFirst,
            parallelism: 1,
            delay_ms: 0,
            monitor_ms: 0,
            on_failure: OnFailure::default(),
            max_failures: 0,
            staged: None,
            back: None,
        }
    }
}

/// What kind of work a service does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Answers users: never throttled by default.
    #[default]
    Latency,
    /// Works in the background.
    Batch,
    /// Holds data: one writer, protected most.
    Stateful,
}

/// What encrypts calls between services of a cluster, and steers them around failing ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mesh {
    /// Istio.
    Istio,
    /// Linkerd.
    Linkerd,
    /// Consul.
    Consul,
}

/// A port of the host that belongs to the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// `<host ip or *>:<port>/tcp`, also the listener's id at the gateway.
    pub id: String,
    /// Address of the host; empty for all.
    pub host_ip: String,
    /// Port of the host; `None` lets the engine choose.
    pub host_port: Option<u16>,
    /// HTTP where declared, else TCP.
    pub http: bool,
    /// Where its requests go, most specific first.
    pub routes: Vec<Route>,
    /// Where it stands in the file, as `file:line:column`.
    pub place: String,
}

/// One way through a published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Only for this Host, any when `None`.
    pub host: Option<String>,
    /// Path prefix.
    pub path: String,
    /// Service behind it.
    pub service: String,
    /// Port inside its containers.
    pub port: u16,
}

/// Files seeded into a volume before the first start of their consumers.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSet {
    /// Files by path inside the set.
    pub files: BTreeMap<String, SeedFile>,
    /// Its digest, where the contents are not at hand: that of a recorded release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<String>,
    /// Kept in memory, never on a disk: for as long as a container of ours holds it there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub memory: bool,
}

impl std::fmt::Debug for FileSet {
    /// Names only: the contents may be secret.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.files.keys()).finish()
    }
}

/// One seeded file.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedFile {
    /// Content; never printed.
    #[serde(skip)]
    pub content: Vec<u8>,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl std::fmt::Debug for SeedFile {
    /// Everything but the content.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}:{} {:o}", self.uid, self.gid, self.mode)
    }
}
