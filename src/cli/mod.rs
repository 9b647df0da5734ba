//! The commands: one file each. Flags in [`args`], flags and environment
//! together in [`settings`], wording and exit codes in [`error`] and [`exit`].
//!
//! No business rule lives here: a command loads, observes, plans, shows, and
//! hands over to `exec`. [`process`] is the way in from `main`, [`run`] the same
//! without a process. Test: whole commands by [`run`] on the memory backend, as in
//! `tests/cli_commands.rs`.

pub mod args;
mod change;
mod commands;
pub mod error;
pub mod exit;
pub mod process;
mod project;
mod run;
mod scene;
pub mod settings;
mod world;

pub use run::Invocation;
pub use run::run;
pub use scene::Signals;
pub use world::DockerWorld;
pub use world::World;
