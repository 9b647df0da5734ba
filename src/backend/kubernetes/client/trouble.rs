//! What keeps a pod from getting ready, in one plain line.

use k8s_openapi::api::core::v1::ContainerState;
use k8s_openapi::api::core::v1::ContainerStateTerminated;
use k8s_openapi::api::core::v1::ContainerStateWaiting;
use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::PodStatus;

use super::pods;

/// A container that ended so often, half a minute after it first began, will end again.
const OFTEN: i32 = 4;
/// Longest text of a cluster that is passed on.
const LONGEST: usize = 300;
/// Said of one that ends and is started again.
const LOOP: &str = "CrashLoopBackOff";

/// What keeps a pod from getting ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// In one line.
    pub(super) words: String,
    /// It cannot pass as long as the pod is what it is.
    pub(super) is_final: bool,
    /// It may pass by itself, and hardly does when it has lasted: a registry that does not
    /// have the image yet, a process that ends again and again.
    pub(super) passes_seldom: bool,
}

impl Trouble {
    /// That may be over at any time, and is the cluster's to overcome.
    fn passing(words: String) -> Self {
        Self {
            words,
            is_final: false,
            passes_seldom: false,
        }
    }

    fn lasting(words: String) -> Self {
        Self {
            words,
            is_final: false,
            passes_seldom: true,
        }
    }
}

/// What keeps a pod from getting ready, where something does.
pub(super) fn trouble(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    if status.phase.as_deref() == Some("Failed") {
        return Some(failed(status));
    }
    if pods::condition(pod, "Ready").is_some_and(|it| it.status == "True") {
        return None;
    }
    let scheduled = pods::condition(pod, "PodScheduled");
    if let Some(condition) = scheduled.filter(|it| it.status == "False") {
        let message = condition.message.as_deref().unwrap_or("nobody says why");
        let words = format!("fits on no node: {}", line(message));
        return Some(Trouble::passing(words));
    }
    let first = status.init_container_statuses.iter().flatten();
    let own = status.container_statuses.iter().flatten();
    first.chain(own).find_map(of_container)
}

/// A pod that the cluster has given up; what made it makes another.
fn failed(status: &PodStatus) -> Trouble {
    let message = status.message.as_deref().map(line).unwrap_or_default();
    let message = message.trim();
    let because = |what: &str| match message {
        "" => what.to_owned(),
        message => format!("{what}: {message}"),
    };
    match status.reason.as_deref() {
        Some("Evicted") => Trouble::passing(because("evicted")),
        Some(reason) => Trouble::passing(because(&format!("given up ({})", line(reason)))),
        None => {
            let all = status.container_statuses.iter().flatten();
            let first = status.init_container_statuses.iter().flatten();
            let mut ended = first.chain(all).filter_map(|it| {
                let ended = it.state.as_ref()?.terminated.as_ref()?;
                (ended.exit_code != 0).then(|| format!("ended with {}", end(ended)))
            });
            Trouble::passing(ended.next().unwrap_or_else(|| because("given up")))
        }
    }
}

fn of_container(status: &ContainerStatus) -> Option<Trouble> {
    let nothing = ContainerState::default();
    let now = status.state.as_ref().unwrap_or(&nothing);
    if let Some(waits) = &now.waiting
        && let Some(found) = waiting(status, waits)
    {
        return Some(found);
    }
    if status.ready {
        return None;
    }
    // One that has ended is started again, and may be running at the moment.
    let last = status.last_state.as_ref().unwrap_or(&nothing);
    let runs = now.running.is_some();
    let (ended, before) = match (&now.terminated, &last.terminated) {
        // What runs before the service, and is through.
        (Some(ended), _) if ended.exit_code == 0 && status.restart_count == 0 => return None,
        (Some(ended), _) | (None, Some(ended)) => (ended, status.restart_count),
        (None, None) => return None,
    };
    let count = if runs {
        before
    } else {
        before.saturating_add(1)
    };
    Some(ended_so_often(ended, count))
}

