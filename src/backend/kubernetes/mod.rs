//! A Kubernetes cluster: the objects that a stack becomes there.
//!
//! Pure here: from what should be to typed objects, in the order in which they are
//! applied, and key by key what has no meaning on a cluster. [`client`] is the cluster
//! itself. The only module that names k8s-openapi and kube. The mapping and its reasons are in `docs/design/007-kubernetes.md`.
//! Test: `tests/kubernetes/`, golden manifests that are also held against the schemas.

mod apis;
pub mod client;
mod hooks;
mod job;
mod mesh;
mod mounts;
mod names;
mod one_off;
mod openshift;
mod pod;
mod probe;
mod rbac;
mod scaling;
mod stages;
mod storage;
mod support;
mod traffic;
mod workload;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;

pub use apis::Apis;
pub use rbac::rbac;
pub use support::Finding;

use crate::state::cluster::Task;
use crate::state::desired::DesiredState;
use crate::state::desired::ServiceSpec;

/// How a stack is rendered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendering {
    /// Registry and path before the names of images that are built, e.g.
    /// `registry.example.com/shop`; empty for those of the stack.
    pub registry: String,
    /// Digests of built images in the registry, by tag: what is pulled is what was pushed.
    pub digests: BTreeMap<String, String>,
    /// Secrets hold their values. Without, they are empty and have to be filled in.
    pub secrets: bool,
    /// What the cluster serves.
    pub apis: Apis,
}

/// A stack as objects of a cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rendered {
    /// The objects, in the order in which they are applied.
    pub objects: Vec<Value>,
    /// What means something else there, or nothing.
    pub findings: Vec<Finding>,
    /// The hooks, each to be made when it is due.
    pub tasks: Vec<Task>,
    /// Workloads in which new revisions show themselves before they take the place of those
    /// among the objects. None of them is there outside of a rollout.
    pub next: Vec<Value>,
}

/// What a stack is called on a cluster: its namespace.
pub fn name_of(stack: &str) -> String {
    names::dns(stack)
}

/// Renders a stack. What would not work on a cluster is among the findings as refused; the
/// objects are then worth a look and not more.
pub fn render(desired: &DesiredState, how: &Rendering) -> Rendered {
    let mut made = Making {
        desired,
        how,
        objects: Vec::new(),
        findings: support::of_stack(desired),
        next: Vec::new(),
    };
    made.meshes();
    made.namespace();
    made.storage();
    made.policies();
    for service in desired.services.values() {
        made.traffic(service);
        made.isolation(service);
        if service.one_off {
            made.job(service);
        } else {
            made.workload(service);
        }
    }
    made.published();
    made.collisions();
    let tasks = made.hooks();
    Rendered {
        objects: made.objects,
        findings: made.findings,
        tasks,
        next: made.next,
    }
}

/// The objects in the making.
struct Making<'a> {
    desired: &'a DesiredState,
    how: &'a Rendering,
    objects: Vec<Value>,
    findings: Vec<Finding>,
    next: Vec<Value>,
}

impl Making<'_> {
    /// Two objects of one kind and name would be one.
    fn collisions(&mut self) {
        let mut seen = BTreeSet::new();
        for object in &self.objects {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            if !seen.insert((kind.clone(), name.clone())) {
                let text = format!("two things of the file become the {kind} {name}: rename one");
                self.findings.push(Finding::refused("", "services", text));
            }
        }
    }

    /// Metadata of an object that is called as its service.
    fn meta(&self, service: &ServiceSpec) -> ObjectMeta {
        let labels = names::of_service(self.desired, service);
        names::meta(self.desired, &names::dns(&service.name), labels)
    }

    /// Adds an object.
    fn add<T: Serialize>(&mut self, object: &T) {
        // Typed objects have string keys alone, so serialising cannot fail.
        let object = serde_json::to_value(object).unwrap_or_default();
        self.objects.push(object);
    }
}
