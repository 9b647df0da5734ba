//! Events: the only thing reporters ever see of a run.

use serde::Deserialize;
use serde::Serialize;

use crate::plan::action::Cause;
use crate::plan::action::StepId;

/// One event of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Event {
    /// Version of this format.
    pub version: String,
    /// Milliseconds since the epoch.
    pub at: u64,
    /// Run it belongs to.
    pub run: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum EventKind {
    /// A plan was made.
    Planned {
        /// Number of steps.
        steps: usize,
        /// One line per change, as `plan` prints them.
        changes: Vec<String>,
    },
    /// The run waits for another run's lock.
    LockWaiting {
        /// Who holds it.
        holder: String,
    },
    /// A prepare command starts on this host.
    PrepareStarted {
        /// Service.
        service: String,
        /// Command as typed.
        command: String,
    },
    /// A prepare command ended, or was skipped because its inputs are unchanged.
    PrepareFinished {
        /// Service.
        service: String,
        /// Skipped.
        skipped: bool,
        /// Milliseconds it took.
        elapsed_ms: u64,
    },
    /// A step starts.
    StepStarted {
        /// Step.
        step: StepId,
        /// Service, or empty.
        service: String,
        /// What is done, in words.
        what: String,
        /// Why.
        cause: Cause,
    },
    /// Progress inside a step: build output, pull progress, what a gate waits for.
    StepProgress {
        /// Step.
        step: StepId,
        /// Service, or empty.
        service: String,
        /// One line.
        text: String,
    },
    /// A step ended well.
    StepFinished {
        /// Step.
        step: StepId,
        /// Service, or empty.
        service: String,
        /// What was done, in words.
        what: String,
        /// Milliseconds it took.
        elapsed_ms: u64,
    },
    /// A step failed.
    StepFailed {
        /// Step.
        step: StepId,
        /// Service, or empty.
        service: String,
        /// What was tried, in words.
        what: String,
        /// Why it failed, cause chain once.
        error: String,
        /// Last log lines or build output, secrets filtered.
        output: Vec<String>,
    },
    /// The change failed; the stack goes back to a stable release.
    RollbackStarted {
        /// Number of that release.
        to: u64,
        /// What failed, in words.
        reason: String,
    },
    /// The engine or a gateway went away; the run waits for it, and goes on.
    Retrying {
        /// What went away, in words.
        reason: String,
        /// It is waited for so many milliseconds at most.
        for_ms: u64,
    },
    /// Something to know.
    Warning {
        /// The words.
        message: String,
    },
    /// The last event of every run.
    Finished {
        /// `done`, `nothing_to_do`, `failed`, `interrupted` …
        outcome: String,
        /// What serves now, where that needs saying.
        detail: String,
        /// Exit code of the process.
        exit_code: u8,
    },
}
