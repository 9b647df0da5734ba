//! What the planner is given.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::capacity::ratio::Policy;
use crate::state::desired::DesiredState;
use crate::state::observed::ObservedState;

/// Everything a plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// What should be.
    pub desired: &'a DesiredState,
    /// What is.
    pub observed: &'a ObservedState,
    /// What the user asked for beside the file.
    pub options: &'a Options,
}

impl PlanInput<'_> {
    /// What the capacity check may let pass.
    pub(super) fn policy(&self) -> Policy {
        let file = match self.desired.cpu_overcommit_percent {
            0 => 100,
            percent => percent,
        };
        Policy {
            strict: self.desired.strict_capacity,
            cpu_percent: self.options.cpu_overcommit_percent.unwrap_or(file),
        }
    }
}

/// What the user asked for beside the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// What the plan is for.
    pub goal: Goal,
    /// Which services of ours that left the file are removed.
    pub prune: Prune,
    /// It goes back: dependents change before what they need.
    pub backwards: bool,
    /// On the way back from a change that failed: the services it had begun with.
    pub begun: BTreeSet<String>,
    /// Forget the counts that `scale` set.
    pub reset_scale: bool,
    /// Counts asked for now.
    pub scale: BTreeMap<String, ScaleTo>,
    /// CPU demand allowed in percent of the capacity; the file's when `None`.
    pub cpu_overcommit_percent: Option<u32>,
    /// Image of the data plane that speaks this version's words; empty: any does.
    pub data_plane: String,
    /// Pull images even when the engine has them.
    pub pull: bool,
    /// What this run has learned that a look does not tell.
    pub learned: Learned,
}

impl Options {
    /// The data plane's name, without the repository of its image.
    pub(super) fn program(&self) -> Option<&str> {
        let (_, program) = self.data_plane.split_once(':')?;
        Some(program)
    }
}

/// What a run has learned that a look does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learned {
    /// It has begun to change things: what was in the way before is no longer asked.
    pub begun: bool,
    /// References that it has pulled already.
    pub pulled: BTreeSet<String>,
    /// What would not change, and is left as it is: networks that the engine will not
    /// remove though nothing is in them, gateways that cannot be upgraded.
    pub stuck: BTreeSet<String>,
    /// Containers whose gate has opened.
    pub proved: BTreeSet<String>,
    /// Hooks that have run, by container name.
    pub tasks: BTreeSet<String>,
    /// Service and slot of replicas that failed and were borne: their old ones stay.
    pub borne: BTreeSet<(String, u32)>,
}

/// Which services of ours that left the file are removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Prune {
    /// None; they are named.
    #[default]
    Nothing,
    /// These.
    Only(BTreeSet<String>),
    /// All.
    All,
}

impl Prune {
    /// Whether a service that left the file is removed.
    pub fn covers(&self, service: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Only(names) => names.contains(service),
            Self::All => true,
        }
    }
}

impl From<bool> for Prune {
    fn from(all: bool) -> Self {
        if all { Self::All } else { Self::Nothing }
    }
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Goal {
    /// The file's state.
    #[default]
    Deploy,
    /// The same containers, started anew.
    Restart,
    /// Nothing left of the stack.
    Down {
        /// Remove named volumes and the store too.
        volumes: bool,
    },
}

/// A replica count asked for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScaleTo {
    /// So many.
    Count {
        /// Replicas.
        replicas: u32,
        /// Who asks.
        by: String,
        /// Seconds since the epoch.
        at: u64,
    },
    /// What the file says.
    File,
}
