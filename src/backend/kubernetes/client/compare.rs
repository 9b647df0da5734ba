//! One object that should be, held against what is there: by what both say where that is
//! enough, else by what the server itself says it would change.

use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::Value;
use serde_json::json;

use super::Cluster;
use super::MANAGER;
use super::kinds::Kind;
use super::observe;
use super::observe::Inventory;
use super::observe::is_ours;
use super::progress;
use super::retry::apply;
use super::retry::patiently;
use crate::backend::BackendError;
use crate::backend::kubernetes::names;
use crate::state::cluster::Manifest;
use crate::state::cluster::ObjectRef;
use crate::state::cluster::Renewal;
use crate::state::cluster::Wanted;
use crate::state::cluster::compare::APPLIED;
use crate::state::cluster::compare::covers;
use crate::state::cluster::compare::differences;
use crate::state::cluster::revision;
use crate::state::desired::DesiredState;
use crate::state::digest;

/// What objects are held against.
pub(super) struct Comparison<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) desired: &'a DesiredState,
    pub(super) inventory: &'a Inventory,
    /// The namespace is there: what is in one that is not cannot be asked about.
    pub(super) exists: bool,
}

impl Comparison<'_> {
    /// What the server has of an object and would change.
    pub(super) async fn wanted(&self, mut object: Value) -> Result<Wanted, BackendError> {
        let digest = stamp(&mut object);
        let reference = ObjectRef::of(&object);
        let label = object["metadata"]["labels"][names::NAME].as_str();
        let mut wanted = Wanted {
            service: label.map_or_else(String::new, |label| {
                observe::service_of(label, self.desired)
            }),
            object: reference.clone(),
            manifest: Manifest(object),
            digest,
            ..Wanted::default()
        };
        if reference.kind == "Namespace" {
            self.namespace(&mut wanted).await?;
            return Ok(wanted);
        }
        let found = self.inventory.get(&reference);
        let live = found.filter(|live| live["metadata"]["deletionTimestamp"].is_null());
        wanted.exists = live.is_some();
        let revised = |live| revision(live) != wanted.revision();
        if reference.is_workload() && live.is_none_or(revised) {
            wanted.renewal = match live {
                Some(live) if serves(live) => Renewal::Replaces,
                _ => Renewal::Anew,
            };
        }
        if let Some(live) = live {
            wanted.foreign = !is_ours(live, self.desired);
            wanted.pods = progress::pods(live);
            if reference.kind == "PersistentVolumeClaim" {
                // Its size is whoever made it larger's, and nothing else of it can change.
                return Ok(wanted);
            }
            if is_covered(live, &wanted) {
                return Ok(wanted);
            }
        }
        if self.exists && !wanted.foreign {
            self.ask(&mut wanted, live).await?;
        }
        Ok(wanted)
    }

    async fn namespace(&self, wanted: &mut Wanted) -> Result<(), BackendError> {
        wanted.exists = self.exists;
        let Some(kind) = Kind::of(&wanted.object).filter(|_| self.exists) else {
            return Ok(());
        };
        let api = kind.api(self.cluster.client(), "");
        match patiently(|| api.get(&wanted.object.name)).await {
            Ok(live) => {
                let mut live = observe::plain(live);
                live["apiVersion"] = kind.api_version.into();
                live["kind"] = kind.name.into();
                // One that others gave out is theirs to label, and to remove.
                wanted.foreign = live["metadata"]["annotations"][names::MADE] != "true";
                if wanted.foreign {
                    return Ok(());
                }
                if !is_covered(&live, wanted) {
                    self.ask(wanted, Some(&live)).await?;
                }
                // Whoever gave the namespace out said what may be in it.
                if wanted.denied.take().is_some() {
                    wanted.changes.clear();
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 403 => {
                wanted.foreign = true;
                Ok(())
            }
            Err(error) => Err(self.cluster.failed("look at the namespace", error)),
        }
    }

    /// Lets the server say what it would make of it.
    async fn ask(&self, wanted: &mut Wanted, live: Option<&Value>) -> Result<(), BackendError> {
        let Some(kind) = Kind::of(&wanted.object) else {
            return Ok(());
        };
        let api = kind.api(self.cluster.client(), &wanted.object.namespace);
        let params = PatchParams::apply(MANAGER).force().dry_run();
        let manifest = Patch::Apply(&wanted.manifest.0);
        match apply(&api, &wanted.object.name, &params, &manifest).await {
            Ok(after) => {
                let after = observe::plain(after);
                wanted.changes = live.map_or_else(Vec::new, |live| differences(live, &after));
                Ok(())
            }
            Err(kube::Error::Api(status))
                if (400..500).contains(&status.code) && status.code != 429 =>
            {
                wanted.denied = Some(status.message.clone());
                if live.is_some() {
                    wanted.changes.push(status.message);
                }
                Ok(())
            }
            Err(error) => {
                let doing = format!("ask what would become of {}", wanted.object);
                Err(self.cluster.failed(doing, error))
            }
        }
    }
}

/// Whether pods serve in a workload that can have those of two revisions at a time.
fn serves(live: &Value) -> bool {
    let available = live["status"]["availableReplicas"].as_u64();
    live["kind"] == "Deployment" && available.unwrap_or(0) > 0
}

/// Notes on an object what it was made from; how many replicas it has is another matter.
pub(super) fn stamp(object: &mut Value) -> String {
    if let Some(notes) = object.pointer_mut("/metadata/annotations") {
        notes.as_object_mut().map(|notes| notes.remove(APPLIED));
    }
    let mut counted = object.clone();
    if let Some(spec) = counted.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
    let digest = digest::of(&counted);
    let annotations = &mut object["metadata"]["annotations"];
    if annotations.is_null() {
        *annotations = json!({});
    }
    annotations[APPLIED] = digest.as_str().into();
    digest
}

/// Whether what is there was made from this, and nobody has changed any of it since.
fn is_covered(live: &Value, wanted: &Wanted) -> bool {
    let mut sent = wanted.manifest.0.clone();
    if let Some(spec) = sent.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
    // A field of ours that somebody else took over and changed is found by its value, and
    // one that we no longer send by the digest.
    covers(live, &sent)
}
