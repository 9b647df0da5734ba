//! Contexts of a build that the builder fetches file by file: it is told of every file
//! and asks for the contents of those that it does not have.
//!
//! The contexts come as archives, so that what is sent is what the image's name was
//! made from.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::io::Cursor;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bollard::fsutil::types::Packet;
use bollard::fsutil::types::Stat;
use bollard::fsutil::types::packet::PacketType;
use bollard::moby::filesync::v1::file_sync_server::FileSync;
use bollard::moby::filesync::v1::file_sync_server::FileSyncServer;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt as _;
use futures_util::stream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::metadata::MetadataMap;

/// Headers that name a folder, and the files of it that are wanted.
const NAME: &str = "dir-name";
const ONLY: &str = "followpaths";
/// What Go calls folders and links, above the permission bits.
const FOLDER: u32 = 1 << 31;
const LINK: u32 = 1 << 27;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const STICKY: u32 = 1 << 20;
const PIECE: usize = 32 << 10;

/// Folders by the name that the builder knows them by.
pub(super) struct Folders(pub(super) BTreeMap<String, Arc<Folder>>);

/// The files of an archive.
#[derive(Debug)]
pub(in crate::backend::docker) struct Folder {
    archive: Bytes,
    /// In the builder's order: what is in a folder comes right after it.
    files: Vec<File>,
}

#[derive(Debug, Clone)]
struct File {
    stat: Stat,
    content: Range<usize>,
}

impl Folder {
    /// Reads what an archive of ours holds.
    pub(in crate::backend::docker) fn read(archive: Bytes) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        let mut reader = tar::Archive::new(Cursor::new(&archive));
        for entry in reader.entries()? {
            let entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let path = path.trim_end_matches('/').to_owned();
            let header = entry.header();
            let mut mode = go_mode(header.mode()?);
            let kind = header.entry_type();
            if kind.is_dir() {
                mode |= FOLDER;
            } else if kind.is_symlink() {
                mode |= LINK;
            }
            let link = entry.link_name()?;
            let link = link.map_or_else(String::new, |link| link.to_string_lossy().into_owned());
            let at = usize::try_from(entry.raw_file_position()).map_err(io::Error::other)?;
            let size = usize::try_from(entry.size()).map_err(io::Error::other)?;
            let stat = Stat {
                path: path.clone(),
                mode,
                size: i64::try_from(size).map_err(io::Error::other)?,
                linkname: link,
                ..Stat::default()
            };
            let content = at..at + size;
            files.insert(order(&path), File { stat, content });
        }
        add_parents(&mut files);
        Ok(Self {
            files: files.into_values().collect(),
            archive,
        })
    }

    /// All files, or those alone that the builder looks at first: the Dockerfile and the
    /// rules of what to ignore. Whatever else it wants it gets all, which holds that too.
    fn wanted(&self, headers: &MetadataMap) -> Vec<File> {
        let only: BTreeSet<&str> = headers
            .get_all(ONLY)
            .iter()
            .filter_map(|path| path.to_str().ok())
            .collect();
        let plain = |path: &&str| !path.contains(['/', '*', '?', '[']);
        if only.is_empty() || !only.iter().all(plain) {
            return self.files.clone();
        }
        let named = |file: &&File| only.contains(file.stat.path.as_str());
        let found: Vec<File> = self.files.iter().filter(named).cloned().collect();
        if found
            .iter()
            .any(|file| file.stat.mode & (FOLDER | LINK) != 0)
        {
            return self.files.clone();
        }
        found
    }
}

/// A path as its parts are compared: no other sign comes before the end of a part.
fn order(path: &str) -> String {
    path.replace('/', "\0")
}

/// Rules may leave a folder out and take a file in it back; the builder wants both.
fn add_parents(files: &mut BTreeMap<String, File>) {
    let mut missing = BTreeSet::new();
    for file in files.values() {
        let path = &file.stat.path;
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        missing.extend(parents.map(str::to_owned));
    }
    for path in missing {
        files.entry(order(&path)).or_insert_with(|| File {
            stat: Stat {
                path,
                mode: FOLDER | 0o755,
                ..Stat::default()
            },
            content: 0..0,
        });
    }
}

fn go_mode(mode: u32) -> u32 {
    [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)]
        .into_iter()
        .filter(|(bit, _)| mode & bit != 0)
        .fold(mode & 0o777, |mode, (_, go)| mode | go)
}

impl Folders {
    pub(super) fn server(self) -> FileSyncServer<Self> {
        FileSyncServer::new(self)
    }
}

type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

#[tonic::async_trait]
impl FileSync for Folders {
    type DiffCopyStream = Packets;
    type TarStreamStream = Packets;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Packets>, Status> {
        let name = request.metadata().get(NAME);
        let name = name.and_then(|name| name.to_str().ok()).unwrap_or_default();
        let folder = self.0.get(name);
        let folder = folder.ok_or_else(|| Status::not_found(format!("no context {name}")))?;
        let files = folder.wanted(request.metadata());
        let mut told: Vec<Result<Packet, Status>> = files
            .iter()
            .map(|file| Ok(packet(PacketType::PacketStat, 0, Some(file.stat.clone()))))
            .collect();
        // That was all.
        told.push(Ok(packet(PacketType::PacketStat, 0, None)));
        let sender = Sender {
            asked: request.into_inner(),
            archive: folder.archive.clone(),
            files,
            sending: None,
            ended: false,
        };
        let contents = stream::unfold(sender, Sender::next);
        Ok(Response::new(stream::iter(told).chain(contents).boxed()))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented("files are sent one by one"))
    }
}

