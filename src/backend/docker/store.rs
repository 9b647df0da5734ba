//! Records of a stack, in a volume that its gateways or keeper mount.
//!
//! The engine unpacks an archive file by file, so a reader could meet half of a
//! write. All records therefore stand in one bundle with a digest, and writes go
//! to the older of two bundles in turn: the newest whole one counts.

use std::collections::BTreeMap;
use std::io;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use bytes::Bytes;

use super::Docker;
use super::archive::Archive;
use super::archive::files_in;
use super::fault;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Edit;
use crate::backend::KEPT_RELEASES;
use crate::backend::Pending;
use crate::backend::Store;
use crate::state::names;

/// Where the store's volume is mounted in gateways and keepers.
pub(super) const MOUNT: &str = "/run/shopctl";
/// What every look reads: the gateways' files and the records.
pub(super) const FOLDER: &str = "/run/shopctl/live";
/// The same in the volume.
pub(super) const LIVE: &str = "live";
/// The release documents, in the volume.
const RELEASES: &str = "releases";
/// Owner of everything in it.
pub(super) const OWNER: (u32, u32) = (65532, 65532);
const BUNDLES: [&str; 2] = ["state/records.0", "state/records.1"];

/// Records by name.
pub(super) type Records = BTreeMap<String, Vec<u8>>;

/// The records of a stack as they were read or written last.
pub(super) struct Known {
    stack: String,
    holder: String,
    bundle: Bundle,
}

/// The records of one write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bundle {
    pub(super) generation: u64,
    pub(super) records: Records,
}

impl Bundle {
    /// `<generation> <digest>`, a newline, then an archive of the records.
    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut archive = Archive::new();
        for (name, content) in &self.records {
            archive.file(&format!("records/{name}"), OWNER, 0o600, content)?;
        }
        Ok(sealed(self.generation, &archive.finish()?))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (generation, body) = unsealed(bytes)?;
        Some(Self {
            generation,
            records: files_in(&body).ok()?,
        })
    }

    /// The newest whole bundle among the files of the store.
    pub(super) fn newest(files: &BTreeMap<String, Vec<u8>>) -> Self {
        BUNDLES
            .iter()
            .filter_map(|path| Self::decode(files.get(*path)?))
            .max_by_key(|bundle| bundle.generation)
            .unwrap_or_default()
    }

    fn path(&self) -> &'static str {
        if self.generation.is_multiple_of(2) {
            BUNDLES[0]
        } else {
            BUNDLES[1]
        }
    }
}

fn digest(generation: u64, body: &[u8]) -> String {
    let mut all = generation.to_be_bytes().to_vec();
    all.extend_from_slice(body);
    names::hex(&all)
}

impl Docker {
    /// Files of the store by path, and the container they came from, out of the
    /// first of `containers` that exists.
    pub(super) async fn store_files(
        &self,
        containers: &[String],
    ) -> Result<Option<(String, Records)>, BackendError> {
        self.files_below(FOLDER, containers).await
    }

