//! Pods as instances, and what keeps them from getting ready.

use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::PodStatus;
use kube::Api;
use tokio::sync::mpsc;

use super::Cluster;
use crate::backend::BackendError;
use crate::backend::Change;
use crate::backend::Pending;
use crate::backend::Watch;
use crate::backend::kubernetes::names;
use crate::state::observed::Health;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::Role;

/// A container that ends so often does not get better by itself.
const ENDINGS: i32 = 3;

impl Watch for Cluster {
    fn watch<'a>(&'a self, _stack: &'a str) -> Pending<'a, mpsc::Receiver<Change>> {
        // The cluster itself watches over pods; see [`super::rollout`].
        Box::pin(async { Ok(mpsc::channel(1).1) })
    }

    fn state<'a>(&'a self, container: &'a str) -> Pending<'a, Change> {
        Box::pin(async move {
            let api: Api<Pod> = Api::namespaced(self.client(), &self.namespace());
            let found = api.get_opt(container).await;
            let found =
                found.map_err(|error| self.failed(format!("look at pod {container}"), error))?;
            let pod = found.ok_or_else(|| BackendError::NotFound {
                what: format!("pod {container}"),
            })?;
            let found = instance(&pod, String::new());
            Ok(Change {
                container: found.name,
                state: found.state,
                health: found.health,
            })
        })
    }

