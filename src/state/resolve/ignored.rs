//! Keys that the specification knows and this version does not carry out.

use super::problem;
use crate::stack::Problem;
use crate::stack::Severity;
use crate::stack::model;
use crate::stack::model::DeployMode;
use crate::stack::model::MountSource;

/// A warning for each key of a service that has no effect yet.
pub(super) fn of_service(service: &model::Service) -> Vec<Problem> {
    let deploy = &service.deploy;
    let first = [
        ("annotations", !service.annotations.is_empty()),
        ("volumes_from", !service.volumes_from.is_empty()),
        ("memswap_limit", service.memswap_limit.is_some()),
        ("mac_address", service.mac_address.is_some()),
        (
            "deploy.mode",
            matches!(deploy.mode, DeployMode::Global | DeployMode::GlobalJob),
        ),
        (
            "deploy.placement",
            deploy.placement != model::Placement::default(),
        ),
        ("deploy.endpoint_mode", deploy.endpoint_mode.is_some()),
        ("deploy.rollback_config", deploy.rollback_config.is_some()),
        (
            // A stage is judged as a whole, by its verdict.
            "deploy.update_config.max_failure_ratio (with x-shop.rollout)",
            bears_failures(service) && is_staged(service),
        ),
        (
            "deploy.resources.reservations.devices",
            !deploy.resources.reservations.devices.is_empty(),
        ),
        (
            "deploy.resources.reservations.generic_resources",
            !deploy.resources.reservations.generic.is_empty(),
        ),
        (
            "x-shop.autoscale",
            service
                .shop
                .as_ref()
                .is_some_and(|shop| shop.autoscale.is_some()),
        ),
    ];
    let mut warnings: Vec<Problem> = first
        .into_iter()
        .filter(|(_, used)| *used)
        .map(|(key, _)| warning(service, key))
        .collect();
    for mount in &service.volumes {
        let kind = match &mount.source {
            MountSource::Volume {
                subpath: Some(_), ..
            } => "volumes (subpath)",
            MountSource::Image { .. } => "volumes (type image)",
            MountSource::Npipe { .. } => "volumes (type npipe)",
            MountSource::Cluster { .. } => "volumes (type cluster)",
            _ => continue,
        };
        warnings.push(problem(
            Severity::Warning,
            "no-effect",
            &mount.place,
            format!("service {}: {kind} has no effect yet", service.name),
        ));
    }
    warnings
}

fn bears_failures(service: &model::Service) -> bool {
    let declared = service.deploy.update_config.as_ref();
    let ratio = declared.and_then(|declared| declared.max_failure_ratio);
    ratio.is_some_and(|ratio| ratio.0 > 0)
}

fn is_staged(service: &model::Service) -> bool {
    let rollout = service.shop.as_ref().and_then(|shop| shop.rollout.as_ref());
    rollout.is_some_and(|rollout| rollout.strategy != model::Strategy::Rolling)
}

fn warning(service: &model::Service, key: &str) -> Problem {
    let top = key.split('.').next().unwrap_or(key);
    problem(
        Severity::Warning,
        "no-effect",
        service.place_of(top),
        format!("service {}: {key} has no effect yet", service.name),
    )
}
