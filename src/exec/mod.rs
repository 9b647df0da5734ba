//! Doing it: runs a plan's steps against a backend and tells what happens.
//!
//! The executor decides nothing: order, gates and causes come from the plan,
//! words and exit codes belong to the reporters and the command line. It keeps
//! three promises: a failed step never releases its dependents, nothing is
//! changed without holding the lock, and every wait has a deadline.

mod bear;
mod dispatch;
mod gates;
mod hold;
mod ledger;
mod lifecycle;
mod mission;
mod outage;
mod pins;
mod prune;
mod queue;
mod recover;
mod rollback;
mod rolled;
mod secrets;
mod steps;
mod task;
mod verdict;

pub use bear::Borne;
pub use dispatch::run;
pub use mission::Agreed;
pub use mission::MakePlan;
pub use mission::Mission;
pub use mission::ProvideHelper;
pub use mission::Verdict;
pub use mission::carry_out;
pub use pins::Pins;
pub use rollback::missing;
pub use secrets::Secrets;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::backend::BackendError;
use crate::backend::BuildImages;
use crate::backend::Context;
use crate::backend::Lock;
use crate::event::Event;
use crate::event::EventKind;
use crate::plan::action::Plan;
use crate::plan::action::StepId;
use crate::state::hooks::Moment;
use crate::state::observed::ObservedState;

/// Everything one run of a plan needs.
pub struct Job<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// The world the plan was made for.
    pub observed: &'a ObservedState,
    /// Run id, helper image, files to seed.
    pub context: &'a Context,
    /// The lock, held.
    pub lock: &'a dyn Lock,
    /// What the gateways know this holder by; see [`crate::gateway::fence`].
    pub fence: u64,
    /// What references of images mean in this run.
    pub pins: &'a Pins,
    /// Builds images.
    pub builds: &'a dyn BuildImages,
    /// Values that must not appear in any event.
    pub secrets: &'a Secrets,
    /// Time limit of the whole run.
    pub timeout: Option<Duration>,
    /// Becomes true when the run should stop at the next safe point.
    pub stop: watch::Receiver<bool>,
}

/// How a run of a plan ended.
#[derive(Debug)]
pub enum Ended {
    /// Every step succeeded.
    Done {
        /// What would not change, and is left as it is.
        stuck: BTreeSet<String>,
        /// Replicas that failed and were borne.
        borne: Vec<Borne>,
    },
    /// A step failed; nothing that depends on it ran.
    Failed(Box<Failure>),
    /// Stopped at a safe point with so many steps left.
    Stopped {
        /// Steps that did not run.
        left: usize,
    },
    /// The time limit passed with so many steps left.
    TimedOut {
        /// Steps that did not run.
        left: usize,
    },
}

/// The first step that failed.
#[derive(Debug)]
pub struct Failure {
    /// Its number; 0 when the run could not begin.
    pub step: StepId,
    /// Service it belongs to, empty for the stack's own steps.
    pub service: String,
    /// Why.
    pub error: StepError,
    /// The error and its causes in words, secrets filtered.
    pub message: String,
    /// Last log lines or build output, secrets filtered.
    pub output: Vec<String>,
    /// Something was changed, images aside.
    pub changed: bool,
    /// Services of which a hook or a replica was among it.
    pub begun: BTreeSet<String>,
    /// What can be done about it, where that follows from how it failed.
    pub advice: Option<String>,
    /// Steps that had succeeded.
    pub succeeded: BTreeSet<StepId>,
    /// Replicas that had failed before and were borne.
    pub borne: Vec<Borne>,
}

impl Failure {
    /// Of the run as a whole, before or between its steps.
    fn of_run(error: StepError) -> Self {
        Self {
            step: 0,
            service: String::new(),
            message: dispatch::chain(&error),
            error,
            output: Vec::new(),
            changed: false,
            begun: BTreeSet::new(),
            succeeded: BTreeSet::new(),
            borne: Vec::new(),
            advice: None,
        }
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A backend call failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The gateway refused, or did not answer.
    #[error(transparent)]
    Gateway(#[from] crate::gateway::GatewayError),
    /// A container ended while it was waited for.
    #[error("{container} ended {times} with exit code {code}{}", if *.oom { " (out of memory)" } else { "" })]
    Exited {
        /// Container name.
        container: String,
        /// Exit code.
        code: i64,
        /// Killed for lack of memory.
        oom: bool,
        /// `once` or `3 times`.
        times: String,
    },
    /// The engine's check says unhealthy.
    #[error("{container} is unhealthy by its health check")]
    Unhealthy {
        /// Container name.
        container: String,
    },
    /// Others wait until it is healthy, and nothing says whether it is.
    #[error(
        "{container} has no health check, and others wait until it is healthy: give the service a healthcheck, or depend on service_started"
    )]
    NoCheck {
        /// Container name.
        container: String,
    },
    /// The gate did not open in time.
    #[error("{container} was not ready after {seconds} s: {last}")]
    NotReady {
        /// Container name.
        container: String,
        /// Time waited.
        seconds: u64,
        /// Last observation.
        last: String,
    },
    /// What was planned when something had been changed already was refused.
    #[error("the rest cannot be done: {why}")]
    Refused {
        /// What is in the way.
        why: String,
    },
    /// More replicas failed than are borne.
    #[error("{what}")]
    Replicas {
        /// Of which services how many, each with its reason.
        what: String,
    },
    /// A cluster did not replace the pods of a workload.
    #[error("{workload} was not rolled out: {why}")]
    NotRolledOut {
        /// Its kind and name.
        workload: String,
        /// What was seen.
        why: String,
        /// A pod that shows why, where one does.
        pod: Option<String>,
    },
    /// A new revision did worse than is borne.
    #[error("the new revision of {service} failed its verdict: {why}")]
    Verdict {
        /// Service.
        service: String,
        /// What was seen.
        why: String,
    },
    /// A hook failed.
    #[error("{ending}")]
    Hook {
        /// When it ran.
        moment: Moment,
        /// Which one, its command, and how it ended.
        ending: String,
        /// What it said, secrets filtered.
        output: Vec<String>,
    },
    /// A command inside a container failed.
    #[error("{ending}")]
    Inside {
        /// Which one, where, and how it ended.
        ending: String,
        /// What it said, secrets filtered.
        output: Vec<String>,
    },
    /// The run was told to stop while it waited.
    #[error("stopped while waiting for {container}")]
    Stopped {
        /// Container name.
        container: String,
    },
}

/// Where a run's events go; stamps each with time and run id.
#[derive(Debug, Clone)]
pub struct Emitter {
    sender: mpsc::UnboundedSender<Event>,
    run: String,
}

impl Emitter {
    /// An emitter for one run.
    pub fn new(sender: mpsc::UnboundedSender<Event>, run: impl Into<String>) -> Self {
        Self {
            sender,
            run: run.into(),
        }
    }

    /// Sends an event; a reporter that has gone away is no error.
    pub fn emit(&self, kind: EventKind) {
        let at = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            });
        let _ = self.sender.send(Event {
            version: "1".into(),
            at,
            run: self.run.clone(),
            kind,
        });
    }
}
