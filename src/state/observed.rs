//! What is: one look at the backend, in our own structs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use super::cluster::ClusterState;
use super::desired::HealthCheck;
use super::history::Head;
use super::names;
use super::spec::LiveSpec;
use super::strategy::TrafficSplit;

/// One look at everything that matters for a stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObservedState {
    /// The engine itself.
    pub engine: Engine,
    /// Containers of the stack (ours and Docker Compose's), ordered by name.
    pub instances: Vec<Instance>,
    /// Containers outside the stack that run, ordered by name.
    pub foreign: Vec<Foreign>,
    /// Networks by engine name: those of the stack and those it asked about.
    pub networks: BTreeMap<String, ObservedNetwork>,
    /// Names of volumes: those of the stack and those it asked about.
    pub volumes: BTreeMap<String, ObservedVolume>,
    /// Images that were asked about and exist, by reference.
    pub images: BTreeMap<String, ImageInfo>,
    /// Of the host ports that were asked about, those that something listens on,
    /// containers included; as `ip:port/tcp`. Empty where this host is not the engine's.
    pub busy_ports: BTreeSet<String>,
    /// Bytes left where the engine keeps its data; `None` where this host is not the
    /// engine's or does not let us see.
    pub disk_free: Option<u64>,
    /// What the store holds; `None` when there is no store.
    pub store: Option<StoreSnapshot>,
    /// The cluster, where the target is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterState>,
}

impl ObservedState {
    /// By id, the containers that were taken over from Docker Compose, with their revisions.
    pub fn taken_over(&self) -> BTreeMap<String, String> {
        let instances = self.instances.iter();
        let taken_over = instances.filter(|one| !one.ours && one.is_managed());
        taken_over
            .map(|one| (one.id.clone(), one.revision.clone()))
            .collect()
    }

    /// Whether a run was killed, or stopped, when all was done but to say so in the history.
    /// Of use where nothing is left to do.
    pub fn is_unrecorded(&self) -> bool {
        let store = self.store.as_ref();
        if let Some(newest) = store.and_then(|store| store.head.newest.as_ref()) {
            return newest.goes_on();
        }
        let mut instances = self.instances.iter();
        instances.any(|one| one.role == Role::Service && one.is_managed())
    }

    /// Lets containers that were taken over from Docker Compose stand for their revision:
    /// they carry no label that says it.
    pub fn know_taken_over(&mut self) {
        let Some(store) = &self.store else {
            return;
        };
        for one in self.instances.iter_mut().filter(|one| !one.ours) {
            if let Some(revision) = store.head.taken_over.get(&one.id) {
                one.revision.clone_from(revision);
            }
        }
    }
}

/// The engine itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Engine {
    /// Host name of the engine.
    pub name: String,
    /// Version, e.g. `20.10.24`.
    pub version: String,
    /// Negotiated API version, e.g. `1.41`.
    pub api: String,
    /// Cores.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// 1 or 2.
    pub cgroup: u8,
    /// `linux/amd64`.
    pub platform: String,
    /// Folder of its data.
    pub root: String,
    /// Its kernel does not count swap, so no limit of it holds.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_swap_limit: bool,
}

/// What part a container of ours plays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A replica of a service.
    #[default]
    Service,
    /// The data plane.
    Gateway,
    /// Holds the store where there is no gateway.
    Keeper,
    /// The lock of a run.
    Lock,
    /// Probes readiness where no gateway is attached.
    Prober,
    /// Runs a hook once.
    Task,
    /// Runs a command that a user asked for.
    Run,
    /// Holds a volume of secrets in memory.
    Holder,
}

/// One container of the stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Instance {
    /// Container name, without the leading slash.
    pub name: String,
    /// Engine id.
    pub id: String,
    /// What part it plays.
    pub role: Role,
    /// Service it belongs to (empty for our own helpers).
    pub service: String,
    /// Slot of the replica, from 1.
    pub slot: u32,
    /// Revision digest label; of one that Compose made, the revision that it stood for
    /// when it was taken over, empty where it was not.
    pub revision: String,
    /// Unique network alias, `i-<12 hex>`; empty on containers that Compose made.
    pub alias: String,
    /// Reference it was created by.
    pub image: String,
    /// Image id it runs.
    pub image_id: String,
    /// Its state.
    pub state: InstanceState,
    /// Health by the engine's check, where it has one.
    pub health: Option<Health>,
    /// Times the engine restarted it.
    pub restarts: u32,
    /// Milliseconds since the epoch at which it started; 0 when it never did.
    pub started_at: u64,
    /// Network names it is attached to.
    pub networks: BTreeSet<String>,
    /// Live fields as the engine reports them.
    pub live: LiveSpec,
    /// Made by shopctl (else by Docker Compose).
    pub ours: bool,
    /// Docker Compose's configuration hash; empty on containers of ours.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compose_hash: String,
    /// What is in its image, as [`ImageInfo::content`]; only of those that Compose made.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_content: String,
    /// Host ports it publishes itself, as `ip:port/protocol`.
    pub host_ports: BTreeSet<String>,
    /// For a gateway: published port id to the port it listens on inside.
    pub listens: BTreeMap<String, u16>,
    /// For a gateway: the program that it runs; `None` before it has said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// For a gateway: the program that could not take over from that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// A replica without its service's name: the gateway has it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nameless: bool,
    /// For a gateway: the names it answers to, by network.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, BTreeSet<String>>,
    /// Named volumes it mounts, by engine name.
    pub volumes: BTreeSet<String>,
    /// The label [`super::names::FIELDS`], decoded; empty where it is absent.
    pub fields: BTreeMap<String, String>,
    /// Its environment, where the look included it.
    #[serde(skip_serializing)]
    pub environment: Option<Environment>,
    /// Memory in use in bytes, where it was measured.
    pub memory_in_use: Option<u64>,
}

