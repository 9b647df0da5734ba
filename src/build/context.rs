//! The files of a build context: found, fingerprinted, digested, packed.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use sha2::Digest as _;
use sha2::Sha256;

use super::BuildError;
use super::ignorefile::IgnoreFile;
use super::recipe::Recipe;

/// Name of the Dockerfile inside the archive where it lies outside the context
/// or has no file.
const OUTSIDE: &str = ".shopctl.Dockerfile";

/// Name of the file with the ignore rules of a context.
const RULES: &str = ".dockerignore";

/// The files of one context, in the order of their paths.
pub(super) struct Files {
    entries: Vec<Entry>,
    /// Path of the Dockerfile inside the archive.
    pub(super) dockerfile: String,
}

/// One file, folder or symbolic link.
struct Entry {
    /// Path inside the archive.
    name: String,
    /// Where its content is; `None` for the inline Dockerfile.
    path: Option<PathBuf>,
    inline: Vec<u8>,
    kind: Kind,
    /// Permission bits.
    mode: u32,
    size: u64,
    /// Nanoseconds since the epoch, and the inode: the fast way to "unchanged".
    changed: (i128, u64),
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    File,
    Folder,
    Link,
}

impl Files {
    /// Finds the files of a recipe's context.
    pub(super) fn find(recipe: &Recipe) -> Result<Self, BuildError> {
        let unreadable = |(path, source)| BuildError::Unreadable {
            service: recipe.service.clone(),
            path,
            source,
        };
        let root = &recipe.context;
        is_folder(root).map_err(unreadable)?;
        let (dockerfile, extra) = dockerfile(recipe).map_err(unreadable)?;
        let own = format!("{}{RULES}", recipe.dockerfile.display());
        let rules = ignore_rules(root, &[&own, RULES]).map_err(unreadable)?;
        let always = vec![dockerfile.clone(), rules.1];
        let mut entries = entries(&recipe.service, root, &rules.0, always)?;
        entries.extend(extra);
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            entries,
            dockerfile,
        })
    }

    /// Finds the files of another context of a service, which has no Dockerfile.
    pub(super) fn beside(service: &str, root: &Path) -> Result<Self, BuildError> {
        let unreadable = |(path, source)| BuildError::Unreadable {
            service: service.to_owned(),
            path,
            source,
        };
        is_folder(root).map_err(unreadable)?;
        let (rules, rules_file) = ignore_rules(root, &[RULES]).map_err(unreadable)?;
        let mut entries = entries(service, root, &rules, vec![rules_file])?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            entries,
            dockerfile: String::new(),
        })
    }

    /// Changes when any file was touched; cheap, since no content is read.
    pub(super) fn fingerprint(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            let (at, inode) = entry.changed;
            let _ = writeln!(
                text,
                "{} {:o} {} {at} {inode}",
                entry.name, entry.mode, entry.size
            );
        }
        crate::state::names::hex(text.as_bytes())
    }

    /// Nanoseconds since the epoch of the youngest change.
    pub(super) fn youngest(&self) -> i128 {
        self.entries
            .iter()
            .map(|entry| entry.changed.0)
            .max()
            .unwrap_or(0)
    }

    /// Digest of names, modes and contents; the same on every machine.
    pub(super) fn digest(&self, service: &str) -> Result<String, BuildError> {
        let mut digest = Sha256::new();
        for entry in &self.entries {
            let content = entry
                .content()
                .map_err(|source| entry.unreadable(service, source))?;
            entry.count_in(&mut digest, &content);
        }
        Ok(text(digest))
    }

    /// The context as a tar archive without times and owners, so that the same
    /// files make the same archive; and the digest of exactly what is in it.
    pub(super) fn archive(&self, service: &str) -> Result<(bytes::Bytes, String), BuildError> {
        let mut digest = Sha256::new();
        let content: u64 = self.entries.iter().map(|entry| entry.size + 1024).sum();
        // At its size from the start: growing would hold it twice.
        let room = usize::try_from(content + 4096).unwrap_or(0);
        let mut archive = tar::Builder::new(Vec::with_capacity(room));
        for entry in &self.entries {
            let unreadable = |source| entry.unreadable(service, source);
            let content = entry.content().map_err(unreadable)?;
            entry.count_in(&mut digest, &content);
            entry.append(&mut archive, &content).map_err(unreadable)?;
        }
        let unfinished = |source| BuildError::Unreadable {
            service: service.to_owned(),
            path: PathBuf::from("context"),
            source,
        };
        let archive = archive.into_inner().map_err(unfinished)?;
        Ok((archive.into(), text(digest)))
    }
}

fn text(digest: Sha256) -> String {
    let mut text = String::new();
    for byte in digest.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl Entry {
    fn content(&self) -> io::Result<Vec<u8>> {
        match (&self.path, self.kind) {
            (None, _) => Ok(self.inline.clone()),
            (Some(_), Kind::Folder) => Ok(Vec::new()),
            (Some(path), Kind::File) => fs::read(path),
            (Some(path), Kind::Link) => {
                Ok(fs::read_link(path)?.into_os_string().into_encoded_bytes())
            }
        }
    }

    fn count_in(&self, digest: &mut Sha256, content: &[u8]) {
        let kind = match self.kind {
            Kind::File => 'f',
            Kind::Folder => 'd',
            Kind::Link => 'l',
        };
        let (mode, name, size) = (self.mode, &self.name, content.len());
        digest.update(format!("{kind} {mode:o} {name} {size}\0"));
        digest.update(content);
    }

    fn append(&self, archive: &mut tar::Builder<Vec<u8>>, content: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(self.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        match self.kind {
            Kind::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, format!("{}/", self.name), io::empty())
            }
            Kind::Link => {
                header.set_entry_type(tar::EntryType::Symlink);
                let target = String::from_utf8_lossy(content).into_owned();
                archive.append_link(&mut header, &self.name, target)
            }
            Kind::File => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, &self.name, content)
            }
        }
    }

    fn unreadable(&self, service: &str, source: io::Error) -> BuildError {
        let path = self
            .path
            .clone()
            .unwrap_or_else(|| PathBuf::from(&self.name));
        BuildError::Unreadable {
            service: service.to_owned(),
            path,
            source,
        }
    }
}

