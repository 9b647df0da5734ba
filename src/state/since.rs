//! Which version of the engine's API first knew what: asked by the plan, which names what
//! the engine at hand is too old for, and by the backend, which does not send it then.
//!
//! Only the minor number counts; the major one is 1 for every engine there is.

use super::spec::ContainerSpec;
use super::spec::MountSource;
use super::spec::NetworkSpec;

/// Annotations of a container.
pub const ANNOTATIONS: u32 = 43;
/// Mounts below a bind that stay writable, or become read-only for sure.
pub const RECURSIVE_READ_ONLY: u32 = 44;
/// The interval of a health check while the container starts.
pub const START_INTERVAL: u32 = 44;
/// A MAC address for each network; before, only for the one that a container is made with.
pub const ENDPOINT_MAC: u32 = 44;
/// A folder of a volume.
pub const SUBPATH: u32 = 45;
/// The content of an image as a mount.
pub const IMAGE_MOUNT: u32 = 48;
/// Which network gives the default route.
pub const GATEWAY_PRIORITY: u32 = 48;
/// Networks without IPv4.
pub const IPV4: u32 = 48;
/// Names of interfaces.
pub const INTERFACE_NAME: u32 = 49;

/// What an engine is too old for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooOld {
    /// The key, as in the file.
    pub key: String,
    /// First API that knows it, as its minor number.
    pub since: u32,
    /// The container would be another one without it, so none is made.
    pub refuses: bool,
}

/// The minor number of an API version; for what is no version of one, nothing is too new.
pub fn minor(api: &str) -> u32 {
    let minor = api
        .split_once('.')
        .and_then(|(_, minor)| minor.parse().ok());
    minor.unwrap_or(u32::MAX)
}

/// What of a container an engine is too old for.
pub fn of_container(spec: &ContainerSpec, minor: u32) -> Vec<TooOld> {
    let mut found = Found::new(minor);
    found.wish(!spec.annotations.is_empty(), "annotations", ANNOTATIONS);
    let check = spec.healthcheck.as_ref();
    found.wish(
        check.is_some_and(|check| check.start_interval_ns.is_some()),
        "healthcheck.start_interval",
        START_INTERVAL,
    );
    for (index, (key, endpoint)) in spec.network.in_order().into_iter().enumerate() {
        let key = |name: &str| format!("networks.{key}.{name}");
        found.wish(
            endpoint.mac_address.is_some() && index > 0,
            &key("mac_address"),
            ENDPOINT_MAC,
        );
        found.wish(
            endpoint.gateway_priority != 0,
            &key("gw_priority"),
            GATEWAY_PRIORITY,
        );
        found.wish(
            endpoint.interface.is_some(),
            &key("interface_name"),
            INTERFACE_NAME,
        );
    }
    for mount in &spec.mounts {
        let key = |name: &str| format!("volumes ({name} at {})", mount.target);
        match &mount.source {
            MountSource::Volume {
                subpath: Some(_), ..
            } => found.must(&key("subpath"), SUBPATH),
            MountSource::Image { .. } => found.must(&key("type image"), IMAGE_MOUNT),
            MountSource::Bind {
                recursive: Some(how),
                ..
            } => found.wish(
                how != "disabled",
                &key(&format!("recursive: {how}")),
                RECURSIVE_READ_ONLY,
            ),
            _ => {}
        }
    }
    found.list
}

/// What of a network an engine is too old for.
pub fn of_network(spec: &NetworkSpec, minor: u32) -> Vec<TooOld> {
    let mut found = Found::new(minor);
    if spec.ipv4 == Some(false) {
        found.must("enable_ipv4", IPV4);
    }
    found.list
}

struct Found {
    minor: u32,
    list: Vec<TooOld>,
}

impl Found {
    fn new(minor: u32) -> Self {
        Self {
            minor,
            list: Vec::new(),
        }
    }

    fn wish(&mut self, asked: bool, key: &str, since: u32) {
        if asked {
            self.add(key, since, false);
        }
    }

    fn must(&mut self, key: &str, since: u32) {
        self.add(key, since, true);
    }

    fn add(&mut self, key: &str, since: u32, refuses: bool) {
        if self.minor < since {
            self.list.push(TooOld {
                key: key.to_owned(),
                since,
                refuses,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::spec::Mount;

    #[test]
    fn only_what_is_newer_than_the_engine_is_found() {
        let spec = ContainerSpec {
            annotations: [("a".to_owned(), "b".to_owned())].into(),
            mounts: vec![Mount {
                target: "/data".to_owned(),
                source: MountSource::Volume {
                    key: "data".to_owned(),
                    nocopy: false,
                    subpath: Some("a".to_owned()),
                },
                read_only: false,
            }],
            ..ContainerSpec::default()
        };
        let keys = |minor| -> Vec<(String, bool)> {
            let found = of_container(&spec, minor).into_iter();
            found.map(|one| (one.key, one.refuses)).collect()
        };
        let subpath = ("volumes (subpath at /data)".to_owned(), true);
        assert_eq!(
            keys(41),
            [("annotations".to_owned(), false), subpath.clone()]
        );
        assert_eq!(keys(44), [subpath]);
        assert!(keys(45).is_empty());
    }

    #[test]
    fn a_cluster_is_never_too_old() {
        assert_eq!(minor("1.41"), 41);
        assert_eq!(minor(""), u32::MAX);
    }
}
