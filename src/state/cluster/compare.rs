//! What differs between two forms of an object.

use serde_json::Map;
use serde_json::Value;

use super::phrase;

/// The digest of what was sent, on what is there.
pub const APPLIED: &str = "shopctl.dev/applied";

/// The digest of what a pod is made from, on pods and their templates.
pub const REVISION: &str = "shopctl.dev/revision";

/// Annotations that others keep, and that say nothing of what an object is.
const NOTES: [&str; 4] = [
    APPLIED,
    REVISION,
    "deployment.kubernetes.io/revision",
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// Keys by which the elements of a list are told apart, best first.
const KEYS: [&str; 7] = [
    "mountPath",
    "name",
    "containerPort",
    "port",
    "ip",
    "topologyKey",
    "key",
];

/// Whether what is there has all that is sent, and was made from the same: then sending it
/// again changes nothing. What the cluster writes otherwise than it was sent (`0.5` as
/// `500m`) counts as a difference, so a no is no proof of a change.
pub fn covers(live: &Value, sent: &Value) -> bool {
    match (live, sent) {
        (Value::Object(live), Value::Object(sent)) => sent.iter().all(|(key, sent)| {
            is_nothing(sent) || live.get(key).is_some_and(|live| covers(live, sent))
        }),
        (Value::Array(live), Value::Array(sent)) => match key_of(sent) {
            Some(key) => sent.iter().all(|one| {
                let mut others = live.iter();
                others
                    .find(|other| other.get(key) == one.get(key))
                    .is_some_and(|other| covers(other, one))
            }),
            None => {
                live.len() == sent.len()
                    && live.iter().zip(sent).all(|(live, sent)| covers(live, sent))
            }
        },
        (live, sent) => live == sent,
    }
}

/// What differs, one phrase each, in the words of the stack file where there are some.
pub fn differences(live: &Value, after: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(&mut Vec::new(), live, after, &mut found);
    let mut phrases: Vec<String> = Vec::new();
    for one in &found {
        let phrase = phrase::of(one);
        if !phrases.contains(&phrase) {
            phrases.push(phrase);
        }
    }
    phrases
}

/// A difference: where, and both sides; `Null` where there is nothing.
pub(super) struct Difference<'a> {
    pub(super) path: Vec<String>,
    pub(super) before: &'a Value,
    pub(super) after: &'a Value,
}

fn walk<'a>(
    path: &mut Vec<String>,
    before: &'a Value,
    after: &'a Value,
    found: &mut Vec<Difference<'a>>,
) {
    if before == after || is_noise(path) {
        return;
    }
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            walk_maps(path, before, after, found);
        }
        (Value::Array(before), Value::Array(after))
            if key_of(before).is_some() && key_of(before) == key_of(after) =>
        {
            let key = key_of(before).unwrap_or_default();
            walk_lists(path, key, before, after, found);
        }
        (Value::Object(before), Value::Null) => walk_maps(path, before, &NOTHING, found),
        (Value::Null, Value::Object(after)) => walk_maps(path, &NOTHING, after, found),
        (before, after) if is_nothing(before) && is_nothing(after) => {}
        (before, after) => found.push(Difference {
            path: path.clone(),
            before,
            after,
        }),
    }
}

static NOTHING: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

fn walk_maps<'a>(
    path: &mut Vec<String>,
    before: &'a Map<String, Value>,
    after: &'a Map<String, Value>,
    found: &mut Vec<Difference<'a>>,
) {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    for key in after.keys().chain(gone) {
        path.push(key.clone());
        let side = |map: &'a Map<String, Value>| map.get(key).unwrap_or(&Value::Null);
        walk(path, side(before), side(after), found);
        path.pop();
    }
}

