//! Actions are data: one variant per backend call, with exactly its own fields.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::capacity::report::CapacityReport;
use crate::state::cluster::Manifest;
use crate::state::cluster::ObjectRef;
use crate::state::desired::HealthCheck;
use crate::state::desired::PublishedPort;
use crate::state::desired::ReadyGate;
use crate::state::hooks::Lifecycle;
use crate::state::hooks::Moment;
use crate::state::observed::Role;
use crate::state::spec::ContainerSpec;
use crate::state::spec::LiveSpec;
use crate::state::spec::NetworkSpec;
use crate::state::spec::VolumeSpec;
use crate::state::strategy::Judge;
use crate::state::strategy::TrafficSplit;

/// Number of a step inside its plan, from 1.
pub type StepId = u32;

/// What to do, in an order given by `needs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the stack.
    pub stack: String,
    /// Digest of the observed state that the plan was made for.
    pub basis: String,
    /// The steps; a step's `needs` name only earlier steps.
    pub steps: Vec<Step>,
    /// By service: how many of the replicas that are replaced may fail.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tolerances: BTreeMap<String, Tolerance>,
    /// By service: commands that run inside its replicas when they are started or stopped.
    /// In no plan file: their variables may be secret.
    #[serde(skip)]
    pub lifecycles: BTreeMap<String, Lifecycle>,
    /// By id, the containers of Docker Compose that stay, with the revision that each
    /// stands for from then on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub taken_over: BTreeMap<String, String>,
    /// R = M / C, before and after.
    pub capacity: CapacityReport,
    /// What the user should know: warnings, notes on gaps and fallbacks.
    pub notes: Vec<Note>,
}

