//! How a service's image is built.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Ulimit;
use crate::stack::Place;

/// The `build` section, short form resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Build {
    /// Absolute folder, or a Git or archive URL.
    pub context: String,
    /// Dockerfile relative to the context, or absolute; `Dockerfile` by
    /// default.
    pub dockerfile: String,
    /// The Dockerfile itself, in place of the file.
    pub dockerfile_inline: Option<String>,
    /// Build arguments; `None` takes the value from the environment of the
    /// build.
    pub args: BTreeMap<String, Option<String>>,
    /// Stage to build.
    pub target: Option<String>,
    /// Image labels.
    pub labels: BTreeMap<String, String>,
    /// More tags for the image.
    pub tags: Vec<String>,
    /// Images or caches to read layers from.
    pub cache_from: Vec<String>,
    /// Where to write the cache to.
    pub cache_to: Vec<String>,
    /// Named contexts beside the main one.
    pub additional_contexts: BTreeMap<String, String>,
    /// Ignore the cache.
    pub no_cache: bool,
    /// Pull base images anew.
    pub pull: bool,
    /// Network of RUN steps.
    pub network: Option<String>,
    /// Platforms to build for.
    pub platforms: Vec<String>,
    /// Extra lines of the hosts file.
    pub extra_hosts: BTreeMap<String, Vec<String>>,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// Ulimits of RUN steps.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Secrets for `RUN --mount=type=secret`.
    pub secrets: Vec<BuildSecret>,
    /// SSH agents: id to socket or key path.
    pub ssh: BTreeMap<String, Option<String>>,
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
}

/// A secret of the stack that a build may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildSecret {
    /// Its key under `secrets`.
    pub source: String,
    /// The id in the Dockerfile; the source's name by default.
    pub target: String,
}
