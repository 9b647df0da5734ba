//! The folder of programs in the stack's store, which all its gateways share.
//!
//! | file | |
//! | --- | --- |
//! | `<name>` | a program |
//! | `<name>.sha256` | its digest in hex, put there before it: one that is not whole is never started |
//! | `after.<base>` | the name of the program that has taken the place of `<base>` |
//!
//! A container that is started again begins with the program of its image, which looks
//! here for the one that serves now.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::store::checksum;

/// The program that runs, also where its file was removed.
const OWN: &str = "/proc/self/exe";
const AFTER: &str = "after.";
const DIGEST: &str = ".sha256";

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Programs(PathBuf);

impl Programs {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Where a program is, if it is the one that was put there.
    pub(super) fn whole(&self, name: &str) -> io::Result<PathBuf> {
        let plain = |char: char| char.is_ascii_alphanumeric();
        if name.is_empty() || !name.chars().all(plain) {
            let what = format!("`{name}` is not a program's name");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let path = self.0.join(name);
        let digest = self.0.join(format!("{name}{DIGEST}"));
        // Whoever breaks into a gateway can write here, but not as the owner of its program.
        let owner = fs::metadata(OWN)?.uid();
        for file in [&path, &digest] {
            if fs::metadata(file)?.uid() != owner {
                let what = format!("{} is not of the owner of this program", file.display());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
            }
        }
        let expected = fs::read_to_string(digest)?;
        if checksum(&fs::read(&path)?) == expected.trim() {
            Ok(path)
        } else {
            let what = format!("{} is not whole", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, what))
        }
    }

    /// The program that has taken the place of `base`, if any did.
    pub(super) fn after(&self, base: &str) -> Option<String> {
        let name = fs::read_to_string(self.0.join(format!("{AFTER}{base}"))).ok()?;
        Some(name.trim().to_owned()).filter(|name| name != base)
    }

    /// Records that `program` serves where `base` would, durably; and removes programs
    /// that no container starts any more.
    pub(super) fn settle(&self, base: &str, program: &str) -> io::Result<()> {
        let path = self.0.join(format!("{AFTER}{base}"));
        // Other gateways of the stack write here too.
        let new = self
            .0
            .join(format!("{AFTER}{base}.{:016x}", fastrand::u64(..)));
        fs::write(&new, program)?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(&new, &path)?;
        fs::File::open(&self.0)?.sync_all()?;
        let names: BTreeSet<String> = fs::read_dir(&self.0)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        let wanted: BTreeSet<String> = names
            .iter()
            .filter(|name| name.starts_with(AFTER))
            .filter_map(|name| fs::read_to_string(self.0.join(name)).ok())
            .collect();
        for name in &names {
            let of = name.strip_suffix(DIGEST).unwrap_or(name);
            if !name.starts_with(AFTER) && !wanted.contains(of) {
                // One that stays takes room, and nothing else.
                let _ = fs::remove_file(self.0.join(name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Programs) {
        let folder = tempfile::tempdir().expect("a folder");
        let programs = Programs::new(folder.path().to_owned());
        (folder, programs)
    }

    fn put(programs: &Programs, name: &str) {
        // sha256 of "x".
        let digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\n";
        fs::write(programs.0.join(format!("{name}{DIGEST}")), digest).expect("written");
        fs::write(programs.0.join(name), "x").expect("written");
    }

    #[test]
    fn only_a_whole_program_is_found() {
        let (_folder, programs) = folder();
        put(&programs, "abc");
        assert!(programs.whole("abc").is_ok());
        fs::write(programs.0.join("abc"), "xx").expect("written");
        assert!(programs.whole("abc").is_err(), "another content");
        fs::remove_file(programs.0.join("abc.sha256")).expect("removed");
        assert!(programs.whole("abc").is_err(), "no digest");
        put(&programs, "abc");
        // Only root can give a file away; whoever else tests this owns all of them.
        if std::os::unix::fs::chown(programs.0.join("abc"), Some(65532), None).is_ok() {
            assert!(programs.whole("abc").is_err(), "somebody else's");
        }
        for name in ["", "../abc", "a/b", "after.abc"] {
            assert!(programs.whole(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_newest_takes_the_place_of_the_first_until_that_is_back() {
        let (_folder, programs) = folder();
        assert_eq!(programs.after("a"), None);
        for name in ["b", "c"] {
            put(&programs, name);
            programs.settle("a", name).expect("settled");
            assert_eq!(programs.after("a").as_deref(), Some(name));
        }
        assert!(programs.whole("c").is_ok());
        assert!(programs.whole("b").is_err(), "nobody starts it");
        put(&programs, "d");
        programs.settle("x", "d").expect("settled");
        assert!(programs.whole("c").is_ok(), "another container starts it");
        put(&programs, "a");
        programs.settle("a", "a").expect("settled");
        assert_eq!(programs.after("a"), None);
    }
}
