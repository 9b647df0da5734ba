//! What is seen: progress while something runs, answers when it is done.
//!
//! [`console`] is where words go, [`documents`] the answers as public data, their
//! [`tables`] for people, [`output`] the choice between both; [`package`] and [`helm`] are what
//! `render` writes; [`happenings`] is what `events` prints; [`progress`] follows
//! the events of a run on a terminal, as plain lines and as JSON lines. Nothing
//! here talks to a backend or decides anything.
//! Test: `cargo nextest run -p shopctl report`.

pub mod board;
pub mod console;
pub mod documents;
pub mod happenings;
pub mod helm;
pub mod history;
pub mod output;
pub mod package;
pub mod plain;
pub mod problems;
pub mod progress;
#[cfg(test)]
mod schema;
pub mod status;
pub mod tables;

pub use output::Format;
pub use progress::Mode;
pub use progress::Progress;
