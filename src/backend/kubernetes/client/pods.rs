//! Pods as instances, and their changes.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::api::core::v1::ContainerState;
use k8s_openapi::api::core::v1::ContainerStateTerminated;
use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use tokio::sync::mpsc;

use super::Cluster;
use super::connect::is_missing;
use super::quantity::scaled;
use super::retry::patiently;
pub(super) use super::trouble::Trouble;
pub(super) use super::trouble::ends;
pub(super) use super::trouble::last_end;
pub(super) use super::trouble::trouble;
use crate::backend::BackendError;
use crate::backend::Change;
use crate::backend::Pending;
use crate::backend::Watch;
use crate::backend::kubernetes::names;
use crate::backend::kubernetes::names::dns;
use crate::state::observed::Health;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::Role;

/// Changes that may be waiting for a slow reader.
const CHANGES: usize = 256;

impl Watch for Cluster {
    /// The cluster itself watches over pods; this tells of those that come and go.
    fn watch<'a>(&'a self, stack: &'a str) -> Pending<'a, mpsc::Receiver<Change>> {
        Box::pin(async move {
            let api: Api<Pod> = Api::namespaced(self.client(), &self.enter(stack));
            let labels = format!(
                "{}=shopctl,{}={}",
                names::MANAGED_BY,
                names::PART_OF,
                dns(stack)
            );
            let events = watcher::watcher(api, watcher::Config::default().labels(&labels));
            let mut events = Box::pin(events.default_backoff());
            // What is there already has been looked at.
            loop {
                match events.try_next().await {
                    Ok(Some(Event::InitDone) | None) => break,
                    Ok(Some(_)) => {}
                    Err(error) => return Err(self.unwatched(stack, error)),
                }
            }
            let (sender, receiver) = mpsc::channel(CHANGES);
            tokio::spawn(pass_on(events, sender));
            Ok(receiver)
        })
    }

    fn state<'a>(&'a self, container: &'a str) -> Pending<'a, Change> {
        Box::pin(async move { Ok(change(&self.pod(container).await?)) })
    }

