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

use super::cluster::Pods;
use super::desired::FileSet;
use super::names;
use super::observed::Engine;
use super::observed::ObservedState;
use super::observed::Role;
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
    if let Some(known) = &set.known {
        return known.clone();
    }
    let mut bytes = Vec::new();
    if set.memory {
        // Another volume, not the same one somewhere else.
        bytes.extend_from_slice(b"memory\0");
    }
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
    // What a user runs beside the stack is no part of it, and what others run on the
    // engine comes and goes: where it matters, the steps differ, or the plan is refused.
    state.instances.retain(|one| one.role != Role::Run);
    // Pods come and go as their cluster likes; what counts is what they are made from.
    if let Some(cluster) = &mut state.cluster {
        state.instances.clear();
        state.engine = Engine::default();
        cluster.nodes.clear();
        cluster.notes.clear();
        cluster.left.retain(|one| !one.runs);
        let next = cluster.next.values_mut().map(|next| &mut next.wanted);
        for one in cluster.wanted.iter_mut().chain(next) {
            one.pods = one.pods.take().map(|pods| Pods {
                replicas: pods.replicas,
                ..Pods::default()
            });
        }
    }
    state.foreign.clear();
    state.busy_ports.clear();
    state.disk_free = None;
    for instance in &mut state.instances {
        instance.memory_in_use = None;
    }
    for image in state.images.values_mut() {
        image.age_secs = None;
    }
    of(&state)
}

/// Digest of plain data, whatever the order of its maps.
pub fn of<T: Serialize>(data: &T) -> String {
    names::hex(canonical(&value(data)).as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::desired::SeedFile;
    use crate::state::spec::Endpoint;
    use crate::state::spec::NetworkMode;

    fn spec() -> ContainerSpec {
        let endpoint = Endpoint {
            aliases: vec!["order".to_owned()],
            ..Endpoint::default()
        };
        ContainerSpec {
            image: "shop-order:3f9a1c0b2d4e".to_owned(),
            command: Some(vec!["serve".to_owned()]),
            environment: BTreeMap::from([
                ("GREETING".to_owned(), Some("hello".to_owned())),
                ("GONE".to_owned(), None),
            ]),
            network: NetworkMode::Networks(BTreeMap::from([("default".to_owned(), endpoint)])),
            read_only: true,
            ..ContainerSpec::default()
        }
    }

    /// A digest that moves replaces every container of every user: change these
    /// values only with a migration.
    #[test]
    fn digests_are_golden() {
        let none = BTreeMap::new();
        let files = BTreeMap::from([("order-secrets".to_owned(), "ab".repeat(32))]);
        let digests = [
            revision(&ContainerSpec::default(), &none),
            revision(&spec(), &none),
            revision(&spec(), &files),
        ];
        assert_eq!(
            digests,
            [
                "b7314a2315e4823dd95c37ec13086a71437058eae99e8a36e9d96a3277b3bc4c",
                "c05553c845ade9c3b67bf365a998f2dc259f76f0c217bc6e547b97660612ed80",
                "aa6d84acdff6f7d75ab866bb8bb3ff5c25cd2708a03db0a3462a32e25369b3c8"
            ]
        );
    }

    #[test]
    fn live_fields_are_no_part_of_a_revision() {
        let mut other = spec();
        other.live.memory = Some(1 << 20);
        other.live.cpu_shares = Some(7);
        let none = BTreeMap::new();
        assert_eq!(revision(&other, &none), revision(&spec(), &none));
        assert_eq!(fields(&other, &none), fields(&spec(), &none));
    }

    #[test]
    fn a_removed_variable_is_not_an_absent_one() {
        let mut other = spec();
        other.environment.remove("GONE");
        let none = BTreeMap::new();
        assert_ne!(revision(&other, &none), revision(&spec(), &none));
    }

    #[test]
    fn no_digest_of_a_value_of_the_environment_is_kept() {
        let mut other = spec();
        other
            .environment
            .insert("GREETING".to_owned(), Some("bye".to_owned()));
        let none = BTreeMap::new();
        assert_eq!(fields(&other, &none), fields(&spec(), &none));
        assert_eq!(fields(&spec(), &none)["environment.GREETING"], "");
    }

    #[test]
    fn file_sets_differ_by_content_owner_and_mode() {
        let set = |content: &str, uid: u32, mode: u32| FileSet {
            files: BTreeMap::from([(
                "token".to_owned(),
                SeedFile {
                    content: content.as_bytes().to_vec(),
                    uid,
                    gid: 0,
                    mode,
                },
            )]),
            known: None,
            memory: false,
        };
        let digests = [
            file_set(&set("a", 0, 0o444)),
            file_set(&set("b", 0, 0o444)),
            file_set(&set("a", 1, 0o444)),
            file_set(&set("a", 0, 0o400)),
        ];
        let different: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(different.len(), digests.len());
    }

    #[test]
    fn numbers_that_move_by_themselves_are_no_basis_of_a_plan() {
        use crate::state::observed::Foreign;
        use crate::state::observed::Instance;
        use crate::state::observed::Performance;
        use crate::state::observed::StoreSnapshot;
        let mut state = ObservedState {
            instances: vec![Instance::default()],
            store: Some(StoreSnapshot::default()),
            ..ObservedState::default()
        };
        let before = observed(&state);
        state.instances[0].memory_in_use = Some(5);
        if let Some(store) = &mut state.store {
            store
                .performance
                .insert("order".to_owned(), Performance::default());
        }
        assert_eq!(observed(&state), before);
        state.foreign.push(Foreign::default());
        state.busy_ports.insert("*:8000/tcp".to_owned());
        state.disk_free = Some(1 << 30);
        assert_eq!(observed(&state), before, "what others do");
        state.instances[0].restarts = 1;
        assert_ne!(observed(&state), before);
    }
}
