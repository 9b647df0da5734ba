//! Pods for single commands: made, known among others, removed.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use kube::api::PostParams;
use serde_json::Value;

use super::Cluster;
use super::connect::is_missing;
use super::kinds::POD;
use super::retry::patiently;
use crate::backend::BackendError;
use crate::backend::MadeOneOff;
use crate::backend::OneOff;
use crate::backend::OneOffs;
use crate::backend::Pending;
use crate::backend::kubernetes::names;
use crate::backend::kubernetes::names::dns;
use crate::backend::kubernetes::one_off;
use crate::state::cluster::ObjectRef;
use crate::state::desired::ImageSource;
use crate::state::desired::ServiceSpec;

impl OneOffs for Cluster {
    fn one_off<'a>(&'a self, request: &'a OneOff<'a>) -> Pending<'a, MadeOneOff> {
        Box::pin(async move {
            let OneOff {
                desired, service, ..
            } = *request;
            let namespace = self.enter(&desired.stack);
            if !self.namespace_exists(&namespace).await? {
                return Err(BackendError::NotFound {
                    what: format!("namespace {namespace}"),
                });
            }
            let digests = self.image_of(service).await?;
            let name = format!("{}-run-{}", dns(&service.name), request.id);
            let (pod, findings) =
                one_off::one_off(desired, service, &name, &self.rendering(digests));
            if let Some(refused) = findings.iter().find(|finding| finding.refused) {
                return Err(BackendError::Other {
                    doing: format!("make a pod of {}", service.name),
                    source: format!("{}: {}", refused.key, refused.text).into(),
                });
            }
            let api: Api<Pod> = Api::namespaced(self.client(), &namespace);
            let params = PostParams::default();
            let created = patiently(|| api.create(&params, &pod)).await;
            match created {
                Ok(_) => {}
                // Its name is ours alone: the answer to an earlier try was lost.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => {
                    if !matches!(error, kube::Error::Api(_)) {
                        // It may be there: the answer was lost.
                        let _ = self.remove_one_off(&name, None).await;
                    }
                    return Err(self.failed(format!("create pod {name}"), error));
                }
            }
            let notes = findings.into_iter();
            let notes = notes.map(|finding| format!("{}: {}", finding.key, finding.text));
            Ok(MadeOneOff {
                name,
                notes: notes.collect(),
            })
        })
    }
}

impl Cluster {
    /// The digest of a service's image by its tag, where it is one that is built.
    async fn image_of(
        &self,
        service: &ServiceSpec,
    ) -> Result<BTreeMap<String, String>, BackendError> {
        let ImageSource::Build { tag } = &service.image else {
            return Ok(BTreeMap::new());
        };
        let missing = |reference: &str| BackendError::ImageMissing {
            reference: reference.to_owned(),
            reason: "it is not built, or not pushed".to_owned(),
        };
        let Some(tag) = tag else {
            return Err(missing(&service.name));
        };
        match self.pushed(tag).await {
            Ok(Some(image)) if image.repo_digests.is_empty() => Ok(BTreeMap::new()),
            Ok(Some(image)) => Ok([(tag.clone(), image.id)].into()),
            Ok(None) => Err(missing(
                &self.pushed_name(tag).unwrap_or_else(|| tag.clone()),
            )),
            // Its name tells its content already; a node finds out whether it is there.
            Err(BackendError::Unreachable { .. }) => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Removes the pod of a command, which ends in its own time unless that is given.
    /// Pods of services are left alone.
    pub(super) async fn remove_one_off(
        &self,
        name: &str,
        grace: Option<u32>,
    ) -> Result<(), BackendError> {
        match self.pod(name).await {
            Ok(pod) if is_one_off(&pod) => {}
            Ok(_) => {
                return Err(BackendError::Conflict {
                    what: format!("pod {name}"),
                });
            }
            Err(BackendError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        let api: Api<Pod> = Api::namespaced(self.client(), &self.namespace());
        let params = DeleteParams {
            grace_period_seconds: grace,
            ..DeleteParams::default()
        };
        match patiently(|| api.delete(name, &params)).await {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(self.failed(format!("remove pod {name}"), error)),
        }
    }
}

/// Whether a pod is there for one command.
pub(super) fn is_one_off(pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(names::RUN_OF))
}

/// A pod as it would be in a list of the stack's objects.
pub(super) fn listed(pod: &Pod) -> (ObjectRef, Value) {
    let mut value = serde_json::to_value(pod).unwrap_or_default();
    value["apiVersion"] = POD.api_version.into();
    value["kind"] = POD.name.into();
    (ObjectRef::of(&value), value)
}

/// Whether nothing runs in a pod any more.
pub(super) fn is_over(live: &Value) -> bool {
    matches!(
        live["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    )
}
