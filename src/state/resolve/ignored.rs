//! What the file asks for in vain, where that depends on more than one key: the keys
//! that never act are in the table of keys, which names them while the file is loaded;
//! what an engine is too old for is named by the plan.

use super::problem;
use crate::stack::Problem;
use crate::stack::Severity;
use crate::stack::model;
use crate::stack::model::DeployMode;
use crate::stack::model::FailureAction;

/// Their name in `x-shop.lint.silence`.
const NAME: &str = "no-effect";

/// A warning for each setting of a service that has no effect, with the reason.
pub(super) fn of_service(service: &model::Service) -> Vec<Problem> {
    let deploy = &service.deploy;
    let (update, back) = (&deploy.update_config, &deploy.rollback_config);
    let back_goes_on = back
        .as_ref()
        .is_some_and(|back| back.failure_action == Some(FailureAction::Continue));
    let endless = service.memswap_limit.is_some() && deploy.resources.limits.memory.is_none();
    let global = matches!(deploy.mode, DeployMode::Global | DeployMode::GlobalJob);
    let settings = [
        (
            "deploy.replicas",
            global && deploy.replicas.is_some_and(|count| count != 1),
            "with this deploy.mode there is one replica on each node, and a Docker Engine is one",
        ),
        (
            "deploy.update_config.max_failure_ratio",
            bears_failures(update.as_ref()) && is_staged(service),
            "a stage of x-shop.rollout is judged as a whole, by its verdict",
        ),
        (
            "deploy.rollback_config.max_failure_ratio",
            bears_failures(back.as_ref()),
            "a way back must not end half",
        ),
        (
            "deploy.rollback_config.failure_action",
            back_goes_on,
            "a way back that fails ends there, with exit code 51",
        ),
        (
            "memswap_limit",
            endless,
            "without a limit of its memory the service may use all of the swap too",
        ),
        (
            "mac_address",
            service.mac_address.is_some() && service.has_no_network_of_its_own(),
            "its network_mode gives it no interface of its own",
        ),
    ];
    settings
        .into_iter()
        .filter(|(_, used, _)| *used)
        .map(|(key, _, why)| warning(service, key, why))
        .collect()
}

fn bears_failures(declared: Option<&model::UpdateConfig>) -> bool {
    let ratio = declared.and_then(|declared| declared.max_failure_ratio);
    ratio.is_some_and(|ratio| ratio.0 > 0)
}

fn is_staged(service: &model::Service) -> bool {
    let rollout = service.shop.as_ref().and_then(|shop| shop.rollout.as_ref());
    rollout.is_some_and(|rollout| rollout.strategy != model::Strategy::Rolling)
}

fn warning(service: &model::Service, key: &str, why: &str) -> Problem {
    let top = key.split('.').next().unwrap_or(key);
    let path = format!("services.{}.{key}", service.name);
    let message = format!("{path} has no effect: {why}");
    Problem {
        path,
        hint: Some(format!("remove it, or list {NAME} in x-shop.lint.silence")),
        ..problem(Severity::Warning, NAME, service.place_of(top), message)
    }
}
