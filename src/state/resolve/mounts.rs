//! Volumes of the stack and mounts of a service.

use std::collections::BTreeMap;

use crate::stack::Stack;
use crate::stack::model;
use crate::state::spec::Mount;
use crate::state::spec::MountSource;
use crate::state::spec::VolumeSpec;
use crate::state::spec::VolumesFrom;
use crate::state::spec::VolumesSource;

/// Named volumes of the stack.
pub(super) fn volumes(stack: &Stack) -> BTreeMap<String, VolumeSpec> {
    stack
        .volumes
        .iter()
        .map(|(key, volume)| {
            let spec = VolumeSpec {
                name: volume.name.clone(),
                external: volume.external,
                driver: volume.driver.clone(),
                options: volume.driver_opts.clone(),
                labels: volume.labels.clone(),
            };
            (key.clone(), spec)
        })
        .collect()
}

/// Mounts of a service, seeded files included, ordered by target.
pub(super) fn mounts(service: &model::Service, granted: Vec<Mount>) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = service.volumes.iter().filter_map(mount).collect();
    mounts.extend(service.tmpfs.iter().map(|entry| tmpfs(entry)));
    mounts.extend(granted);
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    mounts
}

fn mount(mount: &model::Mount) -> Option<Mount> {
    let source = match &mount.source {
        model::MountSource::Bind { path, options } => MountSource::Bind {
            path: path.display().to_string(),
            create: options.create_host_path,
            propagation: options.propagation.clone(),
            selinux: options.selinux.map(|label| match label {
                model::SeLinux::Shared => "z".to_owned(),
                model::SeLinux::Private => "Z".to_owned(),
            }),
            // What every bind does anyway.
            recursive: options.recursive.clone().filter(|how| how != "enabled"),
        },
        model::MountSource::Volume {
            name: Some(key),
            nocopy,
            subpath,
            ..
        } => MountSource::Volume {
            key: key.clone(),
            nocopy: *nocopy,
            subpath: subpath.clone(),
        },
        model::MountSource::Volume { name: None, .. } => MountSource::Anonymous,
        model::MountSource::Tmpfs { size, mode } => MountSource::Tmpfs {
            size: size.and_then(|size| i64::try_from(size).ok()),
            mode: *mode,
            options: None,
        },
        model::MountSource::Image { image, subpath } => MountSource::Image {
            reference: image.clone(),
            subpath: subpath.clone(),
        },
        model::MountSource::Npipe { .. } | model::MountSource::Cluster { .. } => return None,
    };
    Some(Mount {
        target: mount.target.clone(),
        source,
        read_only: mount.read_only,
    })
}

/// `volumes_from`: `SERVICE[:ro]` or `container:NAME[:ro]`.
pub(super) fn lenders(service: &model::Service) -> Vec<VolumesFrom> {
    let one = |text: &String| {
        let (foreign, rest) = match text.strip_prefix("container:") {
            Some(rest) => (true, rest),
            None => (false, text.as_str()),
        };
        let (name, mode) = rest.split_once(':').unwrap_or((rest, "rw"));
        VolumesFrom {
            source: if foreign {
                VolumesSource::Container(name.to_owned())
            } else {
                VolumesSource::Service(name.to_owned())
            },
            read_only: mode == "ro",
        }
    };
    service.volumes_from.iter().map(one).collect()
}

/// `path[:options]`.
fn tmpfs(entry: &str) -> Mount {
    let (target, options) = match entry.split_once(':') {
        Some((target, options)) => (target, Some(options.to_owned())),
        None => (entry, None),
    };
    Mount {
        target: target.to_owned(),
        source: MountSource::Tmpfs {
            size: None,
            mode: None,
            options,
        },
        read_only: false,
    }
}
