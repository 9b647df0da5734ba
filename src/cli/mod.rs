//! The commands: one file each. Flags in [`args`], flags and environment
//! together in [`settings`], wording and exit codes in [`error`] and [`exit`].
//!
//! No business rule lives here: a command loads, observes, plans, shows, and
//! hands over to `exec`. Test: whole commands with [`run`] on the memory backend.

pub mod args;
mod change;
mod deploy;
mod down;
pub mod error;
pub mod exit;
mod plan;
mod project;
mod restart;
mod scale;
pub mod settings;
mod status;
mod world;
