//! Images: what goes into a build, what its content is called, and the build.
//!
//! A built image is named by a digest of everything that went into it, so that
//! "nothing changed" is known before the engine is asked anything. The builder
//! itself is the backend's ([`crate::backend::Images`]).
//!
//! In reading order: [`recipe`] what a build is, `pattern` and `ignorefile` which files a
//! context has, `context` the files themselves, [`identity`] the digest, [`prepare`] the
//! commands before it, [`lend`] what its commands may use and `agent` who holds an ssh key,
//! [`builder`] the build, `memo` what the last look found.

mod agent;
pub mod builder;
mod context;
pub mod identity;
mod ignorefile;
pub mod lend;
mod memo;
mod pattern;
pub mod prepare;
pub mod recipe;

use std::path::PathBuf;

pub use builder::Builder;
pub use recipe::Prepare;
pub use recipe::Recipe;

/// A build that cannot even start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The context, or a file in it, cannot be read.
    #[error("the build context of {service} cannot be read: {}", path.display())]
    Unreadable {
        /// Service.
        service: String,
        /// What was read.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The `.dockerignore` has a pattern that is none.
    #[error("the .dockerignore of {service} has a bad pattern: {pattern}")]
    Pattern {
        /// Service.
        service: String,
        /// The pattern.
        pattern: String,
    },
    /// A secret, an ssh agent or a context that the build is lent is not there.
    #[error("{what} for the build of {service}: {why}")]
    Lent {
        /// Service.
        service: String,
        /// `secret npm`, `ssh agent default`, `context lib`.
        what: String,
        /// Why not; never a value.
        why: String,
    },
    /// Images that are built from each other.
    #[error("the images of {} are built from each other", services.join(", "))]
    Circle {
        /// The services.
        services: Vec<String>,
    },
    /// A prepare command failed.
    #[error("the prepare command of {service} failed: {command} ({ended})")]
    Prepare {
        /// Service.
        service: String,
        /// The command as typed.
        command: String,
        /// `exit code 7`, or why it did not start.
        ended: String,
        /// Its output.
        output: Vec<String>,
    },
}