fn walk_lists<'a>(
    path: &mut Vec<String>,
    key: &str,
    before: &'a [Value],
    after: &'a [Value],
    found: &mut Vec<Difference<'a>>,
) {
    let name = |one: &Value| match &one[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for one in after {
        let other = before.iter().find(|other| other[key] == one[key]);
        path.push(format!("[{}]", name(one)));
        walk(path, other.unwrap_or(&Value::Null), one, found);
        path.pop();
    }
    for one in before {
        if !after.iter().any(|other| other[key] == one[key]) {
            path.push(format!("[{}]", name(one)));
            walk(path, one, &Value::Null, found);
            path.pop();
        }
    }
}

/// What changes by itself, or is not for others to say. How many replicas there are is
/// judged apart.
fn is_noise(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["status"]
        | [
            "metadata",
            "managedFields" | "resourceVersion" | "generation" | "uid" | "creationTimestamp"
            | "selfLink" | "ownerReferences" | "finalizers",
        ]
        | ["spec", "replicas"] => true,
        [.., "metadata", "annotations", name] => NOTES.contains(name),
        _ => false,
    }
}

/// The key that tells the elements of a list apart; `None` where they are plain values.
fn key_of(list: &[Value]) -> Option<&'static str> {
    let has = |key: &str| {
        let each = |one: &Value| one.get(key).is_some_and(|value| !value.is_object());
        let distinct = || {
            let mut seen: Vec<&Value> = list.iter().map(|one| &one[key]).collect();
            seen.sort_by_key(ToString::to_string);
            seen.windows(2).all(|pair| pair[0] != pair[1])
        };
        !list.is_empty() && list.iter().all(each) && distinct()
    };
    KEYS.into_iter().find(|key| has(key))
}

/// What a cluster does not tell from nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_cluster_adds_is_no_difference_in_what_was_sent() {
        let sent = json!({ "spec": { "ports": [{ "port": 80, "name": "a" }], "x": null } });
        let live = json!({
            "spec": { "ports": [{ "port": 80, "name": "a", "nodePort": 1 }, { "port": 90, "name": "b" }],
            "clusterIP": "10.0.0.1" }
        });
        assert!(covers(&live, &sent));
        let other = json!({ "spec": { "ports": [{ "port": 81, "name": "a" }] } });
        assert!(!covers(&live, &other));
        let plain = json!({ "args": ["a"] });
        assert!(!covers(&json!({ "args": ["a", "b"] }), &plain));
    }

    #[test]
    fn one_of_two_mounts_of_a_volume_is_missed() {
        let mounts = |paths: &[&str]| {
            let all: Vec<Value> = paths
                .iter()
                .map(|path| json!({ "name": "data", "mountPath": path }))
                .collect();
            json!({ "volumeMounts": all })
        };
        assert_eq!(
            differences(&mounts(&["/a", "/b"]), &mounts(&["/a"])),
            [
                "volumeMounts[/b].mountPath /b removed",
                "volumeMounts[/b].name data removed"
            ]
        );
        assert!(!covers(&mounts(&["/a"]), &mounts(&["/a", "/b"])));
    }

    #[test]
    fn differences_are_said_in_words_and_without_secrets() {
        let before = json!({
            "metadata": { "generation": 1, "annotations": { APPLIED: "a" } },
            "spec": { "replicas": 2, "template": { "spec": {
                "terminationGracePeriodSeconds": 15,
                "containers": [{ "name": "order", "image": "order:1",
                    "env": [{ "name": "TOKEN", "value": "old" }, { "name": "GONE", "value": "x" }],
                    "resources": { "limits": { "memory": "64Mi" } },
                    "args": ["--key", "s3cret"] }] } } },
            "data": { "key": "b2xk" }
        });
        let after = json!({
            "metadata": { "generation": 2, "annotations": { APPLIED: "b" } },
            "spec": { "replicas": 3, "template": { "spec": {
                "terminationGracePeriodSeconds": 25,
                "containers": [{ "name": "order", "image": "order:2",
                    "env": [{ "name": "TOKEN", "value": "new" }, { "name": "MORE", "value": "y" }],
                    "resources": { "limits": { "memory": "128Mi" } },
                    "args": ["--key", "other"] }] } } },
            "data": { "key": "bmV3" }
        });
        assert_eq!(
            differences(&before, &after),
            [
                "data changed (key)",
                "args changed",
                "environment changed (TOKEN)",
                "environment added (MORE)",
                "environment removed (GONE)",
                "image order:1 -> order:2",
                "memory limit 64Mi -> 128Mi",
                "terminationGracePeriodSeconds 15 -> 25",
            ]
        );
    }
}
