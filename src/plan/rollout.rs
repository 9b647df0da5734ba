//! How one replica takes the place of another.
//!
//! Start-first: create, start, ready gate, add target; then remove the old target
//! and drain, stop, remove. Protection is an edge: what removes the old needs the
//! step after which the new one serves.

use super::action::Action;
use super::action::Cause;
use super::action::Gate;
use super::action::InstanceSpec;
use super::action::StepId;
use super::ground;
use super::service::ServiceSteps;
use super::service::Stage;
use super::service::Waits;
use super::view::ServiceView;
use crate::state::change::KnownImage;
use crate::state::change::Verdict;
use crate::state::desired::RolloutOrder;
use crate::state::labels;
use crate::state::names;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::spec::NetworkMode;

/// Time requests in flight may take to finish when the file sets no grace period.
const DRAIN_MS: u64 = 10_000;

/// Replaces what has the wrong revision, in batches, after `before`.
pub(super) fn replace(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    waits: &Waits,
    before: &[StepId],
    steps: &mut ServiceSteps,
) {
    let rollout = &one.service.rollout;
    let old: Vec<(u32, &Instance, Cause)> = one
        .slots
        .iter()
        .filter_map(|(number, slot)| {
            let (found, verdict) = slot.holder.as_ref()?;
            Some((*number, *found, replacement_cause(verdict)?))
        })
        .collect();
    let size = match rollout.parallelism {
        0 => old.len().max(1),
        some => usize::try_from(some).unwrap_or(usize::MAX),
    };
    let mut before = before.to_vec();
    let mut delay = 0;
    for batch in old.chunks(size) {
        let mut ends = Vec::new();
        for (number, found, cause) in batch {
            let end = match rollout.order {
                RolloutOrder::StartFirst => start_first(
                    stage, one, *number, found, cause, &before, waits, delay, steps,
                ),
                RolloutOrder::StopFirst => stop_first(
                    stage, one, *number, found, cause, &before, waits, delay, steps,
                ),
            };
            ends.push(end);
        }
        for (number, _, _) in batch {
            if let Some(slot) = one.slots.get(number) {
                for other in &slot.others {
                    ends.push(retire(
                        stage,
                        one,
                        other,
                        &Cause::LeftOver,
                        &ends.clone(),
                        steps,
                    ));
                }
            }
        }
        steps.gone.extend(&ends);
        steps.replaced = true;
        before = ends;
        delay = rollout.delay_ms;
    }
}

fn replacement_cause(verdict: &Verdict) -> Option<Cause> {
    match verdict {
        Verdict::ImageChanged => Some(Cause::ImageChanged),
        Verdict::Changed(what) => Some(Cause::Changed(what.clone())),
        _ => None,
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call per slot, all of it needed"
)]
fn start_first(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    number: u32,
    old: &Instance,
    cause: &Cause,
    before: &[StepId],
    waits: &Waits,
    delay: u64,
    steps: &mut ServiceSteps,
) -> StepId {
    let serving = create(
        stage,
        one,
        number,
        cause.clone(),
        before,
        waits,
        delay,
        steps,
    );
    steps.serving.push(serving);
    retire(stage, one, old, &Cause::Replaced, &[serving], steps)
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call per slot, all of it needed"
)]
fn stop_first(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    number: u32,
    old: &Instance,
    cause: &Cause,
    before: &[StepId],
    waits: &Waits,
    delay: u64,
    steps: &mut ServiceSteps,
) -> StepId {
    let gone = retire(stage, one, old, &Cause::Replaced, before, steps);
    let serving = create(
        stage,
        one,
        number,
        cause.clone(),
        &[gone],
        waits,
        delay,
        steps,
    );
    steps.serving.push(serving);
    serving
}

/// Creates and starts a replica and lets it serve; gives the step after which it does.
#[expect(
    clippy::too_many_arguments,
    reason = "one call per slot, all of it needed"
)]
pub(super) fn create(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    number: u32,
    cause: Cause,
    before: &[StepId],
    waits: &Waits,
    delay: u64,
    steps: &mut ServiceSteps,
) -> StepId {
    let instance = instance(stage, one, number);
    let (name, alias) = (instance.name.clone(), instance.alias.clone());
    let mut needs = stage.ground.of(stage.view, one);
    needs.extend_from_slice(before);
    needs.extend(joined(stage, one).and_then(|(_, step)| step));
    let action = Action::CreateInstance { instance };
    let created = stage
        .draft
        .step(&one.service.name, action, cause.clone(), &needs);
    stage.draft.delay(created, delay);
    // A first start is not watched: there is nothing to go back to.
    let replaces = matches!(cause, Cause::Changed(_) | Cause::ImageChanged);
    let monitor_ms = if replaces {
        one.service.rollout.monitor_ms
    } else {
        0
    };
    if number == 1 {
        steps.first = Some((name.clone(), Some(created)));
    }
    let action = Action::StartContainer {
        container: name.clone(),
    };
    let started = stage
        .draft
        .step(&one.service.name, action, cause.clone(), &[created]);
    gate(stage, one, started, &name, &alias, monitor_ms, waits);
    steps.starts.push(started);
    add_target(stage, one, &alias, cause, started)
}