/// What a container waits for, where that is trouble.
fn waiting(status: &ContainerStatus, waits: &ContainerStateWaiting) -> Option<Trouble> {
    let message = waits.message.as_deref().map(line).unwrap_or_default();
    let image = &status.image;
    let found = match waits.reason.as_deref()? {
        "InvalidImageName" => Trouble {
            words: format!("image {image} is no name of an image"),
            is_final: true,
            passes_seldom: true,
        },
        "ErrImageNeverPull" => Trouble::lasting(format!(
            "image {image} is not on the node, and may not be pulled"
        )),
        "ErrImagePull"
        | "ImagePullBackOff"
        | "RegistryUnavailable"
        | "ImageInspectError"
        | "SignatureValidationFailed" => {
            let why = why_no_image(&message);
            Trouble::lasting(match why {
                "" => format!("image {image} cannot be pulled"),
                why => format!("image {image} cannot be pulled: {why}"),
            })
        }
        LOOP => {
            let last = status.last_state.as_ref();
            let ended = last.and_then(|it| it.terminated.as_ref());
            let count = status.restart_count.saturating_add(1);
            match ended {
                Some(ended) => ended_so_often(ended, count),
                None => Trouble {
                    words: format!("ended {}", times(count)),
                    is_final: count >= OFTEN,
                    passes_seldom: count >= OFTEN,
                },
            }
        }
        reason @ ("CreateContainerConfigError" | "CreateContainerError") => {
            Trouble::lasting(said("cannot be made", reason, &message))
        }
        reason @ ("RunContainerError" | "PreCreateHookError" | "PreStartHookError"
        | "PostStartHookError") => Trouble::lasting(said("cannot be started", reason, &message)),
        // Among them that it is being made.
        _ => return None,
    };
    Some(found)
}

fn said(what: &str, reason: &str, message: &str) -> String {
    let why = if message.is_empty() { reason } else { message };
    format!("{what}: {why}")
}

/// Why an image cannot be pulled, without the words that only repeat that.
fn why_no_image(message: &str) -> &str {
    let rest = match message.strip_prefix("Back-off pulling image ") {
        // Of a newer cluster what follows the image says why.
        Some(rest) => rest.split_once("\": ").map_or("", |(_, why)| why),
        None => message,
    };
    let rest = rest.strip_prefix("ErrImagePull: ").unwrap_or(rest);
    match rest.strip_prefix("rpc error: code = ") {
        Some(more) => more.split_once(" desc = ").map_or(rest, |(_, why)| why),
        None => rest,
    }
}

fn ended_so_often(ended: &ContainerStateTerminated, count: i32) -> Trouble {
    // A command that is not there never ran; the runtime says so.
    let not_run = ended.message.as_deref().map(line);
    let not_run = not_run.filter(|_| ended.reason.as_deref() == Some("StartError"));
    let is_final = count >= OFTEN;
    Trouble {
        words: match not_run {
            Some(message) => format!("cannot be started: {message}"),
            None => format!("ended {} with {}", times(count), end(ended)),
        },
        is_final,
        passes_seldom: is_final,
    }
}

/// How often containers of a pod have ended by themselves, those that run before the service
/// aside.
pub(super) fn ends(pod: &Pod) -> i32 {
    // One that the cluster has given up was ended with the pod: evicted, or its node is away.
    let stays = |status: &&PodStatus| status.phase.as_deref() != Some("Failed");
    let status = pod.status.as_ref().filter(stays);
    let all = status.and_then(|status| status.container_statuses.as_ref());
    let of = |status: &ContainerStatus| {
        let now = status.state.as_ref();
        let runs = now.is_some_and(|state| state.running.is_some());
        let is_over = !runs && last_of(status).is_some();
        status.restart_count.saturating_add(i32::from(is_over))
    };
    all.into_iter().flatten().map(of).sum()
}

/// How the last container of a pod that ended did so.
pub(super) fn last_end(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let all = status.and_then(|status| status.container_statuses.as_ref());
    let mut ended = all.into_iter().flatten().filter_map(last_of);
    let how = ended.next().map(|ended| format!(" with {}", end(ended)));
    format!("a container ended{}", how.unwrap_or_default())
}

fn last_of(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = status.state.as_ref();
    let now = now.and_then(|state| state.terminated.as_ref());
    now.or_else(|| status.last_state.as_ref()?.terminated.as_ref())
}

