//! What every service of the shop shares, so that a service holds its business and nothing else.
//!
//! In reading order: [`host`] starts a service, serves it and drains it on SIGTERM; [`admin`] answers health, readiness and
//! metrics on a second port; [`telemetry`] follows each request; [`problem`], [`reply`], [`body`], [`key`], [`page`], [`money`]
//! are the manners of the API; [`client`] speaks to other services; `sqlite` keeps state, remembers keyed requests, and
//! delivers events.
//!
//! The kit knows no order and no article: a rule of the shop's business does not belong here.

pub mod admin;
pub mod body;
pub mod client;
pub mod clock;
pub mod env;
pub mod etag;
mod hex;
pub mod host;
pub mod key;
pub mod log;
pub mod metrics;
pub mod money;
pub mod page;
pub mod probe;
pub mod problem;
pub mod reply;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;

pub use host::{About, Host, StartError, main};
pub use problem::{Kind, Problem};
pub use reply::Reply;
