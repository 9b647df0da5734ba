//! Volumes of the stack and mounts of a service.

use std::collections::BTreeMap;

use crate::stack::Stack;
use crate::stack::model;
use crate::state::spec::Mount;
use crate::state::spec::MountSource;
use crate::state::spec::VolumeSpec;

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
        },
        model::MountSource::Volume {
            name: Some(key),
            nocopy,
            ..
        } => MountSource::Volume {
            key: key.clone(),
            nocopy: *nocopy,
        },
        model::MountSource::Volume { name: None, .. } => MountSource::Anonymous,
        model::MountSource::Tmpfs { size, mode } => MountSource::Tmpfs {
            size: size.and_then(|size| i64::try_from(size).ok()),
            mode: *mode,
            options: None,
        },
        model::MountSource::Image { .. }
        | model::MountSource::Npipe { .. }
        | model::MountSource::Cluster { .. } => return None,
    };
    Some(Mount {
        target: mount.target.clone(),
        source,
        read_only: mount.read_only,
    })
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
