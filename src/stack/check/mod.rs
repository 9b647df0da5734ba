//! Checks that need the merged stack: what is missing, what does not exist,
//! what contradicts itself. Works on the tree, where every value knows its
//! place.

mod graph;
mod objects;
mod places;
mod services;
mod table;

use std::collections::BTreeSet;

use super::report::At;
use super::report::Report;
use super::select::profiles_of;
use super::source::Span;
use super::yaml::Entry;
use super::yaml::Map;
use super::yaml::Node;

/// Every profile that the services name.
pub(crate) fn profiles(tree: &Node) -> BTreeSet<String> {
    section(tree, "services")
        .flat_map(|(_, entry)| profiles_of(&entry.node))
        .collect()
}

/// Reports everything that is wrong with the stack as a whole.
pub(crate) fn check(tree: &Node, inactive: &Map, report: &mut Report) {
    table::check(tree, inactive, report);
    let root = At::ROOT.key("services");
    let stack = Whole { tree, inactive };
    for (name, entry) in section(tree, "services") {
        let at = root.key(name);
        let service = One {
            name,
            entry,
            node: &entry.node,
        };
        services::check(&stack, service, &at, report);
    }
    objects::check(tree, report);
    graph::check(&stack, report);
    places::check(tree, report);
}

/// The stack around what is checked.
#[derive(Clone, Copy)]
struct Whole<'t> {
    tree: &'t Node,
    inactive: &'t Map,
}

/// The service that is checked.
#[derive(Clone, Copy)]
struct One<'t> {
    name: &'t str,
    entry: &'t Entry,
    node: &'t Node,
}

impl<'t> One<'t> {
    /// Where a key of the service stands, or else the service.
    fn key(&self, key: &str) -> Span {
        key_span(self.node, key).unwrap_or(self.entry.key)
    }

    fn list(&self, key: &str) -> &'t [Node] {
        self.node
            .get(key)
            .and_then(Node::as_list)
            .unwrap_or_default()
    }

    fn map(&self, key: &str) -> impl Iterator<Item = (&'t String, &'t Entry)> + use<'t> {
        self.node
            .get(key)
            .and_then(Node::as_map)
            .into_iter()
            .flatten()
    }
}

/// The entries of a section.
fn section<'t>(
    tree: &'t Node,
    name: &str,
) -> impl Iterator<Item = (&'t String, &'t Entry)> + use<'t> {
    tree.get(name).and_then(Node::as_map).into_iter().flatten()
}

/// Where a key of a mapping stands, when the user wrote it.
fn key_span(node: &Node, key: &str) -> Option<Span> {
    node.as_map()?
        .get(key)
        .map(|entry| entry.key)
        .filter(|span| span.file != 0)
}

/// A value inside mappings: `deploy.resources.limits`.
fn inner<'t>(node: &'t Node, keys: &[&str]) -> Option<&'t Node> {
    keys.iter().try_fold(node, |node, key| node.get(key))
}