fn is_folder(root: &Path) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (root.to_owned(), error);
    if fs::metadata(root).map_err(failed)?.is_dir() {
        Ok(())
    } else {
        Err(failed(io::ErrorKind::NotADirectory.into()))
    }
}

/// What of a folder is not ignored.
fn entries(
    service: &str,
    root: &Path,
    rules: &str,
    always: Vec<String>,
) -> Result<Vec<Entry>, BuildError> {
    let ignore = IgnoreFile::parse(rules, always).map_err(|pattern| BuildError::Pattern {
        service: service.to_owned(),
        pattern,
    })?;
    let mut entries = Vec::new();
    walk(root, Path::new(""), &ignore, &mut entries).map_err(|(path, source)| {
        BuildError::Unreadable {
            service: service.to_owned(),
            path,
            source,
        }
    })?;
    Ok(entries)
}

/// The ignore rules and the name of their file, the first of these that there is:
/// `<Dockerfile>.dockerignore` goes before `.dockerignore`.
fn ignore_rules(root: &Path, names: &[&str]) -> Result<(String, String), (PathBuf, io::Error)> {
    for name in names {
        let path = root.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => return Ok((text, (*name).to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err((path, error)),
        }
    }
    Ok((String::new(), RULES.to_owned()))
}

/// Name of the Dockerfile in the archive, and its entry where the walk of the
/// context does not find it.
fn dockerfile(recipe: &Recipe) -> Result<(String, Option<Entry>), (PathBuf, io::Error)> {
    if let Some(text) = &recipe.dockerfile_inline {
        let entry = Entry {
            name: OUTSIDE.into(),
            path: None,
            inline: text.clone().into_bytes(),
            kind: Kind::File,
            mode: 0o644,
            size: text.len() as u64,
            changed: (0, 0),
        };
        return Ok((OUTSIDE.into(), Some(entry)));
    }
    let path = recipe.context.join(&recipe.dockerfile);
    let found = fs::canonicalize(&path).map_err(|error| (path.clone(), error))?;
    let root =
        fs::canonicalize(&recipe.context).map_err(|error| (recipe.context.clone(), error))?;
    if let Ok(inside) = found.strip_prefix(&root) {
        return Ok((inside.to_string_lossy().into_owned(), None));
    }
    let metadata = fs::metadata(&found).map_err(|error| (found.clone(), error))?;
    let mut entry = entry(OUTSIDE.into(), found, &metadata, Kind::File);
    entry.mode = 0o644;
    Ok((OUTSIDE.into(), Some(entry)))
}

fn entry(name: String, path: PathBuf, metadata: &fs::Metadata, kind: Kind) -> Entry {
    Entry {
        name,
        path: Some(path),
        inline: Vec::new(),
        kind,
        mode: metadata.mode() & 0o7777,
        size: if kind == Kind::File {
            metadata.len()
        } else {
            0
        },
        // A content can change while its time of modification is kept, but not
        // its time of change.
        changed: (
            nanos(metadata.mtime(), metadata.mtime_nsec())
                .max(nanos(metadata.ctime(), metadata.ctime_nsec())),
            // A folder's time changes with files that the context may not even hold.
            if kind == Kind::Folder {
                0
            } else {
                metadata.ino()
            },
        ),
    }
}

fn nanos(secs: i64, nanos: i64) -> i128 {
    i128::from(secs) * 1_000_000_000 + i128::from(nanos)
}

fn walk(
    root: &Path,
    folder: &Path,
    ignore: &IgnoreFile,
    entries: &mut Vec<Entry>,
) -> Result<(), (PathBuf, io::Error)> {
    let here = root.join(folder);
    let failed = |error| (here.clone(), error);
    for found in fs::read_dir(&here).map_err(failed)? {
        let found = found.map_err(failed)?;
        let path = folder.join(found.file_name());
        let full = found.path();
        let metadata = fs::symlink_metadata(&full).map_err(|error| (full.clone(), error))?;
        let kind = if metadata.is_dir() {
            Kind::Folder
        } else if metadata.is_symlink() {
            Kind::Link
        } else if metadata.is_file() {
            Kind::File
        } else {
            continue; // Sockets and pipes have no place in an image.
        };
        let ignored = ignore.ignores(&path);
        if !ignored {
            let mut one = entry(path.to_string_lossy().into_owned(), full, &metadata, kind);
            if kind == Kind::Folder {
                one.changed = (0, 0);
            }
            entries.push(one);
        }
        if kind == Kind::Folder && (!ignored || ignore.may_hold(&path)) {
            walk(root, &path, ignore, entries)?;
        }
    }
    Ok(())
}
