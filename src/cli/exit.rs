//! The exit codes: public, one enum, and the page generated from it.
//!
//! Nothing else in the program may name a number. Test: `docs/reference/exit-codes.md`
//! equals [`page`].

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// A bug.
    Internal = 1,
    /// Wrong usage.
    Usage = 2,
    /// `--check` found something.
    Pending = 3,
    /// The stack file is invalid.
    StackInvalid = 20,
    /// A build or a prepare command failed.
    BuildFailed = 21,
    /// An image cannot be had.
    ImageUnavailable = 22,
    /// The engine cannot be reached.
    Unreachable = 30,
    /// Declared demand does not fit.
    DoesNotFit = 40,
    /// Preflight refused.
    Refused = 41,
    /// The plan is stale.
    Stale = 42,
    /// Failed and rolled back.
    RolledBack = 50,
    /// Failed, and so did the rollback.
    RollbackFailed = 51,
    /// Failed, not rolled back.
    Failed = 52,
    /// The deadline passed.
    Deadline = 53,
    /// Another deploy holds the lock.
    Locked = 60,
    /// Failure of `exec` itself.
    Exec = 125,
    /// Interrupted by Ctrl-C.
    Interrupted = 130,
    /// Interrupted by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// Every code, in order.
    pub const ALL: [Self; 19] = [
        Self::Done,
        Self::Internal,
        Self::Usage,
        Self::Pending,
        Self::StackInvalid,
        Self::BuildFailed,
        Self::ImageUnavailable,
        Self::Unreachable,
        Self::DoesNotFit,
        Self::Refused,
        Self::Stale,
        Self::RolledBack,
        Self::RollbackFailed,
        Self::Failed,
        Self::Deadline,
        Self::Locked,
        Self::Exec,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The word for it in the last line of `-o json`.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Internal => "internal_error",
            Self::Usage => "wrong_usage",
            Self::Pending => "pending",
            Self::StackInvalid => "stack_invalid",
            Self::BuildFailed => "build_failed",
            Self::ImageUnavailable => "image_unavailable",
            Self::Unreachable => "unreachable",
            Self::DoesNotFit => "does_not_fit",
            Self::Refused => "refused",
            Self::Stale => "stale",
            Self::RolledBack => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
            Self::Failed => "failed",
            Self::Deadline => "deadline",
            Self::Locked => "locked",
            Self::Exec => "exec_failed",
            Self::Interrupted | Self::Terminated => "interrupted",
        }
    }

    /// What it means.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or nothing to do",
            Self::Internal => "internal error (a bug)",
            Self::Usage => "wrong usage",
            Self::Pending => "`--check`: changes pending, drift, or not converged",
            Self::StackInvalid => "stack file invalid",
            Self::BuildFailed => "image build or prepare failed",
            Self::ImageUnavailable => "image not available (pull, push, or missing for a rollback)",
            Self::Unreachable => "engine or cluster not reachable",
            Self::DoesNotFit => "declared demand does not fit the capacity: nothing was changed",
            Self::Refused => {
                "preflight refused (port taken, disk, foreign name): nothing was changed"
            }
            Self::Stale => "the plan is stale: nothing was changed",
            Self::RolledBack => "deploy failed, rolled back, the old release serves",
            Self::RollbackFailed => "deploy failed and rollback failed",
            Self::Failed => {
                "deploy failed, not rolled back (first release, or asked so): what serves is printed"
            }
            Self::Deadline => "deadline passed, still converging",
            Self::Locked => "another deploy holds the lock",
            Self::Exec => "`exec`, `run`: shopctl's own failure (else the command's code)",
            Self::Interrupted => "interrupted by Ctrl-C, at a safe point",
            Self::Terminated => "interrupted by SIGTERM, at a safe point",
        }
    }
}

/// The page for users, in Markdown.
pub fn page() -> String {
    use std::fmt::Write as _;
    let mut page = String::from(
        "# Exit codes\n\nGenerated from `src/cli/exit.rs`; a test keeps it equal. The word is `outcome` in the last line of\n\
         `-o json`. Codes are public: added, never renumbered.\n\n| code | outcome | meaning |\n| --- | --- | --- |\n",
    );
    for exit in Exit::ALL {
        // Writing into a String cannot fail.
        let _ = writeln!(
            page,
            "| {} | `{}` | {} |",
            exit.code(),
            exit.outcome(),
            exit.meaning()
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        for pair in Exit::ALL.windows(2) {
            assert!(pair[0].code() < pair[1].code(), "{pair:?}");
        }
    }
}