fn packet(kind: PacketType, id: u32, stat: Option<Stat>) -> Packet {
    Packet {
        r#type: kind.into(),
        stat,
        id,
        data: Vec::new(),
    }
}

/// Sends the contents that are asked for, one after another.
struct Sender {
    asked: Streaming<Packet>,
    archive: Bytes,
    files: Vec<File>,
    /// A file's number, and what of it is still to be sent.
    sending: Option<(u32, Range<usize>)>,
    ended: bool,
}

impl Sender {
    async fn next(mut self) -> Option<(Result<Packet, Status>, Self)> {
        if self.ended {
            return None;
        }
        let said = self.answer().await.transpose()?;
        self.ended |= said.is_err();
        Some((said, self))
    }

    async fn answer(&mut self) -> Result<Option<Packet>, Status> {
        if let Some((id, rest)) = self.sending.take() {
            return Ok(Some(self.piece(id, rest)));
        }
        while let Some(asked) = self.asked.next().await {
            let asked = asked?;
            match asked.r#type() {
                PacketType::PacketReq => {
                    let file = usize::try_from(asked.id).ok();
                    let file = file.and_then(|id| self.files.get(id));
                    let unknown = || Status::invalid_argument("there is no such file");
                    let rest = file.ok_or_else(unknown)?.content.clone();
                    return Ok(Some(self.piece(asked.id, rest)));
                }
                PacketType::PacketFin => {
                    self.ended = true;
                    return Ok(Some(packet(PacketType::PacketFin, 0, None)));
                }
                PacketType::PacketErr => {
                    let why = String::from_utf8_lossy(&asked.data).into_owned();
                    return Err(Status::aborted(why));
                }
                PacketType::PacketStat | PacketType::PacketData => {}
            }
        }
        Ok(None)
    }

    /// The next piece of a file; an empty one is its end.
    fn piece(&mut self, id: u32, rest: Range<usize>) -> Packet {
        let end = rest.end.min(rest.start + PIECE);
        let mut sent = packet(PacketType::PacketData, id, None);
        sent.data = self.archive.slice(rest.start..end).to_vec();
        if !sent.data.is_empty() {
            self.sending = Some((id, end..rest.end));
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, tar::EntryType, &str)]) -> Bytes {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, kind, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            header.set_size(0);
            if kind.is_symlink() {
                archive.append_link(&mut header, name, text).unwrap();
            } else {
                header.set_size(text.len() as u64);
                archive
                    .append_data(&mut header, name, text.as_bytes())
                    .unwrap();
            }
        }
        archive.into_inner().unwrap().into()
    }

    #[test]
    fn files_come_in_the_builder_s_order_with_all_their_folders() {
        let long = format!("{}/file", "folder".repeat(30));
        let bytes = archive(&[
            ("a-b", tar::EntryType::Regular, "one"),
            ("a/", tar::EntryType::Directory, ""),
            ("a/link", tar::EntryType::Symlink, "../a-b"),
            ("left/out/kept", tar::EntryType::Regular, "two"),
            (&long, tar::EntryType::Regular, "three"),
        ]);
        let folder = Folder::read(bytes.clone()).unwrap();
        let found: Vec<_> = folder
            .files
            .iter()
            .map(|file| {
                let stat = &file.stat;
                let content = String::from_utf8_lossy(&bytes[file.content.clone()]);
                (
                    stat.path.as_str(),
                    stat.mode,
                    stat.linkname.as_str(),
                    content,
                )
            })
            .collect();
        let parent = long.trim_end_matches("/file");
        let mode = SETUID | 0o755;
        assert_eq!(
            found,
            [
                ("a", FOLDER | mode, "", "".into()),
                ("a/link", LINK | mode, "../a-b", "".into()),
                ("a-b", mode, "", "one".into()),
                (parent, FOLDER | 0o755, "", "".into()),
                (&long, mode, "", "three".into()),
                ("left", FOLDER | 0o755, "", "".into()),
                ("left/out", FOLDER | 0o755, "", "".into()),
                ("left/out/kept", mode, "", "two".into()),
            ]
        );
    }

    #[test]
    fn the_first_look_gets_no_more_than_it_asks_for() {
        let folder = Folder::read(archive(&[
            (".dockerignore", tar::EntryType::Regular, "x"),
            ("big", tar::EntryType::Regular, "y"),
            ("link", tar::EntryType::Symlink, "big"),
        ]));
        let folder = folder.unwrap();
        let wanted = |paths: &[&'static str]| {
            let mut headers = MetadataMap::new();
            for path in paths {
                headers.append(ONLY, path.parse().unwrap());
            }
            let files = folder.wanted(&headers);
            files
                .into_iter()
                .map(|file| file.stat.path)
                .collect::<Vec<_>>()
        };
        let all = [".dockerignore", "big", "link"];
        assert_eq!(wanted(&[".dockerignore", "Dockerfile"]), [".dockerignore"]);
        assert_eq!(wanted(&[]), all);
        assert_eq!(wanted(&["*.txt"]), all);
        assert_eq!(wanted(&["link"]), all, "where it leads is not looked at");
    }
}
