//! What happened to a stack, by the engine's or the cluster's own word, as plain data.

use std::collections::BTreeMap;

use serde::Serialize;

/// One thing that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Happening {
    /// When, in milliseconds since the epoch.
    pub at: u64,
    /// Service it is about; empty for what is the stack's own.
    pub service: String,
    /// Number of the replica, where it has one; pods of a cluster have none.
    pub replica: Option<u32>,
    /// What it is about: the name of a container, or kind and name of an object.
    pub object: String,
    /// What happened: the engine's action, or the cluster's reason.
    pub action: String,
    /// The cluster calls it a warning.
    pub warning: bool,
    /// The cluster's words for it; an engine has none.
    pub message: String,
    /// What else is worth knowing, e.g. `exit_code`.
    pub details: BTreeMap<String, String>,
}
