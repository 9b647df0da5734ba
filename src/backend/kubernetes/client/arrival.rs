//! How far the pod of a command has come, and for how long it is waited for.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::time::Instant;

use super::Cluster;
use super::follow::Follower;
use super::follow::Seen;
use super::pods;
use super::pods::Trouble;
use super::trouble::line;
use crate::backend::BackendError;

/// What keeps a pod and passes seldom may do so for that long: no image, no secret.
const SELDOM: Duration = Duration::from_secs(20);
/// So long room on a node is waited for.
const ROOM: Duration = Duration::from_mins(1);
/// So long a pod may take of which nothing is said: a large image is pulled.
const SILENCE: Duration = Duration::from_mins(10);

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not begun; what keeps it, where something does.
    Waiting(Option<Trouble>),
    /// The command runs.
    Running,
    /// It has ended with that code.
    Ended(i64),
    /// It never ran, or its end is not known; why.
    Failed(String),
    /// It was removed before it began.
    Gone,
}

impl Stage {
    pub(super) fn of(seen: &Seen) -> Self {
        match seen {
            Seen::Nothing => Self::Waiting(None),
            Seen::There(pod) => of_pod(pod),
            Seen::Gone(pod) => match pod.as_deref().map(|pod| (pod, of_pod(pod))) {
                Some((_, stage @ (Self::Ended(_) | Self::Failed(_)))) => stage,
                Some((pod, Self::Running)) => Self::Ended(killed(pod)),
                _ => Self::Gone,
            },
        }
    }

    /// How long it may last.
    fn patience(&self) -> Duration {
        match self {
            Self::Waiting(Some(trouble)) if trouble.is_final => Duration::ZERO,
            Self::Waiting(Some(trouble)) if trouble.passes_seldom => SELDOM,
            Self::Waiting(Some(_)) => ROOM,
            _ => SILENCE,
        }
    }
}

fn of_pod(pod: &Pod) -> Stage {
    let state = pods::main_state(pod);
    if let Some(ended) = state.and_then(|it| it.terminated.as_ref()) {
        let never = ["StartError", "ContainerCannotRun"];
        let reason = ended.reason.as_deref().unwrap_or_default();
        if never.contains(&reason) {
            let message = ended.message.as_deref().unwrap_or(reason);
            return Stage::Failed(format!("cannot be started: {}", line(message)));
        }
        return Stage::Ended(ended.exit_code.into());
    }
    let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
    match phase {
        Some("Succeeded") => Stage::Ended(0),
        Some("Failed") => Stage::Failed(words(pods::trouble(pod))),
        _ if state.is_some_and(|it| it.running.is_some()) => Stage::Running,
        _ => Stage::Waiting(pods::trouble(pod)),
    }
}

fn words(trouble: Option<Trouble>) -> String {
    trouble.map_or_else(|| "nobody says why".to_owned(), |trouble| trouble.words)
}

/// The code of a command that ended with its pod, before anybody saw it: it was told to end,
/// or killed.
fn killed(pod: &Pod) -> i64 {
    match pod.metadata.deletion_grace_period_seconds {
        Some(0) => 128 + 9,
        _ => 128 + 15,
    }
}

impl Cluster {
    /// Waits until the command of a pod runs, or is over already.
    pub(super) async fn begin(&self, name: &str) -> Result<(), BackendError> {
        let api: Api<Pod> = Api::namespaced(self.client(), &self.namespace());
        self.begun(name, &mut Follower::of(api, name))
            .await
            .map(drop)
    }

    /// Waits until a command runs or is over; fails where it will not.
    pub(super) async fn begun(
        &self,
        name: &str,
        follower: &mut Follower,
    ) -> Result<Stage, BackendError> {
        let failed = |why: String| BackendError::Other {
            doing: format!("start pod {name}"),
            source: why.into(),
        };
        let mut since = (Instant::now(), SILENCE);
        loop {
            let stage = Stage::of(&follower.seen.borrow_and_update());
            let trouble = match &stage {
                Stage::Waiting(trouble) => trouble.clone(),
                Stage::Failed(why) => return Err(failed(why.clone())),
                Stage::Gone => {
                    return Err(BackendError::NotFound {
                        what: format!("pod {name}"),
                    });
                }
                Stage::Running | Stage::Ended(_) => return Ok(stage),
            };
            let patience = stage.patience();
            if patience != since.1 {
                since = (Instant::now(), patience);
            }
            tokio::select! {
                changed = follower.seen.changed() => if changed.is_err() {
                    return Err(failed("nobody follows it".to_owned()));
                },
                () = tokio::time::sleep_until(since.0 + patience) => {
                    return Err(failed(match trouble {
                        Some(trouble) => trouble.words,
                        None => format!("it has not begun within {} min", SILENCE.as_secs() / 60),
                    }));
                }
            }
        }
    }

