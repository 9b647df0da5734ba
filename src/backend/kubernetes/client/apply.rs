//! One action.

use kube::api::DeleteParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PropagationPolicy;
use kube::runtime::wait;
use serde_json::json;

use super::Cluster;
use super::MANAGER;
use super::connect::is_missing;
use super::kinds::Kind;
use super::retry::patiently;
use crate::backend::Apply;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Pending;
use crate::plan::action::Action;
use crate::state::cluster::Manifest;
use crate::state::cluster::ObjectRef;

/// What a restart writes belongs to nobody's file, so that no deploy takes it back.
const RESTARTER: &str = "shopctl-restart";

impl Apply for Cluster {
    fn apply<'a>(&'a self, context: &'a Context, action: &'a Action) -> Pending<'a, ()> {
        Box::pin(async move {
            match action {
                Action::ApplyObject {
                    object, manifest, ..
                } => self.send(object, manifest).await,
                Action::DeleteObject { object } => self.delete(object).await,
                Action::RestartWorkload { object } => self.restart(context, object).await,
                other => {
                    // The name of a variant is all that is worth telling.
                    let text = format!("{other:?}");
                    let name = text.split([' ', '{', '(']).next().unwrap_or_default();
                    Err(BackendError::Unsupported(name.to_owned()))
                }
            }
        })
    }
}

impl Cluster {
    fn kind_of(object: &ObjectRef) -> Result<Kind, BackendError> {
        Kind::of(object).ok_or_else(|| BackendError::Unsupported(object.to_string()))
    }

    /// Server-side apply: what we send is ours from then on, whoever had it; what we no
    /// longer send goes, and what others have set beside it stays.
    async fn send(&self, object: &ObjectRef, manifest: &Manifest) -> Result<(), BackendError> {
        let api = Self::kind_of(object)?.api(self.client(), &object.namespace);
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(self.with_pushed(manifest).0);
        let sent = patiently(|| api.patch(&object.name, &params, &patch)).await;
        match sent {
            Ok(_) => Ok(()),
            // A namespace that others gave out is theirs to label.
            Err(kube::Error::Api(status)) if status.code == 403 && object.kind == "Namespace" => {
                Ok(())
            }
            Err(error) => Err(self.failed(format!("apply {object}"), error)),
        }
    }

    /// Deletes it and waits until it and what it has made are gone; a namespace goes on its
    /// own.
    async fn delete(&self, object: &ObjectRef) -> Result<(), BackendError> {
        let api = Self::kind_of(object)?.api(self.client(), &object.namespace);
        let waits = object.kind != "Namespace";
        let params = DeleteParams {
            propagation_policy: waits.then_some(PropagationPolicy::Foreground),
            ..DeleteParams::default()
        };
        let deleted = match patiently(|| api.delete(&object.name, &params)).await {
            Ok(deleted) => deleted,
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return Err(self.failed(format!("delete {object}"), error)),
        };
        let uid = deleted.left().and_then(|it| it.metadata.uid);
        let Some(uid) = uid.filter(|_| waits) else {
            return Ok(());
        };
        let gone = wait::await_condition(api, &object.name, wait::conditions::is_deleted(&uid));
        gone.await.map(drop).map_err(|error| BackendError::Other {
            doing: format!("wait until {object} is gone"),
            source: error.into(),
        })
    }

    /// Another annotation of the pods, so that the cluster replaces them.
    async fn restart(&self, context: &Context, object: &ObjectRef) -> Result<(), BackendError> {
        let api = Self::kind_of(object)?.api(self.client(), &object.namespace);
        let patch = Patch::Merge(
            json!({ "spec": { "template": { "metadata": { "annotations": {
            "shopctl.dev/restarted-by": context.run,
        } } } } }),
        );
        let params = PatchParams {
            field_manager: Some(RESTARTER.to_owned()),
            ..PatchParams::default()
        };
        patiently(|| api.patch(&object.name, &params, &patch))
            .await
            .map(drop)
            .map_err(|error| self.failed(format!("restart {object}"), error))
    }
}