/// What a rollout does about replicas that fail while their old ones serve on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tolerance {
    /// So many are borne.
    pub failures: u32,
    /// With more, the other replicas are replaced all the same.
    pub goes_on: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its number.
    pub id: StepId,
    /// Service it belongs to, empty for the stack's own steps.
    pub service: String,
    /// Slot of the replica it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// What is done.
    pub action: Action,
    /// Why.
    pub cause: Cause,
    /// Steps that must have succeeded first, gates included.
    pub needs: Vec<StepId>,
    /// Steps whose action must have succeeded first; their gates are not
    /// awaited (`depends_on` with `service_started`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<StepId>,
    /// Pause before the action in milliseconds (`update_config.delay`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay_ms: u64,
    /// What must be true before dependents may go on.
    pub gate: Gate,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Build the image of a service.
    BuildImage {
        /// Service.
        service: String,
        /// Tag it gets; `None` while prepare commands have yet to run.
        tag: Option<String>,
    },
    /// Pull an image.
    PullImage {
        /// Reference as written.
        reference: String,
        /// Platform asked for.
        platform: Option<String>,
    },
    /// Create a network.
    CreateNetwork {
        /// Key in the file.
        key: String,
        /// What it is.
        spec: NetworkSpec,
    },
    /// Remove a network by its engine name.
    RemoveNetwork {
        /// Engine name.
        name: String,
    },
    /// Create a volume.
    CreateVolume {
        /// Key in the file.
        key: String,
        /// What it is.
        spec: VolumeSpec,
    },
    /// Remove a volume by its engine name.
    RemoveVolume {
        /// Engine name.
        name: String,
    },
    /// Create the volume of a file set and put its files into it.
    SeedFiles {
        /// Name of the set.
        set: String,
        /// Engine name of the volume.
        volume: String,
        /// Kept in memory, by a container that is started for it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        memory: bool,
    },
    /// Create a replica.
    CreateInstance {
        /// The instance.
        instance: InstanceSpec,
    },
    /// Create (and start) the gateway, keeper or prober.
    CreateHelper {
        /// Container name.
        name: String,
        /// Which.
        role: Role,
        /// For a gateway: published ports and the ports it listens on inside.
        listens: Vec<Listen>,
        /// Engine names of networks it is attached to.
        networks: Vec<String>,
        /// Names under which it is found there from its start, by network.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        names: BTreeMap<String, BTreeSet<String>>,
    },
    /// Put our own program into the store, for gateways to run.
    StoreProgram {
        /// Its name: the digest of its data plane.
        program: String,
    },
    /// Let a program of the store take over from the one that a gateway runs, and wait
    /// until nothing is under way in that.
    UpgradeGateway {
        /// Container name.
        container: String,
        /// Name of the program.
        program: String,
        /// Milliseconds that requests in flight may take to finish.
        drain_ms: u64,
    },
    /// Run a hook in a container of its own, and take that away again.
    RunTask {
        /// The hook.
        task: TaskSpec,
    },
    /// Attach a running container to a network.
    ConnectNetwork {
        /// Container name.
        container: String,
        /// Engine name of the network.
        network: String,
        /// Names under which it is found there.
        aliases: Vec<String>,
    },
    /// Detach a container from a network.
    DisconnectNetwork {
        /// Container name.
        container: String,
        /// Engine name of the network.
        network: String,
    },
    /// Start a container.
    StartContainer {
        /// Container name.
        container: String,
    },
    /// Stop a container by its stop signal, then SIGKILL.
    StopContainer {
        /// Container name.
        container: String,
        /// Seconds before SIGKILL; the container's own setting when `None`.
        grace_secs: Option<i64>,
    },
    /// Restart a container in place.
    RestartContainer {
        /// Container name.
        container: String,
    },
    /// Remove a container and its anonymous volumes.
    RemoveContainer {
        /// Container name.
        container: String,
    },
    /// Change live fields of a running container; inspected afterwards.
    UpdateLive {
        /// Container name.
        container: String,
        /// The fields after the change.
        live: LiveSpec,
    },
    /// Tell the gateways which listeners exist.
    SetListeners {
        /// Listeners after the change.
        listeners: Vec<PublishedPort>,
    },
    /// Send requests to a replica too.
    AddTarget {
        /// Service.
        service: String,
        /// Unique network alias of the replica.
        alias: String,
        /// Its group, where shares are by revision.
        #[serde(default)]
        group: String,
        /// How the gateways ask it whether it still serves.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        check: Option<HealthCheck>,
    },
    /// Share a service's requests between its revisions.
    SetSplit {
        /// Service.
        service: String,
        /// The shares; `None`: all replicas alike.
        split: Option<TrafficSplit>,
        /// The group of the new revision, where there is one.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        group: String,
    },
    /// Send no new request to a replica, and wait until none is in flight.
    RemoveTarget {
        /// Service.
        service: String,
        /// Unique network alias of the replica.
        alias: String,
        /// Milliseconds that requests in flight may take to finish.
        drain_ms: u64,
    },
    /// Make an object of a cluster, or change it to this.
    ApplyObject {
        /// Its name.
        object: ObjectRef,
        /// What is sent. In no plan file: it may be secret.
        #[serde(skip)]
        manifest: Manifest,
        /// Digest of that.
        digest: String,
        /// Replicas asked for, where it has some.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replicas: Option<u32>,
    },
    /// Remove an object of a cluster, and what it has made.
    DeleteObject {
        /// Its name.
        object: ObjectRef,
    },
    /// Replace the pods of a workload by others of the same kind.
    RestartWorkload {
        /// Its name.
        object: ObjectRef,
    },
    /// Write records: the scale overrides after the change.
    RecordScale {
        /// Service to override; `None` removes it.
        overrides: BTreeMap<String, Option<crate::state::observed::ScaleOverride>>,
    },
}

