//! Secrets and configs of a service as seeded file sets.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Inputs;
use super::problem;
use crate::stack::Problem;
use crate::stack::Severity;
use crate::stack::Stack;
use crate::stack::model;
use crate::stack::model::FileObject;
use crate::stack::model::FileSource;
use crate::stack::model::Grant;
use crate::stack::model::SecretStore;
use crate::state::desired::FileSet;
use crate::state::desired::SeedFile;
use crate::state::spec::Mount;
use crate::state::spec::MountSource;

/// Where secrets appear when the file names no target.
const SECRETS_DIR: &str = "/run/secrets";
/// Readable by everyone in the container, as Docker Compose has it.
const DEFAULT_MODE: u32 = 0o444;

/// Sets of one service and their mounts.
#[derive(Debug, Default)]
pub(super) struct Granted {
    /// Sets by name.
    pub(super) sets: BTreeMap<String, FileSet>,
    /// How they are mounted.
    pub(super) mounts: Vec<Mount>,
}

/// Whether a file set of this name is one of a service's secrets, as [`Granted::add`]
/// names them.
pub fn holds_secrets(set: &str, service: &str) -> bool {
    let rest = set.strip_prefix(service);
    let kind = rest.and_then(|rest| rest.strip_prefix('-'));
    kind.is_some_and(|kind| kind == "secrets" || kind.starts_with("secret-"))
}

/// All secrets below `/run/secrets` make one set, mounted as that folder; a file
/// with another target is a set of its own, mounted as a file.
pub(super) fn of_service(
    stack: &Stack,
    service: &model::Service,
    inputs: &Inputs,
    problems: &mut Vec<Problem>,
) -> Granted {
    let mut granted = Granted::default();
    let memory = stack.shop.secrets == SecretStore::Memory;
    let grants = service
        .secrets
        .iter()
        .map(|grant| ("secret", &stack.secrets, grant))
        .chain(
            service
                .configs
                .iter()
                .map(|grant| ("config", &stack.configs, grant)),
        );
    for (kind, objects, grant) in grants {
        let Some(object) = objects.get(&grant.source) else {
            continue;
        };
        match content(object, &inputs.contents) {
            Ok(content) => granted.add(memory, &service.name, kind, grant, content),
            Err(why) => problems.push(problem(
                Severity::Error,
                "no-content",
                &object.place,
                format!("{kind} {}: {why}", grant.source),
            )),
        }
    }
    granted
}

impl Granted {
    fn add(&mut self, memory: bool, service: &str, kind: &str, grant: &Grant, content: Vec<u8>) {
        let below = grant
            .target
            .strip_prefix(SECRETS_DIR)
            .and_then(|rest| rest.strip_prefix('/'));
        let (set, path, target, file) = if let Some(path) = below {
            let set = format!("{service}-secrets");
            (set, path.to_owned(), SECRETS_DIR.to_owned(), None)
        } else {
            let name = grant.target.rsplit('/').next().unwrap_or_default();
            let set = format!("{service}-{kind}-{}", grant.source);
            let (path, file) = (name.to_owned(), Some(name.to_owned()));
            (set, path, grant.target.clone(), file)
        };
        let seed = SeedFile {
            content,
            uid: number(grant.uid.as_deref()),
            gid: number(grant.gid.as_deref()),
            mode: grant.mode.unwrap_or(DEFAULT_MODE),
        };
        let entry = self.sets.entry(set.clone()).or_default();
        entry.memory = memory && holds_secrets(&set, service);
        let known = !entry.files.is_empty();
        entry.files.insert(path, seed);
        if !known {
            self.mounts.push(Mount {
                target,
                source: MountSource::Files { set, file },
                read_only: true,
            });
        }
    }
}

/// The content of a secret or config.
///
/// # Errors
/// Why it has none.
pub fn content(
    object: &FileObject,
    contents: &BTreeMap<PathBuf, Vec<u8>>,
) -> Result<Vec<u8>, String> {
    match &object.source {
        FileSource::Content(text) => Ok(text.clone().into_bytes()),
        FileSource::File(path) => contents
            .get(path)
            .cloned()
            .ok_or_else(|| format!("{} cannot be read", path.display())),
        FileSource::Environment { variable, value } => value
            .clone()
            .map(String::into_bytes)
            .ok_or_else(|| format!("the variable {variable} is not set")),
        FileSource::External => Err("a Docker Engine has no external ones".to_owned()),
    }
}

fn number(text: Option<&str>) -> u32 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
