//! From the complete tree to the typed stack.
//!
//! The tree is in canonical form and was checked, so that little can go wrong
//! here: what is left are values whose meaning only this module knows. A value
//! that was reported already is skipped.

mod blkio;
mod build;
mod deploy;
mod hooks;
mod objects;
mod rollout;
mod service;
mod shop;

use std::collections::BTreeMap;
use std::time::Duration;

use super::assemble::Environment;
use super::model::Stack;
use super::problem::Place;
use super::report::At;
use super::report::Report;
use super::source::Sources;
use super::source::Span;
use super::units;
use super::units::NanoCpus;
use super::yaml::Entry;
use super::yaml::Map;
use super::yaml::Node;
use super::yaml::Value;

/// Decodes the whole stack. `bases` are services that are not in the tree, whose images
/// others are built from.
pub(crate) fn stack(
    tree: &Node,
    bases: &Map,
    environment: &Environment,
    sources: &Sources,
    report: &mut Report,
) -> Stack {
    let mut decoder = Decoder {
        environment,
        sources,
        report,
    };
    let at = At::ROOT.key("services");
    let mut service = |(name, entry): (&String, &Entry)| {
        let service = decoder.service(name, entry.key, &entry.node, &at.key(name));
        (name.clone(), service)
    };
    let services = entries(tree, "services").map(&mut service).collect();
    let bases = bases.iter().map(&mut service).collect();
    Stack {
        name: tree.text_of("name").unwrap_or_default().to_owned(),
        services,
        networks: decoder.networks(tree),
        volumes: decoder.volumes(tree),
        secrets: decoder.file_objects(tree, "secrets"),
        configs: decoder.file_objects(tree, "configs"),
        shop: decoder.stack_shop(tree),
        inactive: std::collections::BTreeSet::new(),
        bases,
        profiles: std::collections::BTreeSet::new(),
        working_dir: std::path::PathBuf::new(),
        files: Vec::new(),
        env_files: Vec::new(),
    }
}

struct Decoder<'a> {
    environment: &'a Environment,
    sources: &'a Sources,
    report: &'a mut Report,
}

impl Decoder<'_> {
    fn place(&self, span: Span) -> Place {
        if span.file == 0 {
            return Place::default();
        }
        self.sources.place(span)
    }

    /// Reports a value that means nothing.
    fn invalid(&mut self, node: &Node, at: &At<'_>, wanted: &str, hint: &str) {
        let shown = node.scalar_text().unwrap_or_default();
        let message = format!("{at}: `{shown}` is not {wanted}");
        self.report
            .error("value", node.span, at, message)
            .hint(hint);
    }

    /// Reports a value that Docker Compose lets pass, and no target takes.
    fn unfit(&mut self, node: &Node, at: &At<'_>, wanted: &str, hint: &str) {
        let shown = node.scalar_text().unwrap_or_default();
        let message = format!("{at}: `{shown}` is not {wanted}");
        self.report
            .unfit("value", node.span, at, message)
            .hint(hint);
    }

    /// A duration that cannot be negative.
    fn duration(&mut self, node: &Node, key: &str, at: &At<'_>) -> Option<Duration> {
        let value = node.get(key)?;
        let nanos = units::parse_duration(value.as_text()?)?;
        if let Ok(nanos) = u64::try_from(nanos) {
            Some(Duration::from_nanos(nanos))
        } else {
            self.unfit(value, &at.key(key), "a duration from 0 on", "write 30s");
            None
        }
    }

    /// A number of bytes that cannot be negative.
    fn bytes(&mut self, node: &Node, key: &str, at: &At<'_>) -> Option<u64> {
        let value = node.get(key)?;
        let bytes = value.as_text()?.parse::<i64>().ok()?;
        if let Ok(bytes) = u64::try_from(bytes) {
            Some(bytes)
        } else {
            self.unfit(
                value,
                &at.key(key),
                "a number of bytes from 0 on",
                "write 64m",
            );
            None
        }
    }
}

/// The entries of a mapping under `key`.
fn entries<'n>(
    node: &'n Node,
    key: &str,
) -> impl Iterator<Item = (&'n String, &'n Entry)> + use<'n> {
    node.get(key).and_then(Node::as_map).into_iter().flatten()
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.text_of(key)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn flag(node: &Node, key: &str) -> Option<bool> {
    match node.get(key)?.value {
        Value::Bool(value) => Some(value),
        _ => None,
    }
}

fn is_set(node: &Node, key: &str) -> bool {
    flag(node, key) == Some(true)
}

fn int(node: &Node, key: &str) -> Option<i64> {
    match node.get(key)?.value {
        Value::Int(value) => i64::try_from(value).ok(),
        _ => None,
    }
}

/// A number whose range the table has checked.
fn number<T: TryFrom<i64>>(node: &Node, key: &str) -> Option<T> {
    T::try_from(int(node, key)?).ok()
}

/// Bytes that may be -1.
fn signed_bytes(node: &Node, key: &str) -> Option<i64> {
    node.text_of(key)?.parse().ok()
}

fn cpus(node: &Node, key: &str) -> Option<NanoCpus> {
    let value = node.get(key)?;
    let text = match &value.value {
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        _ => return None,
    };
    units::parse_cpus(&text).filter(|cpus| cpus.0 > 0)
}

fn list<'n>(node: &'n Node, key: &str) -> &'n [Node] {
    node.get(key).and_then(Node::as_list).unwrap_or_default()
}

fn texts(node: &Node, key: &str) -> Vec<String> {
    list(node, key)
        .iter()
        .filter_map(Node::scalar_text)
        .collect()
}

fn pairs(node: &Node, key: &str) -> BTreeMap<String, String> {
    entries(node, key)
        .map(|(name, entry)| (name.clone(), entry.node.scalar_text().unwrap_or_default()))
        .collect()
}

/// Pairs whose values may be missing.
fn variables(node: &Node, key: &str) -> BTreeMap<String, Option<String>> {
    entries(node, key)
        .map(|(name, entry)| (name.clone(), entry.node.scalar_text()))
        .collect()
}

fn hosts(node: &Node, key: &str) -> BTreeMap<String, Vec<String>> {
    entries(node, key)
        .map(|(name, entry)| {
            let addresses = entry.node.as_list().unwrap_or_default();
            (
                name.clone(),
                addresses.iter().filter_map(Node::scalar_text).collect(),
            )
        })
        .collect()
}

/// A value as JSON, for what is kept and not looked into.
fn json(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => i64::try_from(*value).map_or(Json::Null, Json::from),
        Value::Float(value) => Json::from(*value),
        Value::Time(text) | Value::Text(text) => Json::String(text.clone()),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Map(map) => map
            .iter()
            .map(|(name, entry)| (name.clone(), json(&entry.node)))
            .collect(),
    }
}

/// Where the keys of a mapping stand.
fn places(decoder: &Decoder<'_>, map: Option<&Map>) -> BTreeMap<String, Place> {
    map.into_iter()
        .flatten()
        .filter(|(_, entry)| entry.key.file != 0)
        .map(|(name, entry)| (name.clone(), decoder.place(entry.key)))
        .collect()
}
