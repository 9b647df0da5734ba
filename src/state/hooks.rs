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

/// Commands that run inside each replica of a service at the turns of its life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lifecycle {
    /// After it has started, before its gate is asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub post_start: Vec<Inside>,
    /// Before it is stopped, when no request is under way in it any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre_stop: Vec<Inside>,
    /// How long those after the start may take together, in milliseconds.
    pub start_limit_ms: u64,
    /// How long those before the stop may take together, in milliseconds.
    pub stop_limit_ms: u64,
}

impl Lifecycle {
    /// Whether there is no command.
    pub fn is_empty(&self) -> bool {
        self.post_start.is_empty() && self.pre_stop.is_empty()
    }
}

/// A command that runs inside a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inside {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `user[:group]`; the container's own where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// With all capabilities.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Working directory; the container's own where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Variables beside those of the container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Option<String>>,
}

/// A container that runs to its end before a replica of its service starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PreStart {
    /// Arguments; the image's own where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Its image; the service's where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// `user[:group]`; of the image, or where that is the service's, the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// With all capabilities.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Working directory; the service's where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Variables beside those of the service; one without a value is unset.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Option<String>>,
    /// Once for each replica, not once for all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub per_replica: bool,
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
    /// Before a replica starts: the first one of a new revision, or each.
    PreStart,
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
            Self::PreStart => "pre_start",
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
            // A key of the specification, which stands with the container.
            Moment::PreStart => None,
            Moment::PostDeploy => self.post_deploy.as_ref(),
            Moment::OnRollback => self.on_rollback.as_ref(),
        }
    }
}
