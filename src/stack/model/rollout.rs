//! `x-shop.rollout`: a new revision that gets its requests in stages.

use std::time::Duration;

use serde::Serialize;

use crate::stack::Place;
use crate::stack::units::Ratio;

/// How a new revision of a service gets its requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShopRollout {
    /// Batch by batch, or in stages.
    pub strategy: Strategy,
    /// Header by which a request chooses its revision.
    pub header: Option<String>,
    /// Cookie that keeps a client with a revision.
    pub cookie: Option<String>,
    /// Host whose requests all go to the new revision.
    pub preview: Option<String>,
    /// Fewer requests than this say nothing about latency.
    pub min_requests: Option<u64>,
    /// Share of failed requests that is borne.
    pub max_errors: Option<Ratio>,
    /// How much slower than the old revision it may be, in percent.
    pub max_slowdown: Option<u32>,
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
}

/// Batch by batch, or in stages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// As `deploy.update_config` says.
    Rolling,
    /// A share that rises.
    Canary {
        /// The shares in percent, each with the time it is watched.
        steps: Vec<(u32, Duration)>,
    },
    /// All at once, after a look and with the way back kept open.
    BlueGreen {
        /// How long the new revision can be looked at before the switch.
        pause: Duration,
        /// How long the old one stays after it.
        hold: Duration,
    },
}
