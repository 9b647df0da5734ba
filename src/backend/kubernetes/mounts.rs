//! File systems of a pod.

use k8s_openapi::api::core::v1::ConfigMapVolumeSource;
use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use k8s_openapi::api::core::v1::ImageVolumeSource;
use k8s_openapi::api::core::v1::KeyToPath;
use k8s_openapi::api::core::v1::PersistentVolumeClaimVolumeSource;
use k8s_openapi::api::core::v1::SecretVolumeSource;
use k8s_openapi::api::core::v1::Volume;
use k8s_openapi::api::core::v1::VolumeMount;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Making;
use super::names::dns;
use super::storage;
use super::support::Finding;
use crate::state::desired::FileSet;
use crate::state::desired::ServiceSpec;
use crate::state::resolve::holds_secrets;
use crate::state::spec::Mount;
use crate::state::spec::MountSource;

/// In a group's hands: a file of a pod belongs to root, whoever reads it.
const GROUP_READ: u32 = 0o040;
const OWNER_READ: u32 = 0o400;

/// The file systems of a pod, and where its container sees them.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    pub(super) volumes: Vec<Volume>,
    pub(super) mounts: Vec<VolumeMount>,
    /// The group that must be able to read files of the pod.
    pub(super) group: Option<i64>,
}

impl Mounted {
    fn add(&mut self, volume: Volume, mount: &Mount, sub_path: Option<String>) {
        self.mounts.push(VolumeMount {
            name: volume.name.clone(),
            mount_path: mount.target.clone(),
            read_only: mount.read_only.then_some(true),
            sub_path,
            ..VolumeMount::default()
        });
        if self.volumes.iter().all(|known| known.name != volume.name) {
            self.volumes.push(volume);
        }
    }
}

impl Making<'_> {
    /// What a service mounts.
    pub(super) fn mounted(&mut self, service: &ServiceSpec) -> Mounted {
        let mut mounted = Mounted::default();
        for (index, mount) in service.container.mounts.iter().enumerate() {
            self.mount(service, index, mount, &mut mounted);
        }
        if let Some(size) = service.container.shm_size {
            let mount = Mount {
                target: "/dev/shm".to_owned(),
                source: MountSource::Anonymous,
                read_only: false,
            };
            mounted.add(memory("shm".to_owned(), Some(size)), &mount, None);
        }
        mounted
    }

    fn mount(&mut self, service: &ServiceSpec, index: usize, mount: &Mount, all: &mut Mounted) {
        let own = format!("mount-{index}");
        match &mount.source {
            MountSource::Volume { key, subpath, .. } => {
                let name = dns(key);
                let volume = Volume {
                    name: dns(&format!("volume-{key}")),
                    persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                        claim_name: name,
                        ..PersistentVolumeClaimVolumeSource::default()
                    }),
                    ..Volume::default()
                };
                all.add(volume, mount, subpath.clone());
            }
            MountSource::Image { reference, subpath } => {
                let volume = Volume {
                    name: own,
                    image: Some(ImageVolumeSource {
                        reference: Some(reference.clone()),
                        ..ImageVolumeSource::default()
                    }),
                    ..Volume::default()
                };
                all.add(volume, mount, subpath.clone());
            }
            MountSource::Anonymous => {
                let volume = Volume {
                    name: own,
                    empty_dir: Some(EmptyDirVolumeSource::default()),
                    ..Volume::default()
                };
                all.add(volume, mount, None);
            }
            MountSource::Tmpfs {
                size,
                mode,
                options,
            } => {
                if mode.is_some()
                    || options
                        .as_deref()
                        .is_some_and(|text| !text.starts_with("size="))
                {
                    let text = "memory has no mode and no options there, a size alone";
                    self.findings
                        .push(Finding::note(&service.name, "tmpfs", text));
                }
                all.add(memory(own, *size), mount, None);
            }
            MountSource::Files { set, file } => {
                let volume = self.files(service, set, all);
                all.add(volume, mount, file.clone());
            }
            MountSource::Bind { path, .. } => {
                let text = format!(
                    "{path} is on this host and not on the nodes: make it one of `configs`, or a volume"
                );
                self.findings
                    .push(Finding::refused(&service.name, "volumes", text));
            }
        }
    }

    /// The volume of a set of files.
    fn files(&self, service: &ServiceSpec, set: &str, all: &mut Mounted) -> Volume {
        let object = storage::object_of(self.desired, set);
        let mut volume = Volume {
            name: dns(&format!("files-{set}")),
            ..Volume::default()
        };
        let items = self.desired.files.get(set).map(|files| {
            let owner = files.files.values().map(|file| file.gid).max();
            all.group = all.group.max(owner.filter(|gid| *gid > 0).map(i64::from));
            items(files)
        });
        if holds_secrets(set, &service.name) {
            volume.secret = Some(SecretVolumeSource {
                secret_name: Some(object),
                items,
                ..SecretVolumeSource::default()
            });
        } else {
            volume.config_map = Some(ConfigMapVolumeSource {
                name: object,
                items,
                ..ConfigMapVolumeSource::default()
            });
        }
        volume
    }
}

fn items(files: &FileSet) -> Vec<KeyToPath> {
    let item = |(path, file): (&String, &crate::state::desired::SeedFile)| {
        let owned = file.uid > 0 || file.gid > 0;
        let group = if owned && file.mode & OWNER_READ != 0 {
            GROUP_READ
        } else {
            0
        };
        KeyToPath {
            key: storage::key_of(path),
            path: path.clone(),
            mode: i32::try_from(file.mode | group).ok(),
            ..KeyToPath::default()
        }
    };
    files.files.iter().map(item).collect()
}

fn memory(name: String, size: Option<i64>) -> Volume {
    Volume {
        name,
        empty_dir: Some(EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: size.map(|bytes| Quantity(bytes.to_string())),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    }
}