    fn check_log<'a>(&'a self, _container: &'a str) -> Pending<'a, Vec<String>> {
        // What a probe said is in events, and these are not kept with the pod.
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl Cluster {
    /// A pod of the stack that was looked at last.
    pub(super) async fn pod(&self, name: &str) -> Result<Pod, BackendError> {
        let api: Api<Pod> = Api::namespaced(self.client(), &self.namespace());
        let found = patiently(|| api.get(name)).await;
        found.map_err(|error| {
            if is_missing(&error) {
                BackendError::NotFound {
                    what: format!("pod {name}"),
                }
            } else {
                self.failed(format!("look at pod {name}"), error)
            }
        })
    }

    fn unwatched(&self, stack: &str, error: watcher::Error) -> BackendError {
        let doing = format!("watch the pods of {stack}");
        match error {
            watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
                self.failed(doing, error)
            }
            other => BackendError::Other {
                doing,
                source: other.into(),
            },
        }
    }
}

/// Until nobody listens. A stream that is cut is taken up again by itself, with all that
/// is there then.
async fn pass_on(
    events: impl futures_util::Stream<Item = Result<Event<Pod>, watcher::Error>>,
    sender: mpsc::Sender<Change>,
) {
    let mut events = pin!(events);
    loop {
        let event = tokio::select! {
            event = events.try_next() => event,
            () = sender.closed() => return,
        };
        let change = match event {
            Ok(Some(Event::Apply(pod) | Event::InitApply(pod))) => change(&pod),
            Ok(Some(Event::Delete(pod))) => Change {
                state: InstanceState::Dead,
                health: None,
                ..change(&pod)
            },
            Ok(Some(Event::Init | Event::InitDone)) | Err(_) => continue,
            Ok(None) => return,
        };
        if sender.send(change).await.is_err() {
            return;
        }
    }
}

fn change(pod: &Pod) -> Change {
    let state = if is_leaving(pod) {
        InstanceState::Dead
    } else {
        state(pod)
    };
    Change {
        container: pod.metadata.name.clone().unwrap_or_default(),
        health: health(pod, &state),
        state,
    }
}

/// Whether it is being deleted: it takes no request any more.
pub(super) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// A pod as an instance of its service; its slot is the caller's to give.
pub(super) fn instance(pod: &Pod, service: String) -> Instance {
    let meta = &pod.metadata;
    let state = state(pod);
    let container = main_container(pod);
    let status = main_status(pod);
    let annotations = meta.annotations.as_ref();
    let revision = annotations.and_then(|all| all.get(names::REVISION));
    let mut found = Instance {
        name: meta.name.clone().unwrap_or_default(),
        id: meta.uid.clone().unwrap_or_default(),
        role: Role::Service,
        service,
        revision: revision.cloned().unwrap_or_default(),
        image: container
            .and_then(|it| it.image.clone())
            .unwrap_or_default(),
        image_id: status.map_or_else(String::new, |it| image_id(&it.image_id)),
        health: health(pod, &state),
        state,
        restarts: status.map_or(0, |it| u32::try_from(it.restart_count).unwrap_or(0)),
        started_at: status.and_then(started_at).map_or(0, millis),
        ours: true,
        ..Instance::default()
    };
    let resources = container.and_then(|it| it.resources.as_ref());
    if let Some(limits) = resources.and_then(|it| it.limits.as_ref()) {
        let amount = |name: &str, scale: f64| {
            let amount = scaled(&limits.get(name)?.0, scale);
            i64::try_from(amount).ok().filter(|amount| *amount > 0)
        };
        found.live.memory = amount("memory", 1.0);
        found.live.nano_cpus = amount("cpu", 1e9);
    }
    found
}

/// The service's own container, among those that others have put beside it.
pub(super) fn main_container(pod: &Pod) -> Option<&Container> {
    let all = &pod.spec.as_ref()?.containers;
    let labels = pod.metadata.labels.as_ref();
    let name = labels.and_then(|labels| labels.get(names::NAME).or(labels.get(names::RUN_OF)));
    let own = all.iter().find(|one| Some(&one.name) == name);
    own.or(all.first())
}

/// Whether its container ever began: there is no log before.
pub(super) fn has_begun(pod: &Pod) -> bool {
    main_status(pod).is_some_and(|it| {
        let any = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
        it.restart_count > 0
            || it.state.as_ref().is_some_and(any)
            || it.last_state.as_ref().is_some_and(any)
    })
}

/// Whether its container has ended and is not started again.
pub(super) fn has_ended(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let phase = status.and_then(|it| it.phase.as_deref());
    let state = main_status(pod).and_then(|it| it.state.as_ref());
    let over = state.is_some_and(|it| it.terminated.is_some());
    matches!(phase, Some("Succeeded" | "Failed")) || (is_leaving(pod) && over)
}

/// How it is, where that is known.
pub(super) fn main_state(pod: &Pod) -> Option<&ContainerState> {
    main_status(pod)?.state.as_ref()
}

/// What is known of it.
fn main_status(pod: &Pod) -> Option<&ContainerStatus> {
    let name = &main_container(pod)?.name;
    let mut all = pod.status.as_ref()?.container_statuses.iter().flatten();
    all.find(|one| one.name == *name)
}

pub(super) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let mut all = pod.status.as_ref()?.conditions.iter().flatten();
    all.find(|one| one.type_ == kind)
}

/// Why the kernel ended a container, in the words of a cluster.
pub(super) fn is_oom(ended: &ContainerStateTerminated) -> bool {
    ended.reason.as_deref() == Some("OOMKilled")
}

fn exited(ended: &ContainerStateTerminated) -> InstanceState {
    InstanceState::Exited {
        code: ended.exit_code.into(),
        oom: is_oom(ended),
    }
}

fn state(pod: &Pod) -> InstanceState {
    let nothing = ContainerState::default();
    let status = main_status(pod);
    let now = status.and_then(|it| it.state.as_ref()).unwrap_or(&nothing);
    let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
    match phase {
        Some("Succeeded") => {
            return InstanceState::Exited {
                code: 0,
                oom: false,
            };
        }
        // One that was evicted may say nothing of its containers.
        Some("Failed") => return now.terminated.as_ref().map_or(InstanceState::Dead, exited),
        _ => {}
    }
    if now.running.is_some() {
        return InstanceState::Running;
    }
    if let Some(ended) = &now.terminated {
        return exited(ended);
    }
    let last = status.and_then(|it| it.last_state.as_ref());
    let waits = now.waiting.as_ref();
    let loops = waits.is_some_and(|it| it.reason.as_deref() == Some("CrashLoopBackOff"));
    if loops || last.is_some_and(|it| it.terminated.is_some()) {
        return InstanceState::Restarting;
    }
    InstanceState::Created
}

