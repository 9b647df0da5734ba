//! Secrets and configs, and their use by services.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::stack::Place;

/// A secret or config of the stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileObject {
    /// Its name on the target: `<stack>_<key>`, or as declared.
    pub name: String,
    /// Where the content comes from.
    pub source: FileSource,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
}

/// Where the content of a secret or config comes from. The content of files
/// is not read here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSource {
    /// A file on the machine that runs shopctl.
    File(PathBuf),
    /// A variable, with its value at the time of loading (`None`: unset).
    Environment {
        /// Name of the variable.
        variable: String,
        /// Its value. Never print or store it.
        #[serde(skip)]
        value: Option<String>,
    },
    /// Written in the stack file.
    Content(String),
    /// Exists on the target already.
    External,
}

/// The use of a secret or config by a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// Its key under `secrets` or `configs`.
    pub source: String,
    /// Absolute path in the container: `/run/secrets/<source>` for a secret
    /// and `/<source>` for a config, where the file says nothing.
    pub target: String,
    /// Owner.
    pub uid: Option<String>,
    /// Group.
    pub gid: Option<String>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
}
