//! A difference between two objects in words.

use serde_json::Value;

use super::compare::Difference;

/// Parts of a path that say nothing.
const SILENT: [&str; 4] = ["spec", "template", "metadata", "containers"];

/// Values below these keys may be secret.
const HIDDEN: [&str; 6] = [
    "args",
    "command",
    "data",
    "binaryData",
    "stringData",
    "annotations",
];

/// The phrase of one difference.
pub(super) fn of(difference: &Difference<'_>) -> String {
    let path: Vec<&str> = difference.path.iter().map(String::as_str).collect();
    let verb = match (difference.before, difference.after) {
        (Value::Null, _) => "added",
        (_, Value::Null) => "removed",
        _ => "changed",
    };
    if let Some(at) = path.iter().position(|part| *part == "env") {
        let name = path.get(at + 1).map_or("", |name| bare(name));
        return format!("environment {verb} ({name})");
    }
    if let Some(at) = path.iter().position(|part| HIDDEN.contains(part)) {
        let what = path[at];
        return match path.get(at + 1) {
            Some(name) => format!("{what} {verb} ({})", bare(name)),
            None => format!("{what} {verb}"),
        };
    }
    let what = match path.as_slice() {
        [.., "resources", kind @ ("limits" | "requests"), resource] => {
            let kind = if *kind == "limits" {
                "limit"
            } else {
                "reservation"
            };
            format!("{resource} {kind}")
        }
        _ => words(&path),
    };
    match (scalar(difference.before), scalar(difference.after)) {
        (Some(before), Some(after)) => format!("{what} {before} -> {after}"),
        (None, Some(after)) if difference.before.is_null() => format!("{what} {after} added"),
        (Some(before), None) if difference.after.is_null() => format!("{what} {before} removed"),
        _ => format!("{what} {verb}"),
    }
}

/// The path without what every path has: of the one container of a pod its name too.
fn words(path: &[&str]) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut after_containers = false;
    for part in path {
        if after_containers {
            after_containers = false;
            continue;
        }
        after_containers = *part == "containers";
        if SILENT.contains(part) {
            continue;
        }
        match (part.strip_prefix('['), kept.last_mut()) {
            (Some(_), Some(last)) => last.push_str(part),
            _ => kept.push((*part).to_owned()),
        }
    }
    kept.join(".")
}

fn bare(name: &str) -> &str {
    name.trim_start_matches('[').trim_end_matches(']')
}

/// A plain value that can be shown on a line.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(bool) => Some(bool.to_string()),
        _ => None,
    }
}