fn end(ended: &ContainerStateTerminated) -> String {
    let code = ended.exit_code;
    if pods::is_oom(ended) {
        format!("exit code {code} (out of memory)")
    } else {
        format!("exit code {code}")
    }
}

fn times(count: i32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}

/// A text of the cluster on one line, without what would move a terminal.
pub(super) fn line(text: &str) -> String {
    let words = text.split(|char: char| char.is_whitespace() || char.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let text = words.join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use serde_json::json;

    fn pod(status: impl Into<Value>) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "order-1" },
            "spec": { "containers": [{ "name": "order", "image": "order:2" }] },
            "status": status.into(),
        }))
        .unwrap()
    }

    fn status(restarts: u32, state: impl Into<Value>, last: impl Into<Value>) -> Value {
        json!([{ "name": "order", "image": "order:2", "imageID": "", "ready": false,
            "restartCount": restarts, "state": state.into(), "lastState": last.into() }])
    }

    fn own(restarts: u32, state: impl Into<Value>, last: impl Into<Value>) -> Option<Trouble> {
        trouble(&pod(json!({ "phase": "Pending",
            "containerStatuses": status(restarts, state, last) })))
    }

    fn waits(reason: &str, message: &str) -> Option<Trouble> {
        own(
            0,
            json!({ "waiting": { "reason": reason, "message": message } }),
            Value::Null,
        )
    }

    fn lasting(words: &str) -> Trouble {
        Trouble::lasting(words.to_owned())
    }

    fn passing(words: &str) -> Trouble {
        Trouble::passing(words.to_owned())
    }

    #[test]
    fn ends_of_containers_are_counted_once_each() {
        let count = |restarts, state: Value, last: Value| {
            let status = json!({ "containerStatuses": status(restarts, state, last) });
            ends(&pod(status))
        };
        let (ended, running) = (
            json!({ "terminated": { "exitCode": 3 } }),
            json!({ "running": {} }),
        );
        assert_eq!(count(0, running.clone(), Value::Null), 0);
        assert_eq!(count(0, ended.clone(), Value::Null), 1);
        assert_eq!(count(0, json!({ "waiting": {} }), ended.clone()), 1);
        assert_eq!(count(1, running, ended.clone()), 1);
        assert_eq!(count(1, ended.clone(), ended.clone()), 2);
        let evicted = json!({ "phase": "Failed",
            "containerStatuses": status(0, ended.clone(), Value::Null) });
        assert_eq!(ends(&pod(evicted)), 0);
        let fallen = pod(json!({ "containerStatuses": status(0, ended, Value::Null) }));
        assert_eq!(last_end(&fallen), "a container ended with exit code 3");
    }

    #[test]
    fn images_that_cannot_be_had_are_told_with_the_reason() {
        for (reason, message, want) in [
            (
                "ErrImagePull",
                "rpc error: code = NotFound desc = failed to pull: not found",
                "image order:2 cannot be pulled: failed to pull: not found",
            ),
            (
                "ImagePullBackOff",
                "Back-off pulling image \"order:2\"",
                "image order:2 cannot be pulled",
            ),
            (
                "ImagePullBackOff",
                "Back-off pulling image \"order:2\": ErrImagePull: denied",
                "image order:2 cannot be pulled: denied",
            ),
        ] {
            assert_eq!(waits(reason, message), Some(lasting(want)));
        }
        let found = waits("InvalidImageName", "no").unwrap();
        assert_eq!(found.words, "image order:2 is no name of an image");
        assert!(found.is_final);
    }

    #[test]
    fn one_that_ends_again_and_again_is_told_with_its_code() {
        let back_off = json!({ "waiting": { "reason": LOOP, "message": "back-off 40s" } });
        let ended = |code: i32, reason: &str| json!({ "terminated": { "exitCode": code, "reason": reason } });
        let ends = |found: Option<Trouble>| found.map(|it| (it.words, it.is_final));
        let want = |words: &str, is_final: bool| Some((words.to_owned(), is_final));
        let found = own(2, back_off.clone(), ended(1, "Error"));
        assert_eq!(ends(found), want("ended 3 times with exit code 1", false));
        let found = own(3, back_off.clone(), ended(137, "OOMKilled"));
        let words = "ended 4 times with exit code 137 (out of memory)";
        assert_eq!(ends(found), want(words, true));
        let found = own(4, back_off, Value::Null);
        assert_eq!(ends(found), want("ended 5 times", true));
        // It was just started once more: that it ended is not forgotten.
        let found = own(2, json!({ "running": {} }), ended(1, "Error"));
        assert_eq!(ends(found), want("ended twice with exit code 1", false));
        let found = own(0, ended(1, "Error"), Value::Null);
        assert_eq!(ends(found), want("ended once with exit code 1", false));
    }

    #[test]
    fn what_a_node_cannot_make_or_start_is_told_in_its_words() {
        assert_eq!(
            waits("CreateContainerConfigError", "secret \"key\" not found"),
            Some(lasting("cannot be made: secret \"key\" not found"))
        );
        assert_eq!(
            waits("RunContainerError", ""),
            Some(lasting("cannot be started: RunContainerError"))
        );
        let state = json!({ "terminated": { "exitCode": 128, "reason": "StartError",
            "message": "exec: \"nope\":\n\tnot found" } });
        assert_eq!(
            own(0, state, Value::Null),
            Some(passing("cannot be started: exec: \"nope\": not found"))
        );
    }

    #[test]
    fn without_a_node_the_scheduler_speaks() {
        let found = trouble(&pod(json!({ "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/3 nodes are available: 3 Insufficient cpu." }] })));
        let want = "fits on no node: 0/3 nodes are available: 3 Insufficient cpu.";
        assert_eq!(found, Some(passing(want)));
    }

    #[test]
    fn pods_that_were_given_up_say_why() {
        let of = |status: Value| trouble(&pod(status));
        assert_eq!(
            of(json!({ "phase": "Failed", "reason": "Evicted",
                "message": "The node was low on resource: memory. " })),
            Some(passing("evicted: The node was low on resource: memory."))
        );
        assert_eq!(
            of(json!({ "phase": "Failed", "reason": "OutOfcpu" })),
            Some(passing("given up (OutOfcpu)"))
        );
        let ended = json!({ "terminated": { "exitCode": 3, "reason": "Error" } });
        assert_eq!(
            of(json!({ "phase": "Failed", "containerStatuses": status(0, ended, Value::Null) })),
            Some(passing("ended with exit code 3"))
        );
        assert_eq!(of(json!({ "phase": "Failed" })), Some(passing("given up")));
    }

    #[test]
    fn what_runs_before_the_service_is_looked_at_first() {
        let ended = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
        let back_off = json!({ "waiting": { "reason": LOOP } });
        let waits = json!({ "waiting": { "reason": "PodInitializing" } });
        let found = trouble(&pod(json!({ "phase": "Pending",
            "initContainerStatuses": status(5, back_off, ended),
            "containerStatuses": status(0, waits, Value::Null) })));
        assert_eq!(found.unwrap().words, "ended 6 times with exit code 1");
    }

    #[test]
    fn nothing_keeps_one_that_is_on_its_way_or_ready() {
        assert_eq!(waits("ContainerCreating", ""), None);
        assert_eq!(waits("PodInitializing", ""), None);
        assert_eq!(own(0, json!({ "running": {} }), Value::Null), None);
        assert_eq!(trouble(&pod(Value::Null)), None);
        assert_eq!(trouble(&pod(json!({ "phase": "Pending" }))), None);
        let through = json!({ "terminated": { "exitCode": 0, "reason": "Completed" } });
        assert_eq!(own(0, through.clone(), Value::Null), None);
        assert_eq!(
            trouble(&pod(json!({ "phase": "Running",
                "conditions": [{ "type": "Ready", "status": "True" }],
                "containerStatuses": status(3, json!({ "running": {} }),
                    json!({ "terminated": { "exitCode": 1 } })) }))),
            None
        );
        assert_eq!(
            trouble(&pod(json!({ "phase": "Succeeded",
                "containerStatuses": status(0, through, Value::Null) }))),
            None
        );
    }

    #[test]
    fn a_long_text_stays_on_a_line() {
        let found = line(&format!("a\u{1b}[31m\n{}", "é".repeat(400)));
        assert!(found.starts_with("a [31m é"), "{found}");
        assert_eq!(found.chars().count(), LONGEST + 3);
    }
}
