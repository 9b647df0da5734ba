//! Find and read: the only file access of `stack`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Problem;
use super::Problems;
use super::Stack;

/// What to load. Nothing is taken from the process: flags, the environment and
/// the working directory come in here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadRequest {
    /// `-f`, in order; `-` is [`stdin`](Self::stdin). Empty: `COMPOSE_FILE` of
    /// the environment, else the default names, upward from `working_dir`.
    pub files: Vec<PathBuf>,
    /// `--env-file`, in order. Empty: `COMPOSE_ENV_FILES`, else `.env`.
    pub env_files: Vec<PathBuf>,
    /// `-p`.
    pub project_name: Option<String>,
    /// `--profile`; `*` selects all.
    pub profiles: Vec<String>,
    /// The folder that relative paths are resolved against, in place of that
    /// of the first file.
    pub project_directory: Option<PathBuf>,
    /// The environment for interpolation, `environment`, and the `COMPOSE_*`
    /// variables.
    pub environment: BTreeMap<String, String>,
    /// Where the command was started; absolute.
    pub working_dir: PathBuf,
    /// What `-` reads.
    pub stdin: Option<String>,
}

/// A loaded stack.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The stack.
    pub stack: Stack,
    /// Warnings and advice, in the order of the files.
    pub warnings: Vec<Problem>,
}

/// Loads a stack: reads, interpolates, merges, checks.
///
/// # Errors
/// All problems of all files, each with its place.
pub fn load(_request: &LoadRequest) -> Result<Loaded, Problems> {
    Err(Problems::default())
}
