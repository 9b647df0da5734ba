//! The build context: which files it holds, their digest, and the archive that is
//! sent. The same content gives the same archive, whoever packs it and whenever.

use std::fs;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use bytes::Bytes;

use super::BuildError;
use super::BuildInputs;
use super::digests::Digests;
use super::dockerignore::Ignore;
use crate::state::names;

/// One entry of a context.
#[derive(Debug)]
pub struct Entry {
    /// Path relative to the context, with slashes.
    pub path: String,
    place: PathBuf,
    metadata: Metadata,
}

/// A context as it was listed: entries sorted by path, and its Dockerfile.
#[derive(Debug)]
pub struct Context {
    /// Its entries.
    pub entries: Vec<Entry>,
    /// Path of the Dockerfile inside the archive.
    pub dockerfile: String,
    /// The Dockerfile's content, when it is not one of the entries.
    extra: Option<Vec<u8>>,
}

impl Context {
    /// Lists a context.
    pub fn list(inputs: &BuildInputs) -> Result<Self, BuildError> {
        let (dockerfile, extra) = dockerfile(inputs)?;
        let ignore = ignore_file(inputs)?;
        let mut entries = Vec::new();
        let mut walk = Walk {
            inputs,
            ignore: &ignore,
            entries: &mut entries,
        };
        walk.folder(&inputs.context, "")?;
        if extra.is_none() && entries.iter().all(|entry| entry.path != dockerfile) {
            // Left out by .dockerignore: COPY does not see it, the builder must.
            let place = inputs.context.join(&dockerfile);
            let metadata =
                fs::metadata(&place).map_err(|source| unreadable(inputs, &place, source))?;
            entries.push(Entry {
                path: dockerfile.clone(),
                place,
                metadata,
            });
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self {
            entries,
            dockerfile,
            extra,
        })
    }

    /// A digest of everything in it.
    pub(super) fn digest(
        &self,
        inputs: &BuildInputs,
        digests: &mut Digests,
    ) -> Result<String, BuildError> {
        let mut text = String::new();
        for entry in &self.entries {
            let content = entry
                .digest(digests)
                .map_err(|source| unreadable(inputs, &entry.place, source))?;
            // A path cannot hold a zero.
            text.push_str(&format!("{}\0{:o} {content}\n", entry.path, entry.mode()));
        }
        if let Some(extra) = &self.extra {
            text.push_str(&format!("{}\0{}\n", self.dockerfile, names::hex(extra)));
        }
        Ok(names::hex(text.as_bytes()))
    }

    /// The archive: no times, no owners, modes kept.
    pub fn pack(&self, inputs: &BuildInputs) -> Result<Bytes, BuildError> {
        let mut archive = tar::Builder::new(Vec::new());
        for entry in &self.entries {
            entry
                .append(&mut archive)
                .map_err(|source| unreadable(inputs, &entry.place, source))?;
        }
        let finish = |mut archive: tar::Builder<Vec<u8>>| {
            if let Some(extra) = &self.extra {
                let mut header = header(0o644, tar::EntryType::Regular);
                header.set_size(u64::try_from(extra.len()).map_err(io::Error::other)?);
                archive.append_data(&mut header, &self.dockerfile, &extra[..])?;
            }
            archive.into_inner()
        };
        finish(archive)
            .map(Bytes::from)
            .map_err(|source| unreadable(inputs, &inputs.context, source))
    }
}

impl Entry {
    fn mode(&self) -> u32 {
        self.metadata.permissions().mode() & 0o7777
    }

    fn digest(&self, digests: &mut Digests) -> io::Result<String> {
        if self.metadata.is_dir() {
            Ok("folder".to_owned())
        } else if self.metadata.is_symlink() {
            let target = fs::read_link(&self.place)?;
            Ok(format!("link {}", target.display()))
        } else {
            digests.of(&self.place, &self.metadata)
        }
    }

