//! Files into and out of containers, as tar archives.

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use bollard::errors::Error;
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use bollard::query_parameters::UploadToContainerOptionsBuilder;
use bytes::Bytes;
use bytes::BytesMut;
use futures_util::TryStreamExt as _;

use super::Docker;

/// Writes entries with nothing of this machine in them.
pub(super) struct Archive<W: Write>(tar::Builder<W>);

impl Archive<Vec<u8>> {
    pub(super) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub(super) fn finish(self) -> io::Result<Bytes> {
        Ok(self.0.into_inner()?.into())
    }
}

impl<'a> Archive<&'a mut Vec<u8>> {
    /// Goes on after what is there.
    pub(super) fn onto(out: &'a mut Vec<u8>) -> Self {
        Self(tar::Builder::new(out))
    }

    pub(super) fn close(self) -> io::Result<()> {
        self.0.into_inner().map(drop)
    }
}

impl<W: Write> Archive<W> {
    pub(super) fn folder(
        &mut self,
        path: &str,
        owner: (u32, u32),
        mode: u32,
    ) -> io::Result<&mut Self> {
        let mut header = header(owner, mode, tar::EntryType::Directory, 0);
        self.0.append_data(&mut header, path, io::empty())?;
        Ok(self)
    }

    pub(super) fn file(
        &mut self,
        path: &str,
        owner: (u32, u32),
        mode: u32,
        content: &[u8],
    ) -> io::Result<&mut Self> {
        let size = u64::try_from(content.len()).map_err(io::Error::other)?;
        self.stream(path, owner, mode, size, content)
    }

    /// A file of a known size that need not be in memory.
    pub(super) fn stream(
        &mut self,
        path: &str,
        owner: (u32, u32),
        mode: u32,
        size: u64,
        content: impl Read,
    ) -> io::Result<&mut Self> {
        let mut header = header(owner, mode, tar::EntryType::Regular, size);
        self.0.append_data(&mut header, path, content)?;
        Ok(self)
    }
}

/// The header alone of a file of root's.
pub(super) fn file_header(path: &str, mode: u32, size: u64) -> io::Result<tar::Header> {
    let mut header = header((0, 0), mode, tar::EntryType::Regular, size);
    header.set_path(path)?;
    header.set_cksum();
    Ok(header)
}

fn header(owner: (u32, u32), mode: u32, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.0.into());
    header.set_gid(owner.1.into());
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// Regular files of an archive, by path below its first folder.
pub(super) fn files_in(archive: &[u8]) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?.into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(below_first(&path), content);
    }
    Ok(files)
}

fn below_first(path: &Path) -> String {
    let below: std::path::PathBuf = path.components().skip(1).collect();
    below.to_string_lossy().into_owned()
}

impl Docker {
    /// Everything at `path` of a container as an archive.
    pub(super) async fn get_archive(&self, container: &str, path: &str) -> Result<Bytes, Error> {
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(path)
            .build();
        let all: BytesMut = self
            .api()
            .download_from_container(container, Some(options))
            .try_collect()
            .await?;
        Ok(all.freeze())
    }

    /// Unpacks an archive at `path` of a container. The engine silently drops
    /// files that land in a tmpfs mount.
    pub(super) async fn put_archive(
        &self,
        container: &str,
        path: &str,
        archive: Bytes,
    ) -> Result<(), Error> {
        let options = UploadToContainerOptionsBuilder::new().path(path).build();
        self.api()
            .upload_to_container(container, Some(options), bollard::body_full(archive))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_below_the_first_folder() {
        let mut archive = Archive::new();
        archive.folder("shopctl", (0, 0), 0o755).unwrap();
        archive
            .file("shopctl/state/a", (65532, 65532), 0o600, b"1")
            .unwrap();
        let bytes = archive.finish().unwrap();
        let files = files_in(&bytes).unwrap();
        assert_eq!(
            files,
            BTreeMap::from([("state/a".to_owned(), b"1".to_vec())])
        );
    }

    #[test]
    fn a_torn_archive_is_an_error() {
        let mut archive = Archive::new();
        archive.file("x/a", (0, 0), 0o600, &[7; 2000]).unwrap();
        let bytes = archive.finish().unwrap();
        assert!(files_in(&bytes[..1024]).is_err());
    }
}
