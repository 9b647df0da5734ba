//! Lint.
use super::{model::Stack, report::Report, yaml::Node};
pub(crate) fn lint(_tree: &Node, _stack: &Stack, _report: &mut Report) {}
