//! Health checks.

use std::time::Duration;

use serde::Serialize;

/// The `healthcheck` of a service. What is absent is left to the image, then
/// to the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Healthcheck {
    /// The check.
    pub test: HealthTest,
    /// Time between two checks.
    pub interval: Option<Duration>,
    /// Time one check may take.
    pub timeout: Option<Duration>,
    /// Failures in a row that make it unhealthy.
    pub retries: Option<u64>,
    /// Time to start in which failures do not count.
    pub start_period: Option<Duration>,
    /// Time between two checks while it starts.
    pub start_interval: Option<Duration>,
}

/// What a health check runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthTest {
    /// The image's own check.
    #[default]
    Inherit,
    /// None: `disable: true` or `NONE`.
    Disabled,
    /// A program with arguments (`CMD`).
    Command(Vec<String>),
    /// A line for the container's shell (`CMD-SHELL`).
    Shell(String),
}
