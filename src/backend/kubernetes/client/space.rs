//! The namespace of a stack, and the time of its server.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822;
use kube::Api;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::runtime::wait;
use serde_json::json;

use super::Cluster;
use super::retry::apply;
use crate::backend::BackendError;
use crate::backend::kubernetes::names;

/// What is written when a namespace is made stays, whatever a deploy sends.
const MAKER: &str = "shopctl-namespace";
/// A namespace that is going is waited for so long.
const GOING: Duration = Duration::from_mins(2);

impl Cluster {
    /// Makes the namespace where it is missing. One that is on its way out is waited for.
    /// False where we may not ask whether it is there.
    pub(super) async fn make_namespace(&self, namespace: &str) -> Result<bool, BackendError> {
        let api: Api<Namespace> = Api::all(self.client());
        let failed = |error| self.failed(format!("look at namespace {namespace}"), error);
        match api.get_opt(namespace).await {
            Ok(Some(found)) if found.metadata.deletion_timestamp.is_some() => {
                let uid = found.metadata.uid.unwrap_or_default();
                let gone = wait::await_condition(
                    api.clone(),
                    namespace,
                    wait::conditions::is_deleted(&uid),
                );
                // What is still there then is told by what comes next.
                let _ = tokio::time::timeout(GOING, gone).await;
            }
            Ok(Some(_)) => return Ok(true),
            Ok(None) => {}
            // Who may not ask was given one.
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
        let object = Patch::Apply(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": namespace,
                "annotations": { names::MADE: "true" },
                "labels": { names::PART_OF: namespace, names::MANAGED_BY: "shopctl" },
            },
        }));
        match apply(&api, namespace, &PatchParams::apply(MAKER), &object).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(BackendError::Cluster {
                doing: format!("create namespace {namespace} ({})", by_hand(namespace)),
                status: 403,
                message: status.message,
            }),
            Err(error) => Err(self.failed(format!("create namespace {namespace}"), error)),
        }
    }

    /// Whether a namespace is there and is not on its way out.
    pub(super) async fn namespace_stays(&self, namespace: &str) -> Result<bool, BackendError> {
        let api: Api<Namespace> = Api::all(self.client());
        let found = api.get_opt(namespace).await;
        let found =
            found.map_err(|error| self.failed(format!("look at namespace {namespace}"), error))?;
        Ok(found.is_some_and(|it| it.metadata.deletion_timestamp.is_none()))
    }

    /// The server's time, to the second; `None` where its answers are not dated.
    pub(super) async fn server_time(&self) -> Result<Option<Timestamp>, BackendError> {
        let request = http::Request::get("/version").body(kube::client::Body::empty());
        let request = request.map_err(|error| BackendError::Other {
            doing: "ask for the time".to_owned(),
            source: error.into(),
        })?;
        let answer = self.client().send(request).await;
        let answer = answer.map_err(|error| self.failed("ask for the time", error))?;
        let date = answer.headers().get(http::header::DATE);
        let date = date.and_then(|value| value.to_str().ok());
        Ok(date.and_then(|text| rfc2822::DateTimeParser::new().parse_timestamp(text).ok()))
    }
}

/// How a namespace is made by somebody who may.
pub(super) fn by_hand(namespace: &str) -> String {
    format!("who may can: kubectl create namespace {namespace}, or oc new-project {namespace}")
}
