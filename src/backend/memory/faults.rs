//! Faults: which mutating call fails, and how.

use std::collections::BTreeMap;

use crate::backend::BackendError;

/// How one call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refused; nothing happened.
    Refused,
    /// It happened, and the reply was lost.
    ReplyLost,
}

/// Faults by number of the mutating call, from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Mutating calls so far.
    pub calls: u64,
    /// Which call fails how.
    pub at: BTreeMap<u64, Fault>,
    /// After so many calls nothing gets through any more.
    pub crash_after: Option<u64>,
    /// Calls that failed by design.
    pub hits: u64,
}

impl Faults {
    /// Runs one mutating call under the faults.
    pub(super) fn wrap(&mut self) -> Result<Option<Fault>, BackendError> {
        self.calls += 1;
        if self.crash_after.is_some_and(|last| self.calls > last) {
            self.hits += 1;
            return Err(unreachable());
        }
        let fault = self.at.get(&self.calls).copied();
        if fault.is_some() {
            self.hits += 1;
        }
        match fault {
            Some(Fault::Refused) => Err(BackendError::Engine {
                doing: format!("carry out call {}", self.calls),
                status: 500,
                message: "injected".to_owned(),
            }),
            other => Ok(other),
        }
    }
}

pub(super) fn unreachable() -> BackendError {
    BackendError::Unreachable {
        target: "memory".to_owned(),
        source: "the connection is cut".into(),
    }
}
