//! Digests of files, remembered by size, times and inode, so that reading a large
//! context again takes a look at each file and no more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use sha2::Digest as _;
use sha2::Sha256;

use crate::state::names;

/// A file changed so recently may change again without its times showing it.
const SETTLED_AFTER: Duration = Duration::from_millis(50);

/// Remembered digests of the files below one folder.
pub(super) struct Digests {
    file: PathBuf,
    known: BTreeMap<PathBuf, Known>,
    seen: BTreeMap<PathBuf, Known>,
    changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    stamp: Stamp,
    digest: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: i128,
    changed: i128,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let nanos = |secs: i64, nanos: i64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        Self {
            size: metadata.len(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    fn settled(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let limit = now.saturating_sub(SETTLED_AFTER).as_nanos();
        i128::try_from(limit).is_ok_and(|limit| self.changed < limit && self.modified < limit)
    }
}

impl Digests {
    /// What is remembered for `folder` in the cache; nothing when there is no cache or
    /// it cannot be read.
    pub(super) fn open(cache: &Path, folder: &Path) -> Self {
        let name = names::hex(folder.as_os_str().as_encoded_bytes());
        let file = cache.join(format!("files-{}", &name[..16]));
        let known = fs::read_to_string(&file).map_or_else(|_| BTreeMap::new(), |text| parse(&text));
        Self {
            file,
            known,
            seen: BTreeMap::new(),
            changed: false,
        }
    }

    /// SHA-256 of a file's content.
    pub(super) fn of(&mut self, path: &Path, metadata: &Metadata) -> io::Result<String> {
        let stamp = Stamp::of(metadata);
        if let Some(known) = self.known.get(path)
            && known.stamp == stamp
        {
            self.seen.insert(path.to_owned(), known.clone());
            return Ok(known.digest.clone());
        }
        let digest = digest(path)?;
        self.changed = true;
        if stamp.settled() {
            let known = Known {
                stamp,
                digest: digest.clone(),
            };
            self.seen.insert(path.to_owned(), known);
        }
        Ok(digest)
    }

    /// Remembers what was seen. Several runs may write at a time: each writes a file
    /// of its own and renames it.
    pub(super) fn save(self) -> io::Result<()> {
        if !self.changed && self.seen.len() == self.known.len() {
            return Ok(());
        }
        let mut text = String::new();
        for (path, known) in &self.seen {
            let Some(path) = path.to_str().filter(|path| !path.contains('\n')) else {
                continue;
            };
            let Stamp {
                size,
                modified,
                changed,
                inode,
            } = known.stamp;
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{} {size} {modified} {changed} {inode} {path}",
                known.digest
            );
        }
        replace(&self.file, text.as_bytes())
    }
}

/// Replaces a file of the cache at once.
pub(super) fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    fs::write(&new, content)?;
    fs::rename(new, file)
}

fn parse(text: &str) -> BTreeMap<PathBuf, Known> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.splitn(6, ' ');
            let digest = parts.next()?.to_owned();
            let stamp = Stamp {
                size: parts.next()?.parse().ok()?,
                modified: parts.next()?.parse().ok()?,
                changed: parts.next()?.parse().ok()?,
                inode: parts.next()?.parse().ok()?,
            };
            let path = PathBuf::from(parts.next()?);
            Some((path, Known { stamp, digest }))
        })
        .collect()
}

fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0_u8; 1 << 16];
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        hash.update(&chunk[..count]);
    }
    Ok(hash
        .finalize()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(cache: &Path, file: &Path) -> (String, bool) {
        let mut digests = Digests::open(cache, file.parent().unwrap());
        let found = digests.of(file, &fs::metadata(file).unwrap()).unwrap();
        let read = digests.changed;
        digests.save().unwrap();
        (found, read)
    }

    /// Makes a file look as if it had been there for a while.
    fn settle(file: &Path) {
        while !Stamp::of(&fs::metadata(file).unwrap()).settled() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_unchanged_file_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let file = folder.path().join("a");
        fs::write(&file, "one").unwrap();
        settle(&file);
        let (first, read) = look(&cache, &file);
        assert!(read);
        let (again, read) = look(&cache, &file);
        assert!(!read);
        assert_eq!(first, again);
        fs::write(&file, "two").unwrap();
        let (other, read) = look(&cache, &file);
        assert!(read);
        assert_ne!(first, other);
    }

    #[test]
    fn a_change_that_keeps_size_and_mtime_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let file = folder.path().join("a");
        fs::write(&file, "one").unwrap();
        settle(&file);
        let (first, _) = look(&cache, &file);
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "two").unwrap();
        File::open(&file).unwrap().set_modified(modified).unwrap();
        assert_ne!(look(&cache, &file).0, first);
    }

    #[test]
    fn a_file_that_just_changed_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let file = folder.path().join("a");
        let mut reads = 0;
        // Written in a loop: no two contents may ever share a digest.
        for round in 0..50_u8 {
            fs::write(&file, [round]).unwrap();
            let (found, read) = look(&cache, &file);
            assert_eq!(found, names::hex(&[round]));
            reads += u8::from(read);
        }
        assert_eq!(reads, 50);
    }
}