impl Instance {
    /// Made by shopctl, or taken over from Docker Compose.
    pub fn is_managed(&self) -> bool {
        self.ours || !self.revision.is_empty()
    }

    /// A gateway for calls between services: it publishes nothing.
    pub fn is_inner(&self) -> bool {
        self.role == Role::Gateway && self.listens.is_empty()
    }

    /// Its group at the gateway; see [`names::group`].
    pub fn group(&self) -> String {
        let image = Some(self.image_id.as_str()).filter(|id| !id.is_empty());
        names::group(&self.revision, image)
    }
}

/// The environment of a container: compared, never printed or serialised.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Environment(pub BTreeMap<String, String>);

impl std::fmt::Debug for Environment {
    /// Names only: values may be secret.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

/// State of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Made, never started.
    #[default]
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// The engine is restarting it after a failure.
    Restarting,
    /// Ended.
    Exited {
        /// Exit code.
        code: i64,
        /// Killed for lack of memory.
        oom: bool,
    },
    /// Being removed, or beyond repair.
    Dead,
}

/// Health by the engine's check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not decided yet.
    Starting,
    /// Passing.
    Healthy,
    /// Failing.
    Unhealthy,
}

/// A running container outside the stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Foreign {
    /// Container name.
    pub name: String,
    /// Stack or Compose project it belongs to, if any.
    pub project: Option<String>,
    /// CPU it reserves or is limited to, in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory it reserves or is limited to, in bytes.
    pub memory: u64,
    /// Host ports it publishes, as `ip:port/protocol`.
    pub host_ports: BTreeSet<String>,
}

/// A network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObservedNetwork {
    /// Engine id.
    pub id: String,
    /// Carries the labels of this stack.
    pub of_stack: bool,
    /// Made by shopctl.
    pub ours: bool,
}

/// A volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObservedVolume {
    /// Carries the labels of this stack.
    pub of_stack: bool,
}

/// An image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageInfo {
    /// Image id, `sha256:…`.
    pub id: String,
    /// Registry digests, `name@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Digest of its layers and of what it says of its containers, labels aside: equal
    /// for one thing that two builders made. Empty where nobody looked.
    #[serde(skip)]
    pub content: String,
    /// Seconds since its reference was last made to mean it, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_secs: Option<u64>,
}

/// What the store of a stack holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreSnapshot {
    /// Lock id and generation of the gateway's configuration.
    pub routes: Option<RoutesSnapshot>,
    /// Replica counts set by `scale`.
    pub scale: BTreeMap<String, ScaleOverride>,
    /// The head of the history.
    pub head: Head,
    /// Numbers from the gateways, by service.
    pub performance: BTreeMap<String, Performance>,
}

/// The gateway's configuration as it was last applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoutesSnapshot {
    /// Lock id that wrote it.
    pub lock: u64,
    /// Generation under that lock.
    pub generation: u64,
    /// Listener id to its routes and protocol, in a comparable form.
    pub listeners: BTreeMap<String, (bool, Vec<super::desired::Route>)>,
    /// Service to the aliases of its targets.
    pub targets: BTreeMap<String, BTreeSet<String>>,
    /// Service to the question that its targets are asked.
    pub checks: BTreeMap<String, HealthCheck>,
    /// Service to the shares of its revisions, where a rollout in stages is under way.
    pub splits: BTreeMap<String, TrafficSplit>,
}

/// A replica count set by `scale`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScaleOverride {
    /// Replicas asked for.
    pub replicas: u32,
    /// Count of the file at that moment; the override ends when it changes.
    pub file_replicas: u32,
    /// Who asked.
    pub by: String,
    /// Seconds since the epoch.
    pub at: u64,
}

/// Numbers of one service from its gateway.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Performance {
    /// Throughput T in requests per second over the last 10 s.
    pub throughput_rps: f64,
    /// Latency N in milliseconds over the last minute: p50, p95, p99.
    pub latency_ms: Option<(f64, f64, f64)>,
}