/// Health as the cluster sees it: whether the pod is ready, and was so before. A cluster
/// says nothing of a probe that fails before the first one passes.
fn health(pod: &Pod, state: &InstanceState) -> Option<Health> {
    match state {
        InstanceState::Running => {}
        InstanceState::Created => return Some(Health::Starting),
        InstanceState::Restarting => return Some(Health::Unhealthy),
        _ => return None,
    }
    let ready = condition(pod, "Ready");
    if ready.is_some_and(|it| it.status == "True") {
        return Some(Health::Healthy);
    }
    let status = main_status(pod)?;
    // The condition was turned after the container began, so it was ready meanwhile.
    let turned = ready.and_then(|it| it.last_transition_time.as_ref());
    let was_ready = match (turned, started_at(status)) {
        (Some(turned), Some(started)) => turned.0.as_second() > started.0.as_second() + 1,
        _ => false,
    };
    Some(if status.restart_count > 0 || was_ready {
        Health::Unhealthy
    } else {
        Health::Starting
    })
}

/// When its container last began.
fn started_at(status: &ContainerStatus) -> Option<&Time> {
    let state = status.state.as_ref()?;
    let running = state.running.as_ref().and_then(|it| it.started_at.as_ref());
    let ended = state.terminated.as_ref();
    running.or_else(|| ended.and_then(|it| it.started_at.as_ref()))
}

fn millis(time: &Time) -> u64 {
    u64::try_from(time.0.as_millisecond()).unwrap_or(0)
}

