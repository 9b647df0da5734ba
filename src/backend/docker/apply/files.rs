//! File sets: a volume of their own, filled through a container that is created
//! and never started, since nothing of ours runs where a secret is written. One that is
//! kept in memory lasts only while a container runs that mounts it: it is filled through
//! that, which does nothing but hold it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;

use bollard::models::ContainerCreateBody;
use bollard::models::ContainerInspectResponse;
use bollard::models::HostConfig;
use bollard::query_parameters::RenameContainerOptionsBuilder;
use bytes::Bytes;

use super::Docker;
use super::containers::Making;
use super::helpers::Helper;
use super::helpers::volume_mount;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::docker::archive::Archive;
use crate::backend::docker::archive::files_in;
use crate::backend::docker::fault;
use crate::state::desired::FileSet;
use crate::state::names;
use crate::state::observed::Role;
use crate::state::spec::VolumeSpec;

const ROOT: (u32, u32) = (0, 0);
/// Where a set is mounted in containers of ours.
pub(super) const PLACE: &str = "/run/files";

impl Docker {
    pub(super) async fn seed_files(
        &self,
        context: &Context,
        set: &str,
        volume: &str,
        memory: bool,
    ) -> Result<(), BackendError> {
        let other = |source: io::Error| BackendError::Other {
            doing: format!("pack the files of {set}"),
            source: Box::new(source),
        };
        let files = context
            .files
            .get(set)
            .ok_or_else(|| other(io::ErrorKind::NotFound.into()))?;
        if files.known.is_some() {
            return Err(other(io::Error::other("a record has no contents of files")));
        }
        let archive = packed(files).map_err(other)?;
        if memory {
            return self.hold_files(context, set, volume, archive).await;
        }
        let spec = VolumeSpec {
            name: volume.to_owned(),
            ..VolumeSpec::default()
        };
        self.create_volume(context, set, &spec).await?;
        let seeder = format!("{volume}-seed");
        // One left over from a run that was killed would be in the way.
        self.remove_container(&seeder).await?;
        self.create(
            context,
            &seeder,
            &Making::default(),
            seeder_body(context, volume),
        )
        .await?;
        let put = self.put_archive(&seeder, PLACE, archive).await;
        let removed = self.remove_container(&seeder).await;
        put.map_err(|error| self.fault("fill", &format!("volume {volume}"), error))?;
        removed
    }

    /// The same in memory. Whoever mounts the volume already sees the files come.
    async fn hold_files(
        &self,
        context: &Context,
        set: &str,
        volume: &str,
        archive: Bytes,
    ) -> Result<(), BackendError> {
        let spec = VolumeSpec {
            name: volume.to_owned(),
            options: memory_options(archive.len()),
            ..VolumeSpec::default()
        };
        self.create_volume(context, set, &spec).await?;
        let name = names::holder(volume);
        let runs = |found: ContainerInspectResponse| found.state.and_then(|state| state.running);
        if self.inspect(&name).await?.and_then(runs) == Some(true) {
            return Ok(());
        }
        self.remove_container(&name).await?;
        // It has its name once the volume is filled: what holds one that is not counts
        // for nothing, whenever the run ends.
        let filling = format!("{name}-filling");
        self.remove_container(&filling).await?;
        let holder = Helper {
            name: &filling,
            role: Role::Holder,
            listens: &[],
            networks: &[],
            names: &BTreeMap::new(),
            volume: Some(volume),
        };
        self.create_helper(context, &holder).await?;
        let put = self.put_archive(&filling, PLACE, archive).await;
        put.map_err(|error| self.fault("fill", &format!("volume {volume}"), error))?;
        let options = RenameContainerOptionsBuilder::new().name(&name).build();
        let renamed = self.api().rename_container(&filling, options).await;
        renamed.map_err(|error| self.fault("rename", &format!("container {filling}"), error))
    }

    /// The files of a volume that was seeded, by path.
    pub(in crate::backend::docker) async fn seeded_files(
        &self,
        context: &Context,
        volume: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, BackendError> {
        let subject = format!("volume {volume}");
        // The engine would make one that is gone.
        match self.api().inspect_volume(volume).await {
            Ok(_) => {}
            Err(error) if fault::is_missing(&error) => return Ok(BTreeMap::new()),
            Err(error) => return Err(self.fault("inspect", &subject, error)),
        }
        let reader = format!("{volume}-seed");
        self.remove_container(&reader).await?;
        self.create(
            context,
            &reader,
            &Making::default(),
            seeder_body(context, volume),
        )
        .await?;
        let got = self.get_archive(&reader, PLACE).await;
        let removed = self.remove_container(&reader).await;
        let archive = got.map_err(|error| self.fault("read", &subject, error))?;
        removed?;
        files_in(&archive).map_err(|source| BackendError::Other {
            doing: format!("unpack {subject}"),
            source: Box::new(source),
        })
    }
}

/// A file system in memory with room for an archive's files: each takes whole pages there, as
/// it takes whole blocks in the archive, and is written beside the one that it replaces.
fn memory_options(archive: usize) -> BTreeMap<String, String> {
    let kib = (archive * 16 / 1024).max(1024);
    [
        ("type", "tmpfs".to_owned()),
        ("device", "tmpfs".to_owned()),
        ("o", format!("size={kib}k,mode=0755,nosuid,nodev,noexec")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn seeder_body(context: &Context, volume: &str) -> ContainerCreateBody {
    let labels = [
        (names::STACK, context.stack.as_str()),
        (names::RUN, context.run.as_str()),
        (names::ROLE, "seeder"),
    ];
    ContainerCreateBody {
        image: Some(context.helper_image.clone()),
        cmd: Some(vec!["gateway".to_owned(), "keep".to_owned()]),
        labels: Some(
            labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        ),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            mounts: Some(vec![volume_mount(volume, PLACE, true)]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// The files and the folders they need. Folders can be entered by all: each file's
/// own mode guards it.
fn packed(set: &FileSet) -> io::Result<Bytes> {
    let mut archive = Archive::new();
    let mut folders = BTreeSet::new();
    for path in set.files.keys() {
        for (at, _) in path.match_indices('/') {
            folders.insert(&path[..at]);
        }
    }
    for folder in folders.into_iter().filter(|folder| !folder.is_empty()) {
        archive.folder(folder, ROOT, 0o755)?;
    }
    for (path, file) in &set.files {
        let path = path.trim_start_matches('/');
        archive.file(path, (file.uid, file.gid), file.mode, &file.content)?;
    }
    archive.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::desired::SeedFile;

    #[test]
    fn owner_mode_and_folders_are_in_the_archive() {
        let file = SeedFile {
            content: b"x".to_vec(),
            uid: 7,
            gid: 8,
            mode: 0o440,
        };
        let set = FileSet {
            files: [("a/b/c".to_owned(), file.clone()), ("d".to_owned(), file)].into(),
            known: None,
            memory: false,
        };
        let bytes = packed(&set).unwrap();
        let found: Vec<String> = tar::Archive::new(&bytes[..])
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                format!(
                    "{} {}:{} {:o}",
                    entry.path().unwrap().display(),
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mode().unwrap()
                )
            })
            .collect();
        assert_eq!(
            found,
            ["a 0:0 755", "a/b 0:0 755", "a/b/c 7:8 440", "d 7:8 440"]
        );
    }
}
