//! What the user wrote: a Compose Specification file with `x-shop`, typed.
//!
//! ```text
//! files ─yaml─▶ Node ─interpolate─▶ Node ─include, extends, merge─▶ Node
//!       ─canonical (one table of keys)─▶ Node ─┬─decode─▶ Stack ─check, lint
//!                                              └─config─▶ JSON, YAML, lists
//! ```
//!
//! Every [`yaml::Node`](crate::stack::yaml) keeps the place it was written at,
//! so each stage can point into the user's file. The module uses no other
//! module of this crate, no network, no clock and no process environment; it
//! reads files in `load.rs` alone.
//!
//! Test it with `cargo nextest run -p shopctl stack`; the conformance cases
//! run from `tests/compose.rs`.

pub mod load;
pub mod model;
pub mod problem;
pub mod units;

mod assemble;
mod canonical;
mod check;
mod complete;
pub mod config;
mod decode;
mod dotenv;
mod forms;
mod interpolate;
mod keys;
mod lint;
mod merge;
mod path;
mod reference;
mod report;
mod schema;
mod select;
mod source;
mod yaml;

pub use load::LoadRequest;
pub use load::Loaded;
pub use load::load;
pub use model::Service;
pub use model::Stack;
pub use problem::Place;
pub use problem::Problem;
pub use problem::Problems;
pub use problem::Severity;
pub use reference::page as reference;
pub use schema::schema;
