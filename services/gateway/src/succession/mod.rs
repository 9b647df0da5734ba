//! A new program in the place of a running gateway, without a refused connection.
//!
//! ```text
//! shopctl ──upgrade──▶ gateway ──starts──▶ successor
//!                         │   listening sockets  ▲
//!                         └──────────────────────┘
//! ```
//!
//! The successor takes over the listening sockets themselves, so that no connection in
//! their queues is lost, and says that it serves. From then on the old program accepts
//! no more, lets what it has under way end, and ends, but for the first process of the
//! container, which minds the others: it passes signals on and ends with them.
//!
//! [`estate`] is what is handed over and [`channel`] the way, [`programs`] the folder of
//! programs and which of them a container starts, [`successor`] the processes, [`legacy`]
//! what a running gateway knows of it.
//!
//! Test: `tests/gateway/succession.rs`.

mod channel;
pub(crate) mod estate;
pub(crate) mod legacy;
mod programs;
pub(crate) mod successor;

use std::ffi::OsString;
use std::path::PathBuf;

/// How a gateway makes way for another program.
#[derive(Debug, Clone)]
pub struct Succession {
    /// What this program is called; the digest of the data plane it was built with.
    pub program: String,
    /// The program that the container's image starts, where that is another one.
    pub base: Option<String>,
    /// The folder in which shopctl puts programs: each by its name, beside it
    /// `<name>.sha256` with its digest in hex.
    pub folder: PathBuf,
    /// The command line of this process, without the program itself.
    pub arguments: Vec<OsString>,
    /// Takes over from the process that started this one.
    pub take_over: bool,
}

impl Succession {
    /// The options by which a process is told that it is not the first one, and what
    /// that was called.
    pub const TAKE_OVER: &'static str = "--take-over";
    /// See [`TAKE_OVER`](Self::TAKE_OVER).
    pub const BASE: &'static str = "--base";

    fn first(&self) -> &str {
        self.base.as_deref().unwrap_or(&self.program)
    }

    /// The command line of the program after this one.
    fn next_arguments(&self, takes_over: bool) -> Vec<OsString> {
        let mut arguments = self.arguments.clone();
        arguments.retain(|one| one != Self::TAKE_OVER);
        if self.base.is_none() {
            arguments.extend([Self::BASE.into(), self.program.clone().into()]);
        }
        if takes_over {
            arguments.push(Self::TAKE_OVER.into());
        }
        arguments
    }
}
