//! Why a subcommand ended. Faults of single control requests are
//! [`protocol::Fault`](crate::protocol::Fault).

use std::io;
use std::path::PathBuf;

/// Why a subcommand ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A port cannot be bound.
    #[error("cannot listen on port {port} for `{id}`")]
    Listen {
        /// The published port's id.
        id: String,
        /// The port inside the container.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The control socket cannot be bound: mostly, the name is in use.
    #[error("cannot open the control socket of `{name}`")]
    Bind {
        /// The gateway's name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// No gateway of that name answers.
    #[error("no gateway `{name}` answers on its control socket")]
    Connect {
        /// The gateway's name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read or written.
    #[error("cannot use `{}`", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Threads, signals, standard input or output failed.
    #[error("{what} failed")]
    System {
        /// What did.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
