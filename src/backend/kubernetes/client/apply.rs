//! One action.

use std::time::Duration;

use kube::Api;
use kube::api::DeleteParams;
use kube::api::DynamicObject;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PropagationPolicy;
use kube::runtime::wait;
use serde_json::json;

use super::Cluster;
use super::MANAGER;
use super::connect::is_missing;
use super::kinds::Kind;
use super::retry::apply;
use super::retry::patiently;
use crate::backend::Apply;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Pending;
use crate::plan::action::Action;
use crate::state::cluster::Manifest;
use crate::state::cluster::ObjectRef;

/// The count that an autoscaler takes over from.
const COUNTER: &str = "shopctl-count";
/// What is deleted may take so long to be gone: pods have to end.
const GOING: Duration = Duration::from_mins(5);
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
                // Of a command, whose pod is made by other means and starts by itself.
                Action::StartContainer { container } => self.begin(container).await,
                Action::RemoveContainer { container } => self.remove_one_off(container, None).await,
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
        self.keep_count(&api, object, manifest).await?;
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(self.with_pushed(manifest).0);
        let mut sent = apply(&api, &object.name, &params, &patch).await;
        if let Ok(leaving) = &sent
            && leaving.metadata.deletion_timestamp.is_some()
            && object.kind != "Namespace"
        {
            // It takes what it is told, and goes all the same.
            let uid = leaving.metadata.uid.clone().unwrap_or_default();
            let gone = wait::await_condition(
                api.clone(),
                &object.name,
                wait::conditions::is_deleted(&uid),
            );
            // What is still there then is told by its gate.
            let _ = tokio::time::timeout(GOING, gone).await;
            sent = apply(&api, &object.name, &params, &patch).await;
        }
        match sent {
            Ok(_) => Ok(()),
            // A namespace that others gave out is theirs to label.
            Err(kube::Error::Api(status)) if status.code == 403 && object.kind == "Namespace" => {
                Ok(())
            }
            Err(error) => Err(self.failed(format!("apply {object}"), error)),
        }
    }

    /// Where something else decides on the count from now on, it starts from the one that is
    /// there: a field that nobody sends any more falls back to 1.
    async fn keep_count(
        &self,
        api: &Api<DynamicObject>,
        object: &ObjectRef,
        manifest: &Manifest,
    ) -> Result<(), BackendError> {
        let counts = matches!(object.kind.as_str(), "Deployment" | "StatefulSet");
        if !counts || manifest.replicas().is_some() {
            return Ok(());
        }
        let failed = |error| self.failed(format!("look at {object}"), error);
        let found = patiently(|| api.get_opt(&object.name))
            .await
            .map_err(failed)?;
        let count = found.and_then(|live| live.data["spec"]["replicas"].as_u64());
        let Some(count) = count else {
            return Ok(());
        };
        let keep = Patch::Apply(json!({
            "apiVersion": object.api_version,
            "kind": object.kind,
            "metadata": { "name": object.name },
            "spec": { "replicas": count },
        }));
        let params = PatchParams::apply(COUNTER).force();
        apply(api, &object.name, &params, &keep)
            .await
            .map(drop)
            .map_err(|error| self.failed(format!("keep the count of {object}"), error))
    }

    /// Deletes it and waits until it and what it has made are gone; a namespace goes on its
    /// own.
    async fn delete(&self, object: &ObjectRef) -> Result<(), BackendError> {
        let api = Self::kind_of(object)?.api(self.client(), &object.namespace);
        let waits = object.kind != "Namespace";
        let params = DeleteParams {
            // A pod has made nothing that would have to go first.
            propagation_policy: (waits && object.kind != "Pod")
                .then_some(PropagationPolicy::Foreground),
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
        let doing = || format!("wait until {object} is gone");
        match tokio::time::timeout(GOING, gone).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(BackendError::Other {
                doing: doing(),
                source: error.into(),
            }),
            Err(_) => Err(BackendError::Other {
                doing: doing(),
                source: "it is still in use, or a finalizer keeps it".into(),
            }),
        }
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
