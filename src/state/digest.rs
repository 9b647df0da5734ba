//! Digests that name a configuration, stable from version to version.
//!
//! The revision digest decides whether a container is still the right one. It
//! covers everything of a [`ContainerSpec`] except its live part, whose truth is
//! the engine's own. Golden values in the tests keep it stable: a digest that
//! moves would replace every container of every user. Test: `cargo nextest run
//! state::digest`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::desired::FileSet;
use super::names;
use super::observed::ObservedState;
use super::spec::ContainerSpec;

/// Prefix of the entries that name environment variables in [`fields`].
pub const ENVIRONMENT: &str = "environment.";

/// Digest of a revision: the spec without its live part, and the digests of the
/// file sets it mounts.
pub fn revision(spec: &ContainerSpec, files: &BTreeMap<String, String>) -> String {
    let mut document = object(spec);
    document.remove("live");
    let mut text = canonical(&Value::Object(document.into_iter().collect()));
    for (set, digest) in files {
        text.push('\n');
        text.push_str(set);
        text.push('=');
        text.push_str(digest);
    }
    names::hex(text.as_bytes())
}

/// Short digests of the fields of a spec, so that a later plan can name those
/// that changed. Variables of the environment are listed by name without any
/// digest: a short value could be guessed from one.
pub fn fields(spec: &ContainerSpec, files: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut digests = BTreeMap::new();
    for (field, value) in object(spec) {
        match field.as_str() {
            "live" => {}
            "environment" => digests.extend(
                spec.environment
                    .keys()
                    .map(|key| (format!("{ENVIRONMENT}{key}"), String::new())),
            ),
            _ => {
                digests.insert(field, short(&canonical(&value)));
            }
        }
    }
    for (set, digest) in files {
        digests.insert(format!("files.{set}"), short(digest));
    }
    digests
}

/// Digest of a file set: paths, owners, modes and contents.
pub fn file_set(set: &FileSet) -> String {
    let mut bytes = Vec::new();
    for (path, file) in &set.files {
        let head = format!(
            "{path}\0{}:{}:{:o}:{}\0",
            file.uid,
            file.gid,
            file.mode,
            file.content.len()
        );
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(&file.content);
    }
    names::hex(&bytes)
}

/// Digest of a look at the backend: the basis of a plan. Numbers that move
/// without anybody's doing are left out.
pub fn observed(state: &ObservedState) -> String {
    let mut state = state.clone();
    if let Some(store) = &mut state.store {
        store.performance.clear();
    }
    for instance in &mut state.instances {
        instance.memory_in_use = None;
    }
    names::hex(canonical(&value(&state)).as_bytes())
}

fn object(spec: &ContainerSpec) -> BTreeMap<String, Value> {
    match value(spec) {
        Value::Object(map) => map.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

fn value<T: Serialize>(data: &T) -> Value {
    serde_json::to_value(data).expect("plain data with text keys always serialises")
}

fn short(text: &str) -> String {
    names::hex(text.as_bytes())[..8].to_owned()
}

/// JSON with sorted keys and no blanks, whatever map type `serde_json` uses.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let parts: Vec<_> = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(list) => {
            let parts: Vec<_> = list.iter().map(canonical).collect();
            format!("[{}]", parts.join(","))
        }
        plain => plain.to_string(),
    }
}