    /// Waits until the command of a pod is over.
    pub(super) async fn over(follower: &mut Follower) -> Stage {
        loop {
            let stage = Stage::of(&follower.seen.borrow_and_update());
            if !matches!(stage, Stage::Waiting(_) | Stage::Running) {
                return stage;
            }
            if follower.seen.changed().await.is_err() {
                return Stage::Failed("nobody follows it".to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use serde_json::json;

    fn pod(phase: &str, state: impl Into<Value>) -> Pod {
        let status = json!({ "name": "order", "image": "order:1", "imageID": "", "ready": false,
            "restartCount": 0, "state": state.into() });
        serde_json::from_value(json!({
            "metadata": { "name": "order-run-1" },
            "spec": { "containers": [{ "name": "order", "image": "order:1" }] },
            "status": { "phase": phase, "containerStatuses": [status] },
        }))
        .unwrap()
    }

    fn there(phase: &str, state: impl Into<Value>) -> Stage {
        Stage::of(&Seen::There(Box::new(pod(phase, state))))
    }

    fn ended(code: i32, reason: &str, message: &str) -> Value {
        json!({ "terminated": { "exitCode": code, "reason": reason, "message": message } })
    }

    #[test]
    fn a_command_waits_runs_and_ends() {
        let failed = |why: &str| Stage::Failed(why.to_owned());
        assert_eq!(Stage::of(&Seen::Nothing), Stage::Waiting(None));
        let creating = json!({ "waiting": { "reason": "ContainerCreating" } });
        assert_eq!(there("Pending", creating), Stage::Waiting(None));
        assert_eq!(there("Running", json!({ "running": {} })), Stage::Running);
        let code = |code: i32| there("Running", ended(code, "Error", ""));
        assert_eq!([code(0), code(7)], [Stage::Ended(0), Stage::Ended(7)]);
        assert_eq!(there("Succeeded", json!({})), Stage::Ended(0));
        assert_eq!(
            there(
                "Failed",
                ended(128, "StartError", "exec: \"nope\":\n not found")
            ),
            failed("cannot be started: exec: \"nope\": not found")
        );
        assert_eq!(there("Failed", json!({})), failed("given up"));
    }

    #[test]
    fn what_keeps_it_is_borne_for_its_time() {
        let waits = |reason: &str| there("Pending", json!({ "waiting": { "reason": reason } }));
        assert_eq!(waits("InvalidImageName").patience(), Duration::ZERO);
        assert_eq!(waits("ErrImagePull").patience(), SELDOM);
        assert_eq!(waits("ContainerCreating").patience(), SILENCE);
        let mut unplaced = pod("Pending", json!({}));
        let conditions = json!([{ "type": "PodScheduled", "status": "False", "message": "no" }]);
        unplaced.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
        let unplaced = Stage::of(&Seen::There(Box::new(unplaced)));
        assert_eq!(unplaced.patience(), ROOM);
        assert!(
            matches!(&unplaced, Stage::Waiting(Some(it)) if it.words == "fits on no node: no"),
            "{unplaced:?}"
        );
    }

    #[test]
    fn one_that_is_gone_ended_as_it_was_told_to() {
        let gone = |pod: Option<Pod>| Stage::of(&Seen::Gone(pod.map(Box::new)));
        assert_eq!(gone(None), Stage::Gone);
        let creating = json!({ "waiting": { "reason": "ContainerCreating" } });
        assert_eq!(gone(Some(pod("Pending", creating))), Stage::Gone);
        let mut running = pod("Running", json!({ "running": {} }));
        running.metadata.deletion_grace_period_seconds = Some(10);
        assert_eq!(gone(Some(running.clone())), Stage::Ended(143));
        running.metadata.deletion_grace_period_seconds = Some(0);
        assert_eq!(gone(Some(running)), Stage::Ended(137));
        let well = pod("Running", ended(0, "Completed", ""));
        assert_eq!(gone(Some(well)), Stage::Ended(0));
    }
}