/// A replica to create.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Container name.
    pub name: String,
    /// Service.
    pub service: String,
    /// Slot, from 1.
    pub slot: u32,
    /// Revision digest.
    pub revision: String,
    /// Unique network alias.
    pub alias: String,
    /// Image id the plan knows; the container's must equal it.
    pub image_id: Option<String>,
    /// What to create.
    pub spec: ContainerSpec,
    /// Network key in the file to engine name.
    pub networks: BTreeMap<String, String>,
    /// Volume key in the file to engine name.
    pub volumes: BTreeMap<String, String>,
    /// File set to the engine name of its volume.
    pub files: BTreeMap<String, String>,
    /// For `network_mode: service:x`: name of the container to join.
    pub join: Option<String>,
    /// For `volumes_from`: names of the containers, as `name` or `name:ro`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<String>,
    /// Labels that Docker Compose and shopctl need, complete.
    pub labels: BTreeMap<String, String>,
}

/// A hook to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Which one.
    pub moment: Moment,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
    /// Its container.
    pub instance: InstanceSpec,
}

impl TaskSpec {
    /// The command, as far as it is not the image's own.
    pub fn words(&self) -> &[String] {
        let spec = &self.instance.spec;
        let words = spec.entrypoint.as_deref().or(spec.command.as_deref());
        words.unwrap_or_default()
    }
}

/// A published port and where the gateway listens for it inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// Id of the published port.
    pub id: String,
    /// Address of the host; empty for all.
    pub host_ip: String,
    /// Port of the host; `None` lets the engine choose.
    pub host_port: Option<u16>,
    /// Port inside the gateway's container.
    pub inside: u16,
}

/// What must be true before dependents of a step may go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Nothing but success of the action.
    #[default]
    None,
    /// The container of the step passes this.
    Ready {
        /// Container name.
        container: String,
        /// Its unique network alias.
        alias: String,
        /// Engine names of its networks.
        networks: Vec<String>,
        /// What is waited for.
        ready: ReadyGate,
        /// Watched so long after it became ready, in milliseconds.
        monitor_ms: u64,
    },
    /// The cluster has replaced all pods of a workload, and they are ready.
    RolledOut {
        /// The workload.
        object: ObjectRef,
        /// It may take so long, in milliseconds.
        deadline_ms: u64,
        /// Its pods are watched so long after that, in milliseconds: none of their
        /// containers may end.
        #[serde(default, skip_serializing_if = "is_zero")]
        watch_ms: u64,
    },
    /// The new revision of a service does no worse than the old one.
    Verdict {
        /// Service.
        service: String,
        /// The group of the new revision.
        group: String,
        /// Its containers, none of which may end meanwhile.
        containers: Vec<String>,
        /// Watched so long, in milliseconds.
        pause_ms: u64,
        /// What is borne.
        judge: Judge,
    },
}

/// Why a step is needed; reaches the user's screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "kind", content = "detail")]
pub enum Cause {
    /// It does not exist yet.
    Missing,
    /// What differs, each as a phrase: `environment changed (GREETING)`,
    /// `memory limit 64M -> 128M`; never a value that may be secret.
    Changed(Vec<String>),
    /// The image is another one.
    ImageChanged,
    /// More replicas are asked for.
    ScaleUp,
    /// Fewer replicas are asked for.
    ScaleDown,
    /// It does not run; the text says how it ended.
    NotRunning(String),
    /// Its health check fails.
    Unhealthy,
    /// Left over from a run that did not finish.
    LeftOver,
    /// A successor has taken its place.
    Replaced,
    /// The service left the file.
    NotInFile,
    /// The user asked for it.
    Asked,
    /// Another step needs it.
    NeededBy(String),
    /// The routes differ from what the file says.
    RoutesChanged,
}

/// What the user should know about a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Whether it deserves attention.
    pub warning: bool,
    /// Service it is about, or empty.
    pub service: String,
    /// The words.
    pub message: String,
}

/// Why no plan could be made; nothing was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Declared demand does not fit (exit 40).
    Capacity(Box<CapacityReport>),
    /// Preflight found obstacles (exit 41).
    Preflight(Vec<Obstacle>),
}

/// One obstacle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// Where in the file, as `file:line:column`, or empty.
    pub place: String,
    /// What is in the way.
    pub message: String,
    /// What can be typed to mend it.
    pub hint: String,
}
