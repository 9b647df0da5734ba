//! What is on a cluster, and what the cluster would make of what should be: one look, as
//! plain data.
//!
//! The objects that a stack becomes are made by the backend, since their form is the
//! cluster's. What differs between them and what is there is found here, without any type
//! of a cluster.

pub mod compare;
mod phrase;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use super::hooks::Moment;

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

    /// The same, leading to pods with this label alone. It does not say what it was made
    /// from: a look must find that it is not what should be.
    #[must_use]
    pub fn leading_to(&self, (name, value): &(String, String)) -> Self {
        let mut object = self.0.clone();
        if let Some(notes) = object.pointer_mut("/metadata/annotations") {
            notes
                .as_object_mut()
                .map(|notes| notes.remove(compare::APPLIED));
        }
        object["spec"]["selector"][name] = value.as_str().into();
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
    /// The hooks, of which a plan makes those that are due.
    pub tasks: Vec<Task>,
    /// What is there of the stack and not wanted.
    pub left: Vec<Left>,
    /// By service, where a new revision can show itself beside the one that serves.
    pub next: BTreeMap<String, Next>,
    /// Services of which requests go to such a revision alone.
    pub switched: BTreeSet<String>,
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
    /// Whether its pods are to be made from something else than those that are there.
    pub renewal: Renewal,
    /// What the cluster would change, in words; never a value that may be secret.
    pub changes: Vec<String>,
    /// Why the cluster would not take it.
    pub denied: Option<String>,
    /// Its pods, where it has some.
    pub pods: Option<Pods>,
}

/// What becomes of the pods of a workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Renewal {
    /// They stay, or there are none.
    #[default]
    Nothing,
    /// Others come, of another revision.
    Anew,
    /// The same, and take the place of some that serve, beside which they can stand.
    Replaces,
}

impl Wanted {
    /// Digest of what its pods are made from.
    pub fn revision(&self) -> Option<&str> {
        revision(&self.manifest.0)
    }
}

/// Digest of what the pods of a workload are made from.
pub fn revision(workload: &Value) -> Option<&str> {
    let annotations = workload.pointer("/spec/template/metadata/annotations")?;
    annotations.get(compare::REVISION)?.as_str()
}

/// A hook: a job that runs once around a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Service that it belongs to, empty for the stack's own.
    pub owner: String,
    /// Service whose image and settings it has.
    pub service: String,
    /// When it runs.
    pub moment: Moment,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
    /// Its name.
    pub object: ObjectRef,
    /// What is sent.
    #[serde(skip)]
    pub manifest: Manifest,
    /// Digest of that.
    pub digest: String,
}

/// A workload in which a new revision of a service shows itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Next {
    /// The workload.
    pub wanted: Wanted,
    /// Label that its pods have, and those that serve have not.
    pub own: (String, String),
    /// Label that all pods which serve have, and its own have not, where there is one.
    pub others: Option<(String, String)>,
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
    /// It was made for one command: a hook.
    pub task: bool,
    /// A new revision shows itself in it.
    pub next: bool,
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
    /// What pods outside the stack ask of it.
    pub foreign: Asked,
    /// What the stack's own pods ask of it now.
    pub own: Asked,
    /// Labels, by which services choose it.
    pub labels: BTreeMap<String, String>,
}

/// What pods ask of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// CPU in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// How many pods they are.
    pub pods: u64,
}
