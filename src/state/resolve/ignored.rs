//! What the file asks for in vain, where that depends on more than one key: the keys
//! that never act are in the table of keys, which names them while the file is loaded.

use super::problem;
use crate::stack::Problem;
use crate::stack::Severity;
use crate::stack::model;
use crate::stack::model::DeployMode;
use crate::stack::model::MountSource;

/// Their name in `x-shop.lint.silence`.
const NAME: &str = "no-effect";

/// A warning for each setting of a service that has no effect, with the reason.
pub(super) fn of_service(service: &model::Service) -> Vec<Problem> {
    const LATER: &str = "it is passed on to no engine in this version";
    let deploy = &service.deploy;
    let devices = &deploy.resources.reservations.devices;
    let settings = [
        ("volumes_from", !service.volumes_from.is_empty(), LATER),
        ("memswap_limit", service.memswap_limit.is_some(), LATER),
        ("mac_address", service.mac_address.is_some(), LATER),
        (
            "deploy.mode",
            matches!(deploy.mode, DeployMode::Global | DeployMode::GlobalJob),
            "the count is that of `replicas` in this version",
        ),
        (
            "deploy.resources.reservations.devices",
            !devices.is_empty(),
            LATER,
        ),
        (
            "deploy.update_config.max_failure_ratio",
            bears_failures(service) && is_staged(service),
            "a stage of x-shop.rollout is judged as a whole, by its verdict",
        ),
    ];
    let mut warnings: Vec<Problem> = settings
        .into_iter()
        .filter(|(_, used, _)| *used)
        .map(|(key, _, why)| warning(service, key, why))
        .collect();
    for mount in &service.volumes {
        let kind = match &mount.source {
            MountSource::Volume {
                subpath: Some(_), ..
            } => "subpath",
            MountSource::Image { .. } => "type: image",
            _ => continue,
        };
        let message = format!("service {}: {kind} has no effect: {LATER}", service.name);
        warnings.push(problem(Severity::Warning, NAME, &mount.place, message));
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

fn warning(service: &model::Service, key: &str, why: &str) -> Problem {
    let top = key.split('.').next().unwrap_or(key);
    let message = format!("service {}: {key} has no effect: {why}", service.name);
    problem(Severity::Warning, NAME, service.place_of(top), message)
}