    fn check_log<'a>(&'a self, _container: &'a str) -> Pending<'a, Vec<String>> {
        // A kubelet keeps no log of its probes; what they said is among a pod's events.
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Whether a pod is being taken away.
pub(super) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// A pod of a service.
pub(super) fn instance(pod: &Pod, service: String) -> Instance {
    let meta = &pod.metadata;
    let status = pod.status.clone().unwrap_or_default();
    let container = own(&status);
    let annotations = meta.annotations.as_ref();
    let revision = annotations.and_then(|all| all.get(names::REVISION));
    let spec = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let started = status.start_time.as_ref();
    Instance {
        name: meta.name.clone().unwrap_or_default(),
        id: meta.uid.clone().unwrap_or_default(),
        role: Role::Service,
        service,
        revision: revision.cloned().unwrap_or_default(),
        image: spec.and_then(|one| one.image.clone()).unwrap_or_default(),
        image_id: container.map(image_id).unwrap_or_default(),
        state: state(&status, container),
        health: Some(health(&status, container)),
        restarts: container.map_or(0, |one| u32::try_from(one.restart_count).unwrap_or(0)),
        started_at: started.map_or(0, |at| u64::try_from(at.0.as_millisecond()).unwrap_or(0)),
        ours: true,
        ..Instance::default()
    }
}

/// The container of a service; those of a mesh stand beside it.
fn own(status: &PodStatus) -> Option<&ContainerStatus> {
    status.container_statuses.as_ref()?.first()
}

/// The digest of what runs, without the words around it.
fn image_id(container: &ContainerStatus) -> String {
    let id = container.image_id.as_str();
    id.rsplit_once('@')
        .map_or(id, |(_, digest)| digest)
        .to_owned()
}

fn state(status: &PodStatus, container: Option<&ContainerStatus>) -> InstanceState {
    let phase = status.phase.as_deref().unwrap_or_default();
    let seen = container.and_then(|one| one.state.as_ref());
    if let Some(ended) = seen.and_then(|state| state.terminated.as_ref()) {
        return InstanceState::Exited {
            code: ended.exit_code.into(),
            oom: ended.reason.as_deref() == Some("OOMKilled"),
        };
    }
    if seen.is_some_and(|state| state.running.is_some()) {
        return InstanceState::Running;
    }
    match phase {
        "Running" if container.is_none() => InstanceState::Running,
        "Succeeded" => InstanceState::Exited {
            code: 0,
            oom: false,
        },
        "Failed" => InstanceState::Dead,
        _ if container.is_some_and(|one| one.restart_count > 0) => InstanceState::Restarting,
        _ => InstanceState::Created,
    }
}

fn health(status: &PodStatus, container: Option<&ContainerStatus>) -> Health {
    let mut conditions = status.conditions.iter().flatten();
    let ready = conditions.any(|one| one.type_ == "Ready" && one.status == "True");
    // A startup probe that has passed says that it should answer by now.
    let should = container.and_then(|one| one.started) == Some(true);
    match (ready, should) {
        (true, _) => Health::Healthy,
        (false, true) => Health::Unhealthy,
        (false, false) => Health::Starting,
    }
}

/// What keeps a pod from getting ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// In words.
    pub(super) words: String,
    /// It does not pass by itself.
    pub(super) is_final: bool,
    /// It passes by itself where something outside is mended, and else does not.
    pub(super) passes_seldom: bool,
}

/// What keeps a pod from getting ready, where that is more than time.
pub(super) fn trouble(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let seldom = |words: String| Trouble {
        words,
        is_final: false,
        passes_seldom: true,
    };
    let containers = status.init_container_statuses.iter().flatten();
    let containers = containers.chain(status.container_statuses.iter().flatten());
    for one in containers {
        if let Some(trouble) = of_container(one, &seldom) {
            return Some(trouble);
        }
    }
    if status.phase.as_deref() == Some("Failed") {
        let reason = status.reason.clone().unwrap_or_else(|| "failed".to_owned());
        let message = status.message.clone().unwrap_or_default();
        return Some(seldom(joined(&reason, &message)));
    }
    let mut conditions = status.conditions.iter().flatten();
    let placed = conditions.find(|one| one.type_ == "PodScheduled" && one.status == "False")?;
    // More nodes may come.
    Some(Trouble {
        words: joined(
            "fits on no node",
            placed.message.as_deref().unwrap_or_default(),
        ),
        is_final: false,
        passes_seldom: false,
    })
}

fn of_container(one: &ContainerStatus, seldom: &impl Fn(String) -> Trouble) -> Option<Trouble> {
    let state = one.state.as_ref();
    let last = one
        .last_state
        .as_ref()
        .and_then(|it| it.terminated.as_ref());
    let now = state.and_then(|it| it.terminated.as_ref());
    if let Some(ended) = now.or(last).filter(|ended| ended.exit_code != 0) {
        let times = one.restart_count.max(1);
        let times = if times == 1 {
            "once".to_owned()
        } else {
            format!("{times} times")
        };
        let oom = if ended.reason.as_deref() == Some("OOMKilled") {
            " (out of memory)"
        } else {
            ""
        };
        return Some(Trouble {
            words: format!("ended {times} with exit code {}{oom}", ended.exit_code),
            is_final: one.restart_count >= ENDINGS && !one.ready,
            passes_seldom: false,
        });
    }
    let waiting = state.and_then(|it| it.waiting.as_ref())?;
    let message = waiting.message.as_deref().unwrap_or_default();
    Some(match waiting.reason.as_deref()? {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "RegistryUnavailable" => {
            seldom(joined(
                &format!("image {} cannot be pulled", one.image),
                message,
            ))
        }
        "InvalidImageName" => Trouble {
            words: format!("{} is no name of an image", one.image),
            is_final: true,
            passes_seldom: true,
        },
        reason @ ("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") => {
            seldom(joined(reason, message))
        }
        _ => return None,
    })
}

fn joined(what: &str, message: &str) -> String {
    if message.is_empty() {
        return what.to_owned();
    }
    format!("{what}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: &serde_json::Value) -> Pod {
        let pod = json!({
            "metadata": { "name": "order-1", "uid": "u", "annotations": { names::REVISION: "abc" } },
            "spec": { "containers": [{ "name": "order", "image": "order:1" }] },
            "status": status,
        });
        serde_json::from_value(pod).expect("a pod")
    }

    fn container(more: &serde_json::Value) -> serde_json::Value {
        let mut one = json!({
            "name": "order", "image": "order:1", "imageID": "docker-pullable://order@sha256:12",
            "ready": false, "restartCount": 0,
        });
        for (key, value) in more.as_object().expect("a map") {
            one[key] = value.clone();
        }
        json!({ "containerStatuses": [one] })
    }

    fn words(status: &serde_json::Value) -> Option<(String, bool, bool)> {
        let found = trouble(&pod(status))?;
        Some((found.words, found.is_final, found.passes_seldom))
    }

    #[test]
    fn a_ready_pod_is_a_healthy_instance() {
        let mut status = container(&json!({ "ready": true, "state": { "running": {} } }));
        status["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
        let found = instance(&pod(&status), "order".to_owned());
        assert_eq!(found.state, InstanceState::Running);
        assert_eq!(found.health, Some(Health::Healthy));
        assert_eq!(
            (found.revision.as_str(), found.image_id.as_str()),
            ("abc", "sha256:12")
        );
        assert_eq!(words(&status), None);
    }

    #[test]
    fn an_image_that_cannot_be_pulled_may_come_later() {
        let waiting = json!({ "waiting": { "reason": "ErrImagePull", "message": "no such tag" } });
        let status = container(&json!({ "state": waiting }));
        let text = "image order:1 cannot be pulled: no such tag".to_owned();
        assert_eq!(words(&status), Some((text, false, true)));
        assert_eq!(
            instance(&pod(&status), String::new()).state,
            InstanceState::Created
        );
    }

    #[test]
    fn what_ends_again_and_again_has_failed() {
        let ended = |times: i32, reason: &str| {
            container(&json!({
                "restartCount": times,
                "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 3, "reason": reason } },
            }))
        };
        let text = "ended once with exit code 3".to_owned();
        assert_eq!(words(&ended(1, "Error")), Some((text, false, false)));
        let text = "ended 3 times with exit code 3 (out of memory)".to_owned();
        assert_eq!(words(&ended(3, "OOMKilled")), Some((text, true, false)));
        let found = instance(&pod(&ended(3, "Error")), String::new());
        assert_eq!(found.state, InstanceState::Restarting);
    }

    #[test]
    fn a_pod_without_a_node_is_told_in_the_words_of_the_scheduler() {
        let status = json!({ "phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "message": "0/2 nodes: Insufficient cpu",
        }] });
        let text = "fits on no node: 0/2 nodes: Insufficient cpu".to_owned();
        assert_eq!(words(&status), Some((text, false, false)));
    }
}
