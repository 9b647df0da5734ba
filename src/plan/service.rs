//! The steps of one service: what is missing, what is too many, what changes.

use super::action::Action;
use super::action::Cause;
use super::action::StepId;
use super::draft::Draft;
use super::replica;
use super::replica::Make;
use super::rollout;
use super::stage::ServiceSteps;
use super::stage::Stage;
use super::stage::Waits;
use super::view::ServiceView;
use super::view::Slot;
use crate::state::change;
use crate::state::change::Verdict;
use crate::state::desired::ReadyGate;
use crate::state::live;
use crate::state::observed::Health;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;

/// What is done with a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing, or only what runs on a live container.
    Keep,
    /// A container is made; what is there of the slot goes first.
    Make(Cause),
    /// The container is started, or has yet to pass its gate.
    Start(Cause),
    /// The container is restarted in place.
    Restart(Cause),
    /// Another container takes the place of this one.
    Replace(Cause),
}

/// Drafts one service; the services it needs are drafted already.
pub(super) fn draft<'a>(stage: &mut Stage<'_, 'a>, one: &ServiceView<'a>) {
    let mut steps = ServiceSteps::default();
    if one.in_scope {
        let waits = stage.waits(one);
        if let Some(note) = &one.count.note {
            stage.draft.note(false, &one.service.name, note.clone());
        }
        let decisions: Vec<(u32, Decision)> = one
            .slots
            .iter()
            .map(|(number, slot)| (*number, decide(stage, one, slot)))
            .collect();
        let filled = fill(stage, one, &decisions, &waits, &mut steps);
        let shrunk = shrink(stage, one, &filled);
        rollout::replace(stage, one, &decisions, &waits, &shrunk, &mut steps);
        rollout::restart(stage, one, &decisions, &waits, &filled, &mut steps);
        update(&mut stage.draft, one, &decisions);
    }
    if steps.first.is_none() {
        let holder = one.slots.get(&1).and_then(|slot| slot.holder.as_ref());
        steps.first = holder.map(|(found, _)| (found.name.clone(), None));
    }
    stage.done.insert(one.service.name.clone(), steps);
}

/// Decides about one slot.
pub(super) fn decide(stage: &Stage<'_, '_>, one: &ServiceView<'_>, slot: &Slot<'_>) -> Decision {
    let Some((found, verdict)) = &slot.holder else {
        return Decision::Make(missing_cause(stage, one));
    };
    match verdict {
        Verdict::ImageChanged => Decision::Replace(Cause::ImageChanged),
        Verdict::Changed(what) => Decision::Replace(Cause::Changed(what.clone())),
        Verdict::LeftOver | Verdict::Dead => Decision::Make(Cause::LeftOver),
        // The network it joined is gone with its container.
        _ if stage.joined(one).is_some_and(|(_, step)| step.is_some()) => {
            Decision::Replace(Cause::NeededBy("the new container it joins".to_owned()))
        }
        Verdict::Start(how) => Decision::Start(Cause::NotRunning(how.clone())),
        Verdict::Restart(how) => Decision::Restart(Cause::NotRunning(how.clone())),
        Verdict::Unhealthy => Decision::Restart(Cause::Unhealthy),
        Verdict::Current | Verdict::Update(_) => match stage.restarted_by(one) {
            Some(other) => Decision::Restart(Cause::NeededBy(format!("{other}, replaced"))),
            None if is_unproved(stage, one, found, &slot.others) => {
                Decision::Start(Cause::LeftOver)
            }
            None => Decision::Keep,
        },
    }
}

/// A running container that never passed its gate: it gets no requests though it
/// should, its predecessor still stands beside it, or it is not done yet.
fn is_unproved(
    stage: &Stage<'_, '_>,
    one: &ServiceView<'_>,
    found: &Instance,
    others: &[&Instance],
) -> bool {
    if found.state != InstanceState::Running {
        return false;
    }
    match one.service.ready {
        ReadyGate::Completed { .. } => return true,
        ReadyGate::Healthy { .. } if found.health == Some(Health::Starting) => return true,
        _ => {}
    }
    if one.routed {
        !stage.view.is_target(found)
    } else {
        others.iter().any(|other| change::serves(other))
    }
}

fn missing_cause(stage: &Stage<'_, '_>, one: &ServiceView<'_>) -> Cause {
    let instances = &stage.view.input.observed.instances;
    if instances
        .iter()
        .any(|found| found.service == one.service.name)
    {
        Cause::ScaleUp
    } else {
        Cause::Missing
    }
}

/// Makes and starts what does not run, all replicas at once. Gives the steps after
/// which those replicas serve.
fn fill(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    decisions: &[(u32, Decision)],
    waits: &Waits,
    steps: &mut ServiceSteps,
) -> Vec<StepId> {
    let mut serving = Vec::new();
    for (number, decision) in decisions {
        let Some(slot) = one.slots.get(number) else {
            continue;
        };
        let holder = slot.holder.as_ref().map(|(found, _)| *found);
        let made = match (decision, holder) {
            (Decision::Make(cause), holder) => {
                let removed: Vec<StepId> = holder
                    .into_iter()
                    .map(|found| {
                        stage.free_name(found);
                        replica::remove(stage, found, &Cause::LeftOver, &[])
                    })
                    .collect();
                let make = Make {
                    slot: *number,
                    cause: cause.clone(),
                    create_needs: removed,
                    start_needs: Vec::new(),
                    delay_ms: 0,
                    // Nothing to go back to, so nothing to watch for.
                    monitor_ms: 0,
                    waits,
                };
                replica::make(stage, one, make, steps)
            }
            (Decision::Start(cause), Some(found)) => {
                replica::start(stage, one, found, cause, waits, steps)
            }
            (Decision::Keep | Decision::Restart(_), Some(_)) => {
                retire_others(stage, one, slot, &[]);
                continue;
            }
            _ => continue,
        };
        retire_others(stage, one, slot, &[made.serving]);
        serving.push(made.serving);
    }
    serving
}

fn retire_others(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    slot: &Slot<'_>,
    successor: &[StepId],
) {
    for other in &slot.others {
        replica::retire(stage, one, other, &Cause::LeftOver, successor);
    }
}

/// Removes the containers of slots above the count, highest first, once every slot
/// below has one that serves.
fn shrink(stage: &mut Stage<'_, '_>, one: &ServiceView<'_>, filled: &[StepId]) -> Vec<StepId> {
    one.surplus
        .iter()
        .map(|found| replica::retire(stage, one, found, &Cause::ScaleDown, filled))
        .collect()
}

/// Changes what can change on a container that stays.
fn update(draft: &mut Draft, one: &ServiceView<'_>, decisions: &[(u32, Decision)]) {
    for (number, decision) in decisions {
        let holder = one.slots.get(number).and_then(|slot| slot.holder.as_ref());
        let Some((found, _)) = holder else {
            continue;
        };
        if matches!(decision, Decision::Make(_) | Decision::Replace(_)) {
            continue;
        }
        let wanted = &one.revision.spec.live;
        let changes = live::compare(&found.live, wanted, found.memory_in_use).changes;
        if !changes.is_empty() {
            let action = Action::UpdateLive {
                container: found.name.clone(),
                live: wanted.clone(),
            };
            let at = (one.service.name.as_str(), *number);
            draft.replica(at, action, Cause::Changed(changes), &[]);
        }
    }
}
