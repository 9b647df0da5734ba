//! Mounts of a service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::stack::Place;

/// One entry of `volumes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub target: String,
    /// What is mounted.
    pub source: MountSource,
    /// Without write access.
    pub read_only: bool,
    /// Consistency wish; engines on Linux ignore it.
    pub consistency: Option<String>,
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum MountSource {
    /// A folder or file of the host.
    Bind {
        /// Absolute path on the host.
        path: PathBuf,
        /// Options.
        options: BindOptions,
    },
    /// A volume.
    Volume {
        /// Its key under the stack's `volumes`; `None` is an anonymous one.
        name: Option<String>,
        /// Do not copy the image's content into a new volume.
        nocopy: bool,
        /// A folder inside the volume.
        subpath: Option<String>,
        /// Labels of an anonymous volume.
        labels: BTreeMap<String, String>,
    },
    /// Memory.
    Tmpfs {
        /// Size in bytes.
        size: Option<u64>,
        /// Permission bits.
        mode: Option<u32>,
    },
    /// The content of an image.
    Image {
        /// Image reference.
        image: String,
        /// A folder inside the image.
        subpath: Option<String>,
    },
    /// A Windows named pipe.
    Npipe {
        /// The pipe.
        path: String,
    },
    /// A cluster volume.
    Cluster {
        /// Its name.
        name: String,
    },
}

/// Options of a bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BindOptions {
    /// Make the path on the host when it is absent.
    pub create_host_path: bool,
    /// Mount propagation.
    pub propagation: Option<String>,
    /// `SELinux` label.
    pub selinux: Option<SeLinux>,
    /// Handling of mounts below: `enabled`, `disabled`, `writable`,
    /// `readonly`.
    pub recursive: Option<String>,
}

/// `SELinux` label of a bind mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SeLinux {
    /// Shared by containers (`z`).
    Shared,
    /// For this container alone (`Z`).
    Private,
}
