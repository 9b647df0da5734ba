//! What a gateway has to say about itself. The caller decides where it goes:
//! this library writes to no terminal and no log.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::protocol::Listen;

/// Receives events, on any thread; must not block.
pub type Report = Arc<dyn Fn(Event) + Send + Sync>;

/// Something worth a line in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The ports are open.
    Started {
        /// The gateway's name.
        name: String,
        /// Where it listens.
        listens: Vec<Listen>,
        /// The generation found in the store; 0 without one.
        generation: u64,
    },
    /// `routes.json` cannot be used.
    RoutesUnusable {
        /// Why.
        reason: String,
        /// The generation used instead; none: no routes.
        instead: Option<u64>,
    },
    /// A configuration came into force.
    Applied {
        /// Its lock id.
        lock: u64,
        /// Its generation.
        generation: u64,
    },
    /// The statistics cannot be written. Said once, until it works again.
    StatsFailed {
        /// Why.
        reason: String,
    },
    /// Another program serves from now on; what is under way here may end.
    MadeWay {
        /// Its name.
        program: String,
    },
    /// Another program could not take over, or will not be started again.
    NoSuccessor {
        /// Its name.
        program: String,
        /// Why.
        reason: String,
    },
    /// A signal came: no new connections, open ones may end.
    Stopping,
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::to_string(self) {
            Ok(line) => out.write_str(&line),
            Err(_) => write!(out, "{self:?}"),
        }
    }
}
