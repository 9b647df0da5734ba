//! What can go wrong before and while an image is built.

use std::io;
use std::path::PathBuf;

use crate::backend::BackendError;

/// A failure on the way to an image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file of the context, or the Dockerfile, cannot be read.
    #[error("service {service}: cannot read {}", .path.display())]
    Unreadable {
        /// Service.
        service: String,
        /// What could not be read.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A pattern of a `.dockerignore` or of `inputs` makes no sense.
    #[error("service {service}: the pattern `{pattern}` in {file} is not valid")]
    Pattern {
        /// Service.
        service: String,
        /// The pattern.
        pattern: String,
        /// Where it stands.
        file: String,
    },
    /// Files of the context change while they are read.
    #[error("service {service}: files in {} change while they are read", .context.display())]
    Unsettled {
        /// Service.
        service: String,
        /// The context.
        context: PathBuf,
    },
    /// A prepare command failed.
    #[error("service {service}: `{command}` {outcome}")]
    Prepare {
        /// Service.
        service: String,
        /// The command as typed.
        command: String,
        /// How it ended, e.g. `ended with exit code 101`.
        outcome: String,
        /// What it printed.
        output: Vec<String>,
    },
    /// The cache of digests cannot be written.
    #[error("cannot write {}", .path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The engine failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}
