//! Pods as instances, and their changes.

use tokio::sync::mpsc;

use super::Cluster;
use crate::backend::BackendError;
use crate::backend::Change;
use crate::backend::Pending;
use crate::backend::Watch;

/// Changes that may be waiting for a slow reader.
const CHANGES: usize = 256;

impl Watch for Cluster {
    fn watch<'a>(&'a self, _stack: &'a str) -> Pending<'a, mpsc::Receiver<Change>> {
        // The cluster itself watches over pods; see [`super::rollout`].
        Box::pin(async { Ok(mpsc::channel(CHANGES).1) })
    }

    fn state<'a>(&'a self, container: &'a str) -> Pending<'a, Change> {
        Box::pin(async move { Err(BackendError::Unsupported(format!("state of {container}"))) })
    }

    fn check_log<'a>(&'a self, _container: &'a str) -> Pending<'a, Vec<String>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

pub(super) struct Trouble {
    pub(super) words: String,
    pub(super) is_final: bool,
    pub(super) passes_seldom: bool,
}
pub(super) fn trouble(_pod: &k8s_openapi::api::core::v1::Pod) -> Option<Trouble> {
    None
}
pub(super) fn is_leaving(pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}
pub(super) fn instance(
    pod: &k8s_openapi::api::core::v1::Pod,
    service: String,
) -> crate::state::observed::Instance {
    crate::state::observed::Instance {
        name: pod.metadata.name.clone().unwrap_or_default(),
        service,
        ..Default::default()
    }
}
