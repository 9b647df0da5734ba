//! Networks, volumes, secrets and configs.

use super::key_span;
use super::section;
use crate::stack::report::At;
use crate::stack::report::Report;
use crate::stack::yaml::Entry;
use crate::stack::yaml::Value;

pub(super) fn check(tree: &super::Node, report: &mut Report) {
    for (section_name, sources) in [
        ("secrets", &["file", "environment"][..]),
        ("configs", &["file", "environment", "content"][..]),
    ] {
        let root = At::ROOT.key(section_name);
        for (name, entry) in section(tree, section_name) {
            one_source(sources, entry, &root.key(name), report);
        }
    }
    let root = At::ROOT.key("volumes");
    for (name, entry) in section(tree, "volumes") {
        alone_when_external(entry, &root.key(name), report);
    }
}

/// A secret or config has exactly one source.
fn one_source(sources: &[&str], entry: &Entry, at: &At<'_>, report: &mut Report) {
    let Some(map) = entry.node.as_map() else {
        return;
    };
    let given: Vec<&str> = sources
        .iter()
        .copied()
        .filter(|source| map.contains_key(*source))
        .collect();
    let names = sources.join(", ");
    if let [first, second, ..] = given[..] {
        report
            .error(
                "conflict",
                key_span(&entry.node, second).unwrap_or(entry.key),
                at,
                format!("{at} has both `{first}` and `{second}`"),
            )
            .related(
                key_span(&entry.node, first).unwrap_or_default(),
                "the other one",
            )
            .hint(format!("keep one of {names}"));
    }
    if given.is_empty() && !map.contains_key("external") && !map.contains_key("driver") {
        report
            .error("missing-key", entry.key, at, format!("{at} has no source"))
            .hint(format!("add one of {names}, or `external: true`"));
    }
}

/// What exists already cannot be described here.
fn alone_when_external(entry: &Entry, at: &At<'_>, report: &mut Report) {
    let Some(map) = entry.node.as_map() else {
        return;
    };
    let external = map.get("external");
    if external.is_none_or(|entry| entry.node.value != Value::Bool(true)) {
        return;
    }
    for (key, other) in map {
        if matches!(key.as_str(), "name" | "external") || key.starts_with("x-") {
            continue;
        }
        report
            .error(
                "conflict",
                other.key,
                at,
                format!("{at} is external, so `{key}` has no meaning"),
            )
            .related(
                external.map(|entry| entry.key).unwrap_or_default(),
                "external here",
            )
            .hint(format!("remove `{key}`"));
    }
}
