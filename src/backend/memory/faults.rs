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
    /// The engine goes away, with all locks.
    pub away: Option<Away>,
    /// The engine stops: what is started ends well at once. It answers on all connections
    /// it has, locks are held, and whoever tries a new one finds it back at once.
    pub stopping: bool,
    /// So many more requests to a gateway end its connection instead.
    pub hang_ups: u32,
    /// Calls that failed by design.
    pub hits: u64,
}

/// An absence of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// It begins after so many calls.
    pub after: u64,
    /// It ends after so many questions.
    pub questions: u32,
}

impl Faults {
    /// Whether the engine is away when it is asked.
    pub(super) fn is_away(&mut self) -> bool {
        match &mut self.away {
            Some(away) if self.calls >= away.after => {
                if away.questions == 0 {
                    self.away = None;
                    return false;
                }
                away.questions -= 1;
                true
            }
            _ => false,
        }
    }

    /// Whether a gateway ends its connection now.
    pub(super) fn hangs_up(&mut self) -> bool {
        let hangs_up = self.hang_ups > 0;
        self.hang_ups = self.hang_ups.saturating_sub(1);
        hangs_up
    }

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