    fn append(&self, archive: &mut tar::Builder<Vec<u8>>) -> io::Result<()> {
        if self.metadata.is_dir() {
            let mut header = header(self.mode(), tar::EntryType::Directory);
            archive.append_data(&mut header, &self.path, io::empty())
        } else if self.metadata.is_symlink() {
            let mut header = header(0o777, tar::EntryType::Symlink);
            archive.append_link(&mut header, &self.path, fs::read_link(&self.place)?)
        } else {
            // Read whole first: a file that grows must not break the archive.
            let content = fs::read(&self.place)?;
            let mut header = header(self.mode(), tar::EntryType::Regular);
            header.set_size(u64::try_from(content.len()).map_err(io::Error::other)?);
            archive.append_data(&mut header, &self.path, &content[..])
        }
    }
}

fn header(mode: u32, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

struct Walk<'a> {
    inputs: &'a BuildInputs,
    ignore: &'a Ignore,
    entries: &'a mut Vec<Entry>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str) -> Result<(), BuildError> {
        let fail = |place: &Path, source| unreadable(self.inputs, place, source);
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(|source| fail(folder, source))? {
            let entry = entry.map_err(|source| fail(folder, source))?;
            let metadata = entry
                .metadata()
                .map_err(|source| fail(&entry.path(), source))?;
            let name = entry.file_name().into_string().map_err(|_| {
                let source = io::Error::new(io::ErrorKind::InvalidData, "its name is not UTF-8");
                fail(&entry.path(), source)
            })?;
            found.push((format!("{prefix}{name}"), entry.path(), metadata));
        }
        for (path, place, metadata) in found {
            let excluded = self.ignore.excludes(&path);
            if metadata.is_dir() && (!excluded || self.ignore.may_take_back_in(&path)) {
                self.folder(&place, &format!("{path}/"))?;
            }
            let kind = metadata.file_type();
            if !excluded && (kind.is_file() || kind.is_dir() || kind.is_symlink()) {
                self.entries.push(Entry {
                    path,
                    place,
                    metadata,
                });
            }
        }
        Ok(())
    }
}

/// Path in the archive, and the content when the file is not in the context.
fn dockerfile(inputs: &BuildInputs) -> Result<(String, Option<Vec<u8>>), BuildError> {
    if let Some(text) = &inputs.dockerfile_inline {
        return Ok(outside(text.clone().into_bytes()));
    }
    let place = inputs.context.join(&inputs.dockerfile);
    let read = || fs::read(&place).map_err(|source| unreadable(inputs, &place, source));
    let inside = clean(&place)
        .strip_prefix(clean(&inputs.context))
        .ok()
        .and_then(|path| path.to_str().map(ToOwned::to_owned));
    match inside {
        Some(path) if place.is_file() => Ok((path, None)),
        Some(_) => read().map(outside),
        None => read().map(outside),
    }
}

fn outside(content: Vec<u8>) -> (String, Option<Vec<u8>>) {
    let name = format!(".dockerfile-{}", &names::hex(&content)[..12]);
    (name, Some(content))
}

/// Without `.` and `..`, looking at no link.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

/// `<Dockerfile>.dockerignore` goes before `.dockerignore`.
fn ignore_file(inputs: &BuildInputs) -> Result<Ignore, BuildError> {
    let mut own = inputs.context.join(&inputs.dockerfile).into_os_string();
    own.push(".dockerignore");
    for file in [PathBuf::from(own), inputs.context.join(".dockerignore")] {
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(unreadable(inputs, &file, source)),
        };
        return Ignore::parse(&text).map_err(|pattern| BuildError::Pattern {
            service: inputs.service.clone(),
            pattern,
            file: file.display().to_string(),
        });
    }
    Ok(Ignore::default())
}

pub(super) fn unreadable(inputs: &BuildInputs, path: &Path, source: io::Error) -> BuildError {
    BuildError::Unreadable {
        service: inputs.service.clone(),
        path: path.to_owned(),
        source,
    }
}
