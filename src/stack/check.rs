//! Checks that need the whole stack.
use super::report::Report;
use super::yaml::{Map, Node};
use std::collections::BTreeSet;
pub(crate) fn profiles(_tree: &Node) -> BTreeSet<String> {
    BTreeSet::new()
}
pub(crate) fn check(_tree: &Node, _inactive: &Map, _report: &mut Report) {}
