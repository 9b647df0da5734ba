//! `x-shop`: what the Compose Specification has no word for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::hooks::Hooks;
use super::rollout::ShopRollout;
use crate::stack::Place;
use crate::stack::units::Ratio;

/// The stack's own `x-shop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StackShop {
    /// Where the stack runs, unless a flag says otherwise.
    pub backend: Option<BackendKind>,
    /// Registry and path before the names of images that are built, for clusters.
    pub registry: Option<String>,
    /// Which demand may refuse a deploy.
    pub capacity: CapacityMode,
    /// `false`: containers publish their ports themselves, unless a service
    /// says otherwise.
    pub gateway: Option<bool>,
    /// Where secrets lie at rest.
    pub secrets: SecretStore,
    /// How volumes may be shared, by their key.
    pub volumes: BTreeMap<String, VolumeAccess>,
    /// Names of findings not to show.
    pub lint_silence: Vec<String>,
    /// What runs once around a change.
    pub hooks: Option<Hooks>,
    /// The mesh of the cluster that its services are in.
    pub mesh: Option<Mesh>,
    /// Keys that are known and act in a later version, as JSON.
    pub later: BTreeMap<String, serde_json::Value>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

/// A service's `x-shop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServiceShop {
    /// What to run before the image is built.
    pub prepare: Option<Prepare>,
    /// What the service lives for.
    pub class: Option<Class>,
    /// How to see that a replica is ready.
    pub ready: Option<Ready>,
    /// How requests find the service.
    pub route: Option<Route>,
    /// `false`: the containers publish their ports themselves.
    pub gateway: Option<bool>,
    /// What the service promises.
    pub slo: Option<Slo>,
    /// Bounds and signals of automatic scaling.
    pub autoscale: Option<Autoscale>,
    /// How this service's replicas may share volumes, by their key.
    pub volumes: BTreeMap<String, VolumeAccess>,
    /// What runs once around a change.
    pub hooks: Option<Hooks>,
    /// How a new revision gets its requests.
    pub rollout: Option<ShopRollout>,
    /// The mesh of the cluster that it is in, where that differs from the stack's.
    pub mesh: Option<Mesh>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
    /// Where its keys stand.
    #[serde(skip)]
    pub places: BTreeMap<String, Place>,
}

/// Where a stack runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// One Docker Engine.
    Docker,
    /// A Swarm.
    Swarm,
    /// A Kubernetes cluster.
    Kubernetes,
}

/// A mesh: what encrypts calls between services and steers them around failing replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mesh {
    /// None, in a stack that has one.
    None,
    /// Istio.
    Istio,
    /// Linkerd.
    Linkerd,
    /// Consul.
    Consul,
}

/// Which demand may refuse a deploy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CapacityMode {
    /// Only declared reservations.
    #[default]
    Declared,
    /// Demand from any source.
    Strict,
}

/// Where secrets lie at rest on the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretStore {
    /// In a volume on the engine's disk.
    #[default]
    Volume,
    /// In memory only.
    Memory,
}

/// Whether two replicas may use a volume at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeAccess {
    /// They may.
    Shared,
    /// One at a time: the old one stops before the new one starts.
    Single,
}

/// Commands that run on the host before an image is built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Prepare {
    /// The commands in order; no shell is involved.
    pub commands: Vec<Vec<String>>,
    /// Globs, relative to the stack's folder, of the files that they read.
    /// Unchanged inputs need no second run; no globs: run each time.
    pub inputs: Vec<String>,
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
}

/// What a service lives for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Answers users.
    Latency,
    /// Works through a backlog.
    Batch,
    /// Keeps data.
    Stateful,
}

/// How to see that a replica is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// A GET of this path on this port answers 2xx.
    Http {
        /// Absolute path.
        path: String,
        /// Port in the container.
        port: u16,
        /// How long it may take at a start.
        timeout: Option<Duration>,
    },
    /// This port accepts connections.
    Tcp {
        /// Port in the container.
        port: u16,
        /// How long it may take at a start.
        timeout: Option<Duration>,
    },
}

impl Ready {
    /// The port that is probed.
    pub fn port(&self) -> u16 {
        match self {
            Self::Http { port, .. } | Self::Tcp { port, .. } => *port,
        }
    }

    /// Whether the probe is an HTTP request.
    pub fn is_http(&self) -> bool {
        matches!(self, Self::Http { .. })
    }

    /// How long a replica may take to get ready.
    pub fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Http { timeout, .. } | Self::Tcp { timeout, .. } => *timeout,
        }
    }
}

/// Which requests on a published port belong to the service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Path prefix; `/` by default.
    pub path: Option<String>,
    /// Host name; any by default.
    pub host: Option<String>,
    /// The target port it is for, in a service with several.
    pub port: Option<u16>,
    /// `false` keeps requests between services off the gateway.
    pub internal: Option<bool>,
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
}

/// What a service promises.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Slo {
    /// Median latency.
    pub latency_p50: Option<Duration>,
    /// 95th percentile of latency.
    pub latency_p95: Option<Duration>,
    /// 99th percentile of latency.
    pub latency_p99: Option<Duration>,
    /// Share of failed requests.
    pub error_rate: Option<Ratio>,
}

/// Bounds and signals of automatic scaling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Autoscale {
    /// Fewest replicas.
    pub min: Option<u32>,
    /// Most replicas.
    pub max: Option<u32>,
    /// Requests per second that one replica bears.
    pub rps_per_replica: Option<u32>,
    /// CPU use to aim at.
    pub cpu: Option<Ratio>,
    /// Planned peaks.
    pub schedules: Vec<Schedule>,
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
}

/// One planned peak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// When it begins, as written.
    pub at: String,
    /// How long it lasts.
    pub length: Duration,
    /// Replicas meanwhile.
    pub replicas: u32,
    /// How long before it begins the replicas have to be there.
    pub lead: Duration,
}