    async fn files_below(
        &self,
        folder: &str,
        containers: &[String],
    ) -> Result<Option<(String, Records)>, BackendError> {
        for container in containers {
            // A gateway may rename a file while the engine packs it.
            for attempt in 1.. {
                match self.get_archive(container, folder).await {
                    Ok(bytes) => match files_in(&bytes) {
                        Ok(files) => return Ok(Some((container.clone(), files))),
                        Err(_) if attempt < 3 => {}
                        Err(error) => return Err(other("read the store", error)),
                    },
                    Err(error) if fault::is_missing(&error) => break,
                    Err(_) if attempt < 3 => {}
                    Err(error) => {
                        let subject = format!("the store in {container}");
                        return Err(self.fault("read", &subject, error));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Unpacks an archive into the store of the first container that exists; its name.
    pub(super) async fn put_in_store(
        &self,
        stack: &str,
        holders: &[String],
        archive: Bytes,
    ) -> Result<String, BackendError> {
        for container in holders {
            match self.put_archive(container, MOUNT, archive.clone()).await {
                Ok(()) => return Ok(container.clone()),
                Err(error) if fault::is_missing(&error) => {}
                Err(error) => {
                    let subject = format!("the store in {container}");
                    return Err(self.fault("write", &subject, error));
                }
            }
        }
        Err(BackendError::NotFound {
            what: format!("the store of stack {stack}"),
        })
    }

    /// What was read or written last; a whole turn through the engine for each record
    /// would take longer than most changes of a small stack.
    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        let records = &self.inner.records;
        records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the records of a stack and the container that leads to them.
    pub(super) fn remember(&self, stack: &str, holder: &str, bundle: Bundle) {
        *self.known() = Some(Known {
            stack: stack.to_owned(),
            holder: holder.to_owned(),
            bundle,
        });
    }

    /// Containers that may hold the store, most likely first.
    pub(super) async fn holders(&self, stack: &str) -> Result<Vec<String>, BackendError> {
        let mut holders = likely_holders(stack).to_vec();
        for name in self.names_of_role(stack, &["gateway", "keeper"]).await? {
            if !holders.contains(&name) {
                holders.push(name);
            }
        }
        Ok(holders)
    }
}

/// Where the store is in all but odd cases, without asking the engine.
pub(super) fn likely_holders(stack: &str) -> [String; 2] {
    [names::gateway(stack, 1), names::keeper(stack)]
}

impl Store for Docker {
    fn read<'a>(&'a self, stack: &'a str) -> Pending<'a, Option<Records>> {
        Box::pin(async move {
            let holders = self.holders(stack).await?;
            let found = self.store_files(&holders).await?;
            Ok(found.map(|(_, files)| Bundle::newest(&files).records))
        })
    }

    fn edit<'a>(&'a self, stack: &'a str, edit: Edit<'a>) -> Pending<'a, ()> {
        Box::pin(async move {
            // Taken out, so that a write that may have failed is followed by a look.
            let known = self.known().take().filter(|known| known.stack == stack);
            let (holders, mut bundle) = if let Some(known) = known {
                (vec![known.holder], known.bundle)
            } else {
                let holders = self.holders(stack).await?;
                // A volume of an older layout holds no records yet.
                let found = self.store_files(&holders).await?;
                let files = found.map(|(_, files)| files).unwrap_or_default();
                (holders, Bundle::newest(&files))
            };
            bundle.generation += 1;
            let release = edit(&mut bundle.records)?;
            let archive =
                packed(&bundle, release).map_err(|error| other("pack the records", error))?;
            let holder = match self.put_in_store(stack, &holders, archive.clone()).await {
                // A keeper goes when a gateway comes: another has it by now.
                Err(BackendError::NotFound { .. }) => {
                    let holders = self.holders(stack).await?;
                    self.put_in_store(stack, &holders, archive).await?
                }
                put => put?,
            };
            self.remember(stack, &holder, bundle);
            Ok(())
        })
    }

    fn seeded<'a>(
        &'a self,
        context: &'a Context,
        volume: &'a str,
    ) -> Pending<'a, BTreeMap<String, Vec<u8>>> {
        Box::pin(self.seeded_files(context, volume))
    }

    fn releases<'a>(&'a self, stack: &'a str) -> Pending<'a, BTreeMap<u64, Vec<u8>>> {
        Box::pin(async move {
            let files = if let Some(files) = self.nearby_files(stack, RELEASES).await {
                files
            } else {
                let holders = self.holders(stack).await?;
                let folder = format!("{MOUNT}/{RELEASES}");
                let found = self.files_below(&folder, &holders).await?;
                found.map(|(_, files)| files).unwrap_or_default()
            };
            Ok(files
                .into_values()
                .filter_map(|bytes| unsealed(&bytes))
                .collect())
        })
    }
}

/// `<number> <digest>`, a newline, then the document: a torn file is known as such.
fn sealed(number: u64, document: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{number} {}\n", digest(number, document)).into_bytes();
    bytes.extend_from_slice(document);
    bytes
}

fn unsealed(bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (head, document) = (str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]);
    let (number, found) = head.split_once(' ')?;
    let number = number.parse().ok()?;
    (found == digest(number, document)).then(|| (number, document.to_vec()))
}

/// What is unpacked first is there first: the release before the records that name it.
fn packed(bundle: &Bundle, release: Option<(u64, Vec<u8>)>) -> io::Result<Bytes> {
    let mut archive = Archive::new();
    if let Some((number, document)) = release {
        archive.folder("releases", OWNER, 0o700)?;
        let name = format!("releases/{}", number % KEPT_RELEASES);
        archive.file(&name, OWNER, 0o600, &sealed(number, &document))?;
    }
    archive.folder("live", OWNER, 0o700)?;
    archive.folder("live/state", OWNER, 0o700)?;
    let path = format!("live/{}", bundle.path());
    archive.file(&path, OWNER, 0o600, &bundle.encode()?)?;
    archive.finish()
}

fn other(doing: &str, source: io::Error) -> BackendError {
    BackendError::Other {
        doing: doing.to_owned(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(generation: u64, value: &str) -> Bundle {
        Bundle {
            generation,
            records: [("a.json".to_owned(), value.as_bytes().to_vec())].into(),
        }
    }

    fn files(bundles: &[&Bundle]) -> BTreeMap<String, Vec<u8>> {
        bundles
            .iter()
            .map(|one| (one.path().to_owned(), one.encode().unwrap()))
            .collect()
    }

    #[test]
    fn writes_alternate_and_the_newest_counts() {
        let (old, new) = (bundle(4, "old"), bundle(5, "new"));
        assert_ne!(old.path(), new.path());
        assert_eq!(Bundle::newest(&files(&[&old, &new])), new);
    }

    #[test]
    fn a_torn_write_leaves_the_one_before() {
        let (old, new) = (bundle(4, "old"), bundle(5, "new"));
        let whole = files(&[&old, &new]);
        let length = whole[new.path()].len();
        for cut in 0..length {
            let mut torn = whole.clone();
            torn.get_mut(new.path()).unwrap().truncate(cut);
            assert_eq!(Bundle::newest(&torn), old, "cut at {cut} of {length}");
        }
    }

    #[test]
    fn an_empty_store_has_no_records() {
        assert_eq!(Bundle::newest(&BTreeMap::new()), Bundle::default());
    }
}
