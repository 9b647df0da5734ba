//! Images of the stack's own services: prepare commands on this host, the build
//! context as Docker reads it, a digest of everything that goes in, and the build
//! itself through [`Images`](crate::backend::Images).
//!
//! Equal inputs have equal tags; a tag that the engine has is never built again, and
//! nothing is sent. [`identify`] and [`prepare::is_due`] only read; [`prepare::run`]
//! runs the user's commands; [`builder::build`] talks to the engine. Knows nothing of
//! the stack file: the caller fills in [`BuildInputs`].

pub mod builder;
pub mod context;
mod digests;
pub mod dockerignore;
pub mod error;
pub mod identify;
pub mod pattern;
pub mod prepare;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use error::BuildError;
pub use identify::identify;

/// Everything that the image of one service is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildInputs {
    /// Name of the stack.
    pub stack: String,
    /// Service.
    pub service: String,
    /// Absolute folder of the stack file; prepare commands run there.
    pub project: PathBuf,
    /// Absolute folder of the context.
    pub context: PathBuf,
    /// Path of the Dockerfile, absolute or relative to the context.
    pub dockerfile: PathBuf,
    /// The Dockerfile itself, in place of a file.
    pub dockerfile_inline: Option<String>,
    /// Build arguments; those without a value are left to the Dockerfile.
    pub args: BTreeMap<String, Option<String>>,
    /// Stage to build.
    pub target: Option<String>,
    /// Labels on the image.
    pub labels: BTreeMap<String, String>,
    /// Further names the image gets.
    pub tags: Vec<String>,
    /// Images whose layers may be reused.
    pub cache_from: Vec<String>,
    /// Do not reuse layers.
    pub no_cache: bool,
    /// Pull base images even when present.
    pub pull: bool,
    /// Network of RUN commands.
    pub network: Option<String>,
    /// Platform to build for.
    pub platform: Option<String>,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<i64>,
    /// Extra lines of /etc/hosts as `name:address`.
    pub extra_hosts: Vec<String>,
    /// Commands that run on this host first, each a program and its arguments.
    pub prepare: Vec<Vec<String>>,
    /// Globs of the files that the commands read, relative to the project; without
    /// any, the commands run each time.
    pub prepare_inputs: Vec<String>,
}

#[cfg(test)]
mod tests;
