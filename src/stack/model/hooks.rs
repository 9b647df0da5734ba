//! `x-shop.hooks`: commands that run once around a change.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::stack::Place;

/// What runs around a change of a service, or of the whole stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hooks {
    /// The service whose image and settings the commands run with; only the
    /// stack's own hooks name one.
    pub service: Option<String>,
    /// Before a new revision gets its first replica.
    pub pre_deploy: Option<ShopHook>,
    /// After every replica serves.
    pub post_deploy: Option<ShopHook>,
    /// After the release that was gone back to serves.
    pub on_rollback: Option<ShopHook>,
    /// Where they are declared.
    #[serde(skip)]
    pub place: Place,
}

/// One command that runs once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShopHook {
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Variables beside those of the service; one without a value is unset.
    pub environment: BTreeMap<String, Option<String>>,
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
}

impl ShopHook {
    /// How long a hook may take that says nothing about it.
    pub const TIMEOUT: Duration = Duration::from_mins(5);
}
