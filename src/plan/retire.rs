//! How a container goes: out of rotation, stopped, removed.
//!
//! Whoever calls gives the steps after which its successor serves.

use super::action::Action;
use super::action::Cause;
use super::action::StepId;
use super::replica::Made;
use super::stage::Stage;
use super::view::ServiceView;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::spec::ContainerSpec;

/// Time requests in flight may take to finish when the file sets no grace period.
const DRAIN_MS: u64 = 10_000;

/// Takes a target away; `needs` come first.
pub(super) fn remove_target(
    stage: &mut Stage<'_, '_>,
    (at, alias): ((&str, u32), &str),
    cause: &Cause,
    drain_ms: u64,
    needs: &[StepId],
) -> StepId {
    let mut needs = needs.to_vec();
    needs.extend(stage.gateways.ready());
    stage.untargeted.insert(alias.to_owned());
    let action = Action::RemoveTarget {
        service: at.0.to_owned(),
        alias: alias.to_owned(),
        drain_ms,
    };
    stage.draft.replica(at, action, cause.clone(), &needs)
}

/// Takes a container out of rotation and stops it; gives the steps after which it
/// is silent, or `needs` where it is already.
pub(super) fn silence(
    stage: &mut Stage<'_, '_>,
    grace: &ContainerSpec,
    found: &Instance,
    cause: &Cause,
    needs: &[StepId],
) -> Vec<StepId> {
    let mut needs = needs.to_vec();
    // It may have the name, or call one.
    needs.extend(&stage.gateways.named);
    if stage.view.is_target(found) && stage.gateways.exist {
        needs = vec![remove_target(
            stage,
            of(found),
            cause,
            drain_ms(grace),
            &needs,
        )];
    }
    if runs(found) {
        let action = Action::StopContainer {
            container: found.name.clone(),
            grace_secs: None,
        };
        let at = (found.service.as_str(), found.slot);
        let stop = stage.draft.replica(at, action, cause.clone(), &needs);
        stage.gateways.freed(&mut stage.draft, found, stop);
        needs = vec![stop];
    }
    needs
}

/// Removes a container that is silent.
pub(super) fn remove(
    stage: &mut Stage<'_, '_>,
    found: &Instance,
    cause: &Cause,
    needs: &[StepId],
) -> StepId {
    let action = Action::RemoveContainer {
        container: found.name.clone(),
    };
    let at = (found.service.as_str(), found.slot);
    stage.draft.replica(at, action, cause.clone(), needs)
}

/// Out of rotation, stopped, removed; gives the last step.
pub(super) fn retire(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    found: &Instance,
    cause: &Cause,
    needs: &[StepId],
) -> StepId {
    let silent = silence(stage, &one.service.container, found, cause, needs);
    remove(stage, found, cause, &silent)
}

/// Takes away a replica that this plan made itself.
pub(super) fn retire_made(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    made: &Made,
    needs: &[StepId],
) {
    let at = (one.service.name.as_str(), made.slot);
    let mut needs = needs.to_vec();
    if one.routed() && stage.gateways.exist {
        let action = Action::RemoveTarget {
            service: one.service.name.clone(),
            alias: made.alias.clone(),
            drain_ms: drain_ms(&one.service.container),
        };
        needs = vec![stage.draft.replica(at, action, Cause::Replaced, &needs)];
    }
    let action = Action::StopContainer {
        container: made.name.clone(),
        grace_secs: None,
    };
    let stop = stage.draft.replica(at, action, Cause::Replaced, &needs);
    let action = Action::RemoveContainer {
        container: made.name.clone(),
    };
    stage.draft.replica(at, action, Cause::Replaced, &[stop]);
}

/// Where a container stands, and its alias.
pub(super) fn of(found: &Instance) -> ((&str, u32), &str) {
    ((&found.service, found.slot), &found.alias)
}

/// Whether it has to be stopped before it is removed.
pub(super) fn runs(found: &Instance) -> bool {
    matches!(
        found.state,
        InstanceState::Running | InstanceState::Paused | InstanceState::Restarting
    )
}

/// Time requests in flight get: the grace period of the container.
pub(super) fn drain_ms(spec: &ContainerSpec) -> u64 {
    spec.stop_grace_secs
        .and_then(|secs| u64::try_from(secs).ok())
        .map_or(DRAIN_MS, |secs| secs.saturating_mul(1000))
}
