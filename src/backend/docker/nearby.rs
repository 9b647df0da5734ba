//! The store's files, read from the volume itself where this host is the engine's.
//!
//! The engine packs files of a container in a process of its own, which takes tens of
//! milliseconds; the same files are a directory of this host then. Only a shorter way to
//! the same bytes: whoever may not read them, or is elsewhere, asks the engine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use super::Docker;
use super::ports;
use crate::state::names;

impl Docker {
    /// The files below a folder of the store, by path; none where they cannot be read
    /// from here.
    pub(super) async fn nearby_files(
        &self,
        stack: &str,
        folder: &str,
    ) -> Option<BTreeMap<String, Vec<u8>>> {
        if !self.inner.local || !ports::is_this_host(&self.engine().await.ok()?.name) {
            return None;
        }
        let volume = self.api().inspect_volume(&names::store(stack)).await.ok()?;
        let folder = PathBuf::from(volume.mountpoint).join(folder);
        let read = tokio::task::spawn_blocking(move || {
            let mut files = BTreeMap::new();
            read(&folder, "", &mut files).map(|()| files)
        });
        read.await.ok()?.ok()
    }
}

/// Adds all files below a folder. One that is renamed meanwhile is there under its new
/// name the next time.
fn read(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if kind.is_dir() {
            read(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() {
            match fs::read(entry.path()) {
                Ok(bytes) => drop(files.insert(path, bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_their_path_below_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        fs::write(folder.path().join("routes.json"), "r").unwrap();
        fs::write(folder.path().join("state/records.0"), "0").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("away")).unwrap();
        let mut files = BTreeMap::new();
        read(folder.path(), "", &mut files).unwrap();
        let wanted = [("routes.json", "r"), ("state/records.0", "0")];
        let wanted = wanted.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        assert_eq!(files, wanted.into());
        assert!(read(&folder.path().join("gone"), "", &mut files).is_err());
    }
}
