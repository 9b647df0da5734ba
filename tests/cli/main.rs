//! The command line on a world in memory: exit code, stdout and stderr of whole
//! commands, compared as text.

mod commands;
mod docs;
mod drift;
mod errors;
mod events;
mod help;
mod interrupted;
mod pins;
mod releases;
mod secrets;
mod support;
mod templates;
