//! What a build is: everything that decides its result, in our own words.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::lend;
use super::lend::Secret;

/// How the image of one service is built.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Recipe {
    /// Name of the stack; the image is `<stack>-<service>:<digest>`.
    #[serde(skip)]
    pub stack: String,
    /// Service.
    #[serde(skip)]
    pub service: String,
    /// Absolute folder of the context.
    #[serde(skip)]
    pub context: PathBuf,
    /// Dockerfile, relative to the context or absolute.
    #[serde(skip)]
    pub dockerfile: PathBuf,
    /// The Dockerfile itself, in place of the file.
    #[serde(skip)]
    pub dockerfile_inline: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, Option<String>>,
    /// Stage to build.
    pub target: Option<String>,
    /// Labels on the image.
    pub labels: BTreeMap<String, String>,
    /// Network of RUN commands.
    pub network: Option<String>,
    /// Platform to build for.
    pub platform: Option<String>,
    /// Extra lines of /etc/hosts as `name:address`.
    pub extra_hosts: Vec<String>,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<i64>,
    /// Secrets for its commands, by the id in the Dockerfile.
    #[serde(serialize_with = "lend::names")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
    /// Ssh agents for its commands, by the id in the Dockerfile: a socket or a key file,
    /// `None` where no agent runs.
    #[serde(serialize_with = "lend::names")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ssh: BTreeMap<String, Option<PathBuf>>,
    /// Contexts beside the main one, by the name in the Dockerfile.
    #[serde(skip)]
    pub contexts: BTreeMap<String, Source>,
    /// Further names the image gets.
    #[serde(skip)]
    pub tags: Vec<String>,
    /// Images whose layers may be reused.
    #[serde(skip)]
    pub cache_from: Vec<String>,
    /// Do not reuse layers.
    #[serde(skip)]
    pub no_cache: bool,
    /// Pull base images even when present.
    #[serde(skip)]
    pub pull: bool,
    /// Commands that run first.
    #[serde(skip)]
    pub prepare: Option<Prepare>,
}

impl Recipe {
    /// The services whose images it is built from.
    pub fn bases(&self) -> impl Iterator<Item = &str> {
        self.contexts.values().filter_map(|source| match source {
            Source::Service(base) => Some(base.as_str()),
            Source::Folder(_) | Source::Remote(_) => None,
        })
    }
}

/// Where a context beside the main one comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An absolute folder of this machine.
    Folder(PathBuf),
    /// What the engine gets itself: `docker-image://…`, a repository, an address.
    Remote(String),
    /// The image of another service, which is built first.
    Service(String),
}

/// Commands that run on this host before the context is read.
#[derive(Debug, Clone, Default)]
pub struct Prepare {
    /// Folder they run in: that of the stack file.
    pub folder: PathBuf,
    /// The commands in order; no shell is involved.
    pub commands: Vec<Vec<String>>,
    /// Globs relative to the folder of the files that they read.
    pub inputs: Vec<String>,
}
