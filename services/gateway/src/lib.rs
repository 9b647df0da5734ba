//! The gateway of a stack: the data plane behind its published ports, and the
//! small processes beside it.
//!
//! ```text
//! client ──▶ plane ──▶ upstream ──▶ replica          threads: one per core
//!              │take a target
//!              ▼
//!           routing ◀── control ◀── shopctl          one more thread
//!                          │
//!                        store (routes.json, stats)
//! ```
//!
//! In reading order: [`protocol`] (what shopctl and the gateway say to each
//! other), `routing` (which replica, and the promise of a switch without loss),
//! `upstream` (the way to it), `plane` (HTTP and TCP), `control`, `store`,
//! `run`, `succession` (a new program in a running gateway), `hold`.
//!
//! Decides nothing about deploying: it does what it is told, survives without
//! anybody to tell it, and says what goes through. It knows no Docker.

mod control;
mod error;
mod hold;
mod plane;
pub mod protocol;
mod report;
mod routing;
mod run;
mod runtime;
mod signal;
mod store;
mod succession;
mod upstream;

pub use control::bridge::ControlOptions;
pub use control::bridge::control;
pub use error::Error;
pub use hold::LockOptions;
pub use hold::keep;
pub use hold::lock;
pub use hold::lock_on;
pub use plane::listen::ListenSpec;
pub use report::Event;
pub use report::Report;
pub use run::Gateway;
pub use run::RunOptions;
pub use run::run;
pub use runtime::block_on;
pub use succession::Succession;
pub use upstream::resolve::Resolve;
pub use upstream::resolve::SystemResolver;