/// The digest of what runs, without the words of a runtime and the name before it.
fn image_id(text: &str) -> String {
    let id = text.rsplit_once('@').map_or(text, |(_, digest)| digest);
    id.split_once("://").map_or(id, |(_, id)| id).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use serde_json::json;

    const BEGAN: &str = "2026-01-02T03:04:05Z";

    /// A pod of order with a proxy before its own container.
    fn pod(status: impl Into<Value>) -> Pod {
        let pod = json!({
            "metadata": { "name": "order-7c9-x2", "uid": "u1",
                "labels": { names::NAME: "order" },
                "annotations": { names::REVISION: "3f9a1c" } },
            "spec": { "containers": [
                { "name": "proxy", "image": "proxy:1" },
                { "name": "order", "image": "shop/order:2",
                    "resources": { "limits": { "memory": "64Mi", "cpu": "1500m" } } } ] },
            "status": status.into(),
        });
        serde_json::from_value(pod).unwrap()
    }

    fn with(phase: &str, ready: (&str, &str), own: Value) -> Pod {
        let mut own = own;
        own["name"] = "order".into();
        own["image"] = "shop/order:2".into();
        own["ready"] = (ready.0 == "True").into();
        if own["imageID"].is_null() {
            own["imageID"] = "".into();
        }
        pod(json!({
            "phase": phase,
            "conditions": [
                { "type": "PodScheduled", "status": "True" },
                { "type": "Ready", "status": ready.0, "lastTransitionTime": ready.1 } ],
            "containerStatuses": [
                { "name": "proxy", "image": "proxy:1", "imageID": "", "ready": true,
                    "restartCount": 9, "state": { "running": {} } },
                own ],
        }))
    }

    fn running(ready: (&str, &str), restarts: u32) -> Pod {
        with(
            "Running",
            ready,
            json!({ "restartCount": restarts, "state": { "running": { "startedAt": BEGAN } },
                "imageID": "docker-pullable://shop/order@sha256:aa" }),
        )
    }

    fn seen(pod: &Pod) -> (InstanceState, Option<Health>) {
        let found = instance(pod, "order".to_owned());
        (found.state, found.health)
    }

    #[test]
    fn a_ready_pod_is_a_healthy_instance() {
        let found = instance(
            &running(("True", "2026-01-02T03:04:09Z"), 1),
            "order".to_owned(),
        );
        let mut want = Instance {
            name: "order-7c9-x2".to_owned(),
            id: "u1".to_owned(),
            service: "order".to_owned(),
            revision: "3f9a1c".to_owned(),
            image: "shop/order:2".to_owned(),
            image_id: "sha256:aa".to_owned(),
            state: InstanceState::Running,
            health: Some(Health::Healthy),
            restarts: 1,
            started_at: 1_767_323_045_000,
            ours: true,
            ..Instance::default()
        };
        want.live.memory = Some(64 << 20);
        want.live.nano_cpus = Some(1_500_000_000);
        assert_eq!(found, want);
    }

    #[test]
    fn one_that_was_never_ready_starts_and_one_that_was_is_ill() {
        let of = |pod: &Pod| seen(pod).1;
        let never = running(("False", "2026-01-02T03:04:01Z"), 0);
        assert_eq!(of(&never), Some(Health::Starting));
        let was = running(("False", "2026-01-02T03:05:00Z"), 0);
        assert_eq!(of(&was), Some(Health::Unhealthy));
        let restarted = running(("False", "2026-01-02T03:04:01Z"), 1);
        assert_eq!(of(&restarted), Some(Health::Unhealthy));
        let mut unsaid = never;
        unsaid.status.as_mut().unwrap().conditions = None;
        assert_eq!(of(&unsaid), Some(Health::Starting));
    }

    #[test]
    fn states_are_told_apart() {
        let none = ("False", "2026-01-02T03:04:01Z");
        let of = |phase: &str, own: Value| seen(&with(phase, none, own));
        let waits = |reason: &str| json!({ "waiting": { "reason": reason } });
        let ended = |code: i32, reason: &str| json!({ "terminated": { "exitCode": code, "reason": reason } });
        let created = (InstanceState::Created, Some(Health::Starting));
        let exited = |code: i64, oom: bool| (InstanceState::Exited { code, oom }, None);
        let again = (InstanceState::Restarting, Some(Health::Unhealthy));
        for (phase, state, last, want) in [
            ("Pending", waits("ContainerCreating"), Value::Null, &created),
            ("Pending", waits("ImagePullBackOff"), Value::Null, &created),
            (
                "Running",
                waits("CrashLoopBackOff"),
                ended(1, "Error"),
                &again,
            ),
            ("Running", waits("CrashLoopBackOff"), Value::Null, &again),
            (
                "Running",
                waits("RunContainerError"),
                ended(128, "Error"),
                &again,
            ),
            ("Running", ended(1, "Error"), Value::Null, &exited(1, false)),
            (
                "Running",
                ended(137, "OOMKilled"),
                Value::Null,
                &exited(137, true),
            ),
            (
                "Running",
                ended(137, "Error"),
                Value::Null,
                &exited(137, false),
            ),
            (
                "Succeeded",
                ended(0, "Completed"),
                Value::Null,
                &exited(0, false),
            ),
            ("Failed", ended(3, "Error"), Value::Null, &exited(3, false)),
        ] {
            let own = json!({ "restartCount": 0, "state": state, "lastState": last });
            let text = own.to_string();
            assert_eq!(&of(phase, own), want, "{phase} {text}");
        }
        let dead = (InstanceState::Dead, None);
        assert_eq!(
            seen(&pod(json!({ "phase": "Failed", "reason": "Evicted" }))),
            dead
        );
        assert_eq!(seen(&pod(json!({ "phase": "Pending" }))), created);
        assert_eq!(seen(&pod(Value::Null)), created);
    }

    #[test]
    fn one_that_is_deleted_leaves_though_it_still_runs() {
        let mut pod = running(("True", BEGAN), 0);
        assert!(!is_leaving(&pod));
        assert_eq!(change(&pod).state, InstanceState::Running);
        pod.metadata.deletion_timestamp = serde_json::from_value(json!(BEGAN)).unwrap();
        assert!(is_leaving(&pod));
        let found = change(&pod);
        assert_eq!((found.state, found.health), (InstanceState::Dead, None));
    }

    #[test]
    fn the_own_container_is_the_one_named_like_the_service() {
        let mut pod = running(("True", BEGAN), 0);
        assert_eq!(main_container(&pod).unwrap().name, "order");
        pod.metadata.labels = None;
        assert_eq!(main_container(&pod).unwrap().name, "proxy");
        pod.spec = None;
        assert!(main_container(&pod).is_none());
    }

    #[test]
    fn an_id_is_the_digest_alone() {
        for (text, id) in [
            ("docker-pullable://a/b@sha256:1", "sha256:1"),
            ("docker://sha256:1", "sha256:1"),
            ("sha256:1", "sha256:1"),
            ("", ""),
        ] {
            assert_eq!(image_id(text), id);
        }
    }
}
