//! How far the pods of a workload are, by its own status.

use serde_json::Value;

use crate::state::cluster::Pods;

/// The pods of a workload; `None` for what has none.
pub(super) fn pods(live: &Value) -> Option<Pods> {
    let status = &live["status"];
    let count = |value: &Value| u32::try_from(value.as_u64().unwrap_or(0)).unwrap_or(u32::MAX);
    let generation = live["metadata"]["generation"].as_i64().unwrap_or(0);
    let is_current = status["observedGeneration"].as_i64().unwrap_or(0) >= generation;
    let replicas = live["spec"]["replicas"].as_u64();
    let replicas = replicas.and_then(|count| u32::try_from(count).ok());
    match live["kind"].as_str()? {
        "Deployment" => Some(Pods {
            replicas,
            ready: count(&status["updatedReplicas"]).min(count(&status["availableReplicas"])),
            all: count(&status["replicas"]),
            is_current,
            completed: false,
            // What it says of an earlier revision says nothing of this one.
            failed: condition(status, "Progressing", "False").filter(|_| is_current),
        }),
        "StatefulSet" => {
            let settled = status["currentRevision"] == status["updateRevision"];
            let watched = live["spec"]["minReadySeconds"].as_u64().unwrap_or(0) > 0;
            let key = if watched {
                "availableReplicas"
            } else {
                "readyReplicas"
            };
            let ready = count(&status[key]);
            Some(Pods {
                replicas,
                ready: if settled {
                    ready
                } else {
                    // Of the newest revision alone, and at most so many of them are ready.
                    ready.min(count(&status["updatedReplicas"]))
                },
                all: count(&status["replicas"]),
                is_current,
                completed: false,
                failed: None,
            })
        }
        "Job" => Some(Pods {
            replicas: None,
            ready: count(&status["succeeded"]),
            all: count(&status["active"]),
            is_current: false,
            completed: condition(status, "Complete", "True").is_some(),
            failed: condition(status, "Failed", "True"),
        }),
        _ => None,
    }
}

/// When a Deployment said last how it comes along. It says of a new revision that it got no
/// further, at once, where it had said so of the one before, and dates that as it did then.
pub(super) fn said_at(live: &Value) -> Option<&Value> {
    let mut all = live["status"]["conditions"].as_array()?.iter();
    let found = all.find(|one| one["type"] == "Progressing")?;
    Some(&found["lastUpdateTime"])
}

/// What a condition says, where it is as asked.
fn condition(status: &Value, kind: &str, is: &str) -> Option<String> {
    let mut all = status["conditions"].as_array()?.iter();
    let found = all.find(|one| one["type"] == kind && one["status"] == is)?;
    let text = found["message"].as_str().filter(|text| !text.is_empty());
    Some(text.or(found["reason"].as_str()).unwrap_or(kind).to_owned())
}
