//! Hooks, resolved: commands that run once around a change.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

/// The hooks of a service, or of the whole stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// Before a new revision gets its first replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_deploy: Option<Hook>,
    /// After every replica serves and the old ones are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_deploy: Option<Hook>,
    /// After the release that was gone back to serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_rollback: Option<Hook>,
}

/// One command that runs once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Program and arguments.
    pub command: Vec<String>,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
    /// Variables beside those of the service; one without a value is unset.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Option<String>>,
}

/// The hooks of the whole stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackHooks {
    /// The service whose image and settings the commands run with.
    pub service: String,
    /// The commands.
    #[serde(flatten)]
    pub hooks: Hooks,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before a new revision gets its first replica.
    PreDeploy,
    /// After every replica serves and the old ones are gone.
    PostDeploy,
    /// After the release that was gone back to serves.
    OnRollback,
}

impl Moment {
    /// Its key in the stack file.
    pub fn key(self) -> &'static str {
        match self {
            Self::PreDeploy => "pre_deploy",
            Self::PostDeploy => "post_deploy",
            Self::OnRollback => "on_rollback",
        }
    }
}

impl Hooks {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The hook of a moment, if there is one.
    pub fn at(&self, moment: Moment) -> Option<&Hook> {
        match moment {
            Moment::PreDeploy => self.pre_deploy.as_ref(),
            Moment::PostDeploy => self.post_deploy.as_ref(),
            Moment::OnRollback => self.on_rollback.as_ref(),
        }
    }
}
