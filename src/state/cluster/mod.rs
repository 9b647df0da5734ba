//! What is on a cluster, and what the cluster would make of what should be: one look, as
//! plain data.
//!
//! The objects that a stack becomes are made by the backend, since their form is the
//! cluster's. What differs between them and what is there is found here, without any type
//! of a cluster.

pub mod compare;
mod phrase;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

/// Name of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// `apps/v1`, `v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// Empty for what belongs to no namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.kind, self.name)
    }
}

impl ObjectRef {
    /// The name that an object gives itself.
    pub fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            api_version: text(&object["apiVersion"]),
            kind: text(&object["kind"]),
            namespace: text(&object["metadata"]["namespace"]),
            name: text(&object["metadata"]["name"]),
        }
    }

    /// Whether it keeps pods up.
    pub fn is_workload(&self) -> bool {
        matches!(self.kind.as_str(), "Deployment" | "StatefulSet" | "Job")
    }
}

/// An object to send. Its content may be secret: it is never printed, and in no file.
#[derive(Clone, Default, PartialEq)]
pub struct Manifest(pub Value);

impl std::fmt::Debug for Manifest {
    /// Its name only.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Manifest({})", ObjectRef::of(&self.0))
    }
}

impl Manifest {
    /// How many replicas it asks for; `None` where it leaves that to others.
    pub fn replicas(&self) -> Option<u32> {
        let count = self.0.get("spec")?.get("replicas")?.as_u64()?;
        u32::try_from(count).ok()
    }

    /// The same with another count of replicas.
    #[must_use]
    pub fn with_replicas(&self, count: u32) -> Self {
        let mut object = self.0.clone();
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("replicas".to_owned(), count.into());
        }
        Self(object)
    }
}

/// One look at a cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterState {
    /// Namespace of the stack.
    pub namespace: String,
    /// It is there.
    pub exists: bool,
    /// What should be, in the order in which it is applied, held against what is.
    pub wanted: Vec<Wanted>,
    /// What is there of the stack and not wanted.
    pub left: Vec<Left>,
    /// Nodes that take pods.
    pub nodes: Vec<Node>,
    /// What a key of the file means there, or does not, by service.
    pub notes: Vec<(String, String)>,
    /// What cannot work there.
    pub refused: Vec<String>,
}

impl ClusterState {
    /// The workload of a service.
    pub fn workload(&self, service: &str) -> Option<&Wanted> {
        let mut wanted = self.wanted.iter();
        wanted.find(|one| one.service == service && one.object.is_workload())
    }
}

/// An object that should be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// Its name.
    pub object: ObjectRef,
    /// Service it belongs to, empty for the stack's own.
    pub service: String,
    /// What is sent.
    #[serde(skip)]
    pub manifest: Manifest,
    /// Digest of that.
    pub digest: String,
    /// It is there.
    pub exists: bool,
    /// What is there belongs to somebody else.
    pub foreign: bool,
    /// What the cluster would change, in words; never a value that may be secret.
    pub changes: Vec<String>,
    /// Why the cluster would not take it.
    pub denied: Option<String>,
    /// Its pods, where it has some.
    pub pods: Option<Pods>,
}

/// How far the pods of a workload are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pods {
    /// So many are asked for there; `None` where something else decides.
    pub replicas: Option<u32>,
    /// So many are of the newest revision, ready, and watched long enough.
    pub ready: u32,
    /// So many are there, old ones included.
    pub all: u32,
    /// The cluster has taken note of the last change.
    pub is_current: bool,
    /// It ends by itself, and has ended well.
    pub completed: bool,
    /// Why it will not get any further, where it is known.
    pub failed: Option<String>,
}

impl Pods {
    /// Everything that was asked for is there, and nothing else.
    pub fn is_rolled_out(&self) -> bool {
        let count = self.replicas.unwrap_or(self.ready);
        self.completed || (self.is_current && self.ready >= count && self.all <= count)
    }
}

/// An object of the stack that is not wanted any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Left {
    /// Its name.
    pub object: ObjectRef,
    /// Service it belonged to, empty for the stack's own.
    pub service: String,
    /// Set of files that it holds, where it does.
    pub set: String,
    /// Seconds since the epoch at which it was made.
    pub made_at: u64,
    /// It is a pod in which a command runs that somebody asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub runs: bool,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// CPU that pods may ask for, in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory that pods may ask for, in bytes.
    pub memory: u64,
    /// Pods that it may have.
    pub pods: u64,
    /// CPU that pods outside the stack ask for.
    pub foreign_cpu_milli: u64,
    /// Memory that they ask for.
    pub foreign_memory: u64,
    /// How many they are.
    pub foreign_pods: u64,
    /// Labels, by which services choose it.
    pub labels: BTreeMap<String, String>,
}