/// Starts a container that exists; gives the step after which it serves.
pub(super) fn start(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    found: &Instance,
    cause: Cause,
    waits: &Waits,
    steps: &mut ServiceSteps,
) -> StepId {
    let mut needs = Vec::new();
    if stage.view.is_target(found) {
        // It gets requests again only after its gate.
        needs.push(remove_target(stage, found, &cause, 0, &[]));
    }
    let action = Action::StartContainer {
        container: found.name.clone(),
    };
    let started = stage
        .draft
        .step(&one.service.name, action, cause.clone(), &needs);
    gate(stage, one, started, &found.name, &found.alias, 0, waits);
    steps.starts.push(started);
    add_target(stage, one, &found.alias, cause, started)
}

fn gate(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    started: StepId,
    container: &str,
    alias: &str,
    monitor_ms: u64,
    waits: &Waits,
) {
    let networks = stage.view.networks_of(one.service);
    stage.draft.need(started, &waits.needs);
    stage.draft.after(started, &waits.after);
    stage.draft.gate(
        started,
        Gate::Ready {
            container: container.to_owned(),
            alias: alias.to_owned(),
            networks,
            ready: one.service.ready.clone(),
            monitor_ms,
        },
    );
}

/// Adds a target where the service is routed; gives the step after which it serves.
pub(super) fn add_target(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    alias: &str,
    cause: Cause,
    started: StepId,
) -> StepId {
    if !one.routed || alias.is_empty() {
        return started;
    }
    let mut needs = vec![started];
    needs.extend(&stage.gateways.ready);
    let action = Action::AddTarget {
        service: one.service.name.clone(),
        alias: alias.to_owned(),
    };
    stage.draft.step(&one.service.name, action, cause, &needs)
}

fn remove_target(
    stage: &mut Stage<'_, '_>,
    found: &Instance,
    cause: &Cause,
    drain_ms: u64,
    needs: &[StepId],
) -> StepId {
    let mut needs = needs.to_vec();
    needs.extend(&stage.gateways.ready);
    stage.untargeted.insert(found.alias.clone());
    let action = Action::RemoveTarget {
        service: found.service.clone(),
        alias: found.alias.clone(),
        drain_ms,
    };
    stage
        .draft
        .step(&found.service, action, cause.clone(), &needs)
}

/// Takes a container out of service, stops and removes it; gives the last step.
pub(super) fn retire(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    found: &Instance,
    cause: &Cause,
    needs: &[StepId],
    steps: &mut ServiceSteps,
) -> StepId {
    let mut needs = needs.to_vec();
    if stage.view.is_target(found) {
        let drain_ms = one
            .service
            .container
            .stop_grace_secs
            .and_then(|secs| u64::try_from(secs).ok())
            .map_or(DRAIN_MS, |secs| secs.saturating_mul(1000));
        needs = vec![remove_target(stage, found, cause, drain_ms, &needs)];
    }
    if runs(found) {
        let action = Action::StopContainer {
            container: found.name.clone(),
            grace_secs: None,
        };
        let stop = stage
            .draft
            .step(&found.service, action, cause.clone(), &needs);
        steps.stops.push((found.name.clone(), stop));
        needs = vec![stop];
    }
    stage.remove(found, cause, &needs)
}

fn runs(found: &Instance) -> bool {
    matches!(
        found.state,
        InstanceState::Running | InstanceState::Paused | InstanceState::Restarting
    )
}

/// Container whose network this service's containers join, and the step that makes it.
fn joined(stage: &Stage<'_, '_>, one: &ServiceView<'_>) -> Option<(String, Option<StepId>)> {
    let NetworkMode::Service(other) = &one.service.container.network else {
        return None;
    };
    stage.done.get(other)?.first.clone()
}

fn instance(stage: &mut Stage<'_, '_>, one: &ServiceView<'_>, number: u32) -> InstanceSpec {
    let desired = stage.view.input.desired;
    let service = &one.service.name;
    let (name, alias) = names_of(stage, one, number);
    let image_id = match &one.revision.image {
        KnownImage::Id(id) => Some(id.clone()),
        KnownImage::Absent | KnownImage::Unnamed => None,
    };
    InstanceSpec {
        service: service.clone(),
        slot: number,
        revision: one.revision.digest.clone(),
        image_id,
        spec: one.revision.spec.clone(),
        networks: ground::network_names(stage.view, one),
        volumes: ground::volumes_of(stage.view, one),
        files: ground::files_of(stage.view, one),
        join: joined(stage, one).map(|(container, _)| container),
        labels: labels::of_replica(desired, service, number, &alias, &one.revision),
        name,
        alias,
    }
}

/// A free name and alias. The revision decides both; where a container of the same
/// revision still has the name (another image under the same reference, a limit
/// that could not be lifted), the digest is taken once more.
fn names_of(stage: &mut Stage<'_, '_>, one: &ServiceView<'_>, number: u32) -> (String, String) {
    let stack = &stage.view.input.desired.stack;
    let service = &one.service.name;
    let mut key = one.revision.digest.clone();
    loop {
        let name = one
            .service
            .container_name
            .clone()
            .unwrap_or_else(|| names::instance(stack, service, number, &key));
        let free = stage.names.insert(name.clone());
        if free || one.service.container_name.is_some() {
            return (name, names::alias(stack, service, number, &key));
        }
        key = names::hex(key.as_bytes());
    }
}
