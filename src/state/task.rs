//! One-off containers: a service's image and settings, for one command.
//!
//! They stand beside the service and are no part of it: nobody finds them by the
//! service's name, and they take none of its ports and addresses.

use std::collections::BTreeMap;

use super::desired::DesiredState;
use super::names;
use super::spec::ContainerSpec;
use super::spec::Endpoint;
use super::spec::Healthcheck;
use super::spec::NetworkMode;
use super::spec::Restart;

/// What a one-off container of a service is.
pub fn one_off(service: &ContainerSpec) -> ContainerSpec {
    let mut spec = service.clone();
    spec.ports.clear();
    spec.expose.clear();
    spec.tty = false;
    spec.stdin_open = false;
    spec.live.restart = Restart::No;
    // Without one the image's own would run.
    spec.healthcheck = Some(Healthcheck {
        test: vec!["NONE".to_owned()],
        ..Healthcheck::default()
    });
    if let NetworkMode::Networks(endpoints) = &mut spec.network {
        for endpoint in endpoints.values_mut() {
            *endpoint = Endpoint {
                driver_opts: std::mem::take(&mut endpoint.driver_opts),
                interface: endpoint.interface.take(),
                priority: endpoint.priority,
                gateway_priority: endpoint.gateway_priority,
                ..Endpoint::default()
            };
        }
    }
    spec.mac_address = None;
    spec.pre_start.clear();
    spec
}

/// Its labels; `role` is `task` for a hook and `run` for what a user runs. The run's id
/// is added by the backend, which alone knows it.
pub fn labels(
    desired: &DesiredState,
    service: &str,
    role: &str,
    revision: &str,
) -> BTreeMap<String, String> {
    [
        (names::STACK, desired.stack.clone()),
        (names::SERVICE, service.to_owned()),
        (names::REVISION, revision.to_owned()),
        (names::ROLE, role.to_owned()),
        (names::COMPOSE_PROJECT, desired.stack.clone()),
        (names::COMPOSE_SERVICE, service.to_owned()),
        (names::COMPOSE_NUMBER, "1".to_owned()),
        (names::COMPOSE_ONEOFF, "True".to_owned()),
        (names::COMPOSE_HASH, format!("shopctl:{revision}")),
        (names::COMPOSE_WORKING_DIR, desired.working_dir.clone()),
        (names::COMPOSE_CONFIG_FILES, desired.config_files.join(",")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
