//! The steps of one service: what is missing, what is too many, what changes.

use super::action::Action;
use super::action::Cause;
use super::action::StepId;
use super::draft::Draft;
use super::replica;
use super::replica::Make;
use super::retire;
use super::rollout;
use super::stage::ServiceSteps;
use super::stage::Stage;
use super::stage::Waits;
use super::staged;
use super::view::ServiceView;
use super::view::Slot;
use crate::state::change;
use crate::state::change::Verdict;
use crate::state::desired::ReadyGate;
use crate::state::live;
use crate::state::names;
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
            .filter(|(number, _)| !is_borne(stage, one, **number))
            .map(|(number, slot)| (*number, decide(stage, one, *number, slot)))
            .collect();
        let staged = staged::of(stage, one, &decisions);
        let hold = staged.as_ref().and_then(|staged| staged.hold(stage, one));
        stage
            .holds
            .extend(hold.map(|hold| (one.service.name.clone(), hold)));
        let mut filled = fill(stage, one, &decisions, &waits, &mut steps);
        let stand = all_serve(stage, one);
        let settled = match staged {
            Some(_) => None,
            None => staged::settle(stage, one, stand && !any_replaced(&decisions)),
        };
        filled.extend(settled);
        let covered = |slot| staged.as_ref().is_some_and(|staged| staged.covers(slot));
        let uncovered: Vec<(u32, Decision)> = decisions
            .iter()
            .filter(|(slot, _)| !covered(*slot))
            .cloned()
            .collect();
        // Too many go first where all slots that stay have one that serves: it makes
        // room. Else they serve until then.
        let mut before = if stand {
            shrink(stage, one, &uncovered, &filled)
        } else {
            Vec::new()
        };
        if let Some(settled) = settled {
            before.push(settled);
            staged::clear(stage, one, &before);
        }
        match staged {
            Some(staged) => {
                before.extend(&filled);
                before.extend(hold);
                staged.draft(stage, one, &waits, &before, &mut steps);
            }
            None => rollout::replace(stage, one, &decisions, &waits, &before, &mut steps),
        }
        rollout::restart(stage, one, &decisions, &waits, &filled, &mut steps);
        if !stand {
            let proved = stage.proved(&steps);
            shrink(stage, one, &uncovered, &proved);
        }
        update(&mut stage.draft, one, &decisions);
    }
    if steps.first.is_none() {
        let holder = one.slots.get(&1).and_then(|slot| slot.holder.as_ref());
        steps.first = holder.map(|(found, _)| (found.name.clone(), None));
    }
    stage.done.insert(one.service.name.clone(), steps);
}

/// Whether this run has tried the slot already, and bears that it failed: its old
/// container stays as it is.
fn is_borne(stage: &Stage<'_, '_>, one: &ServiceView<'_>, number: u32) -> bool {
    let borne = &stage.view.input.options.learned.borne;
    borne.contains(&(one.service.name.clone(), number))
}

/// Decides about one slot.
fn decide(stage: &Stage<'_, '_>, one: &ServiceView<'_>, number: u32, slot: &Slot<'_>) -> Decision {
    let Some((found, verdict)) = &slot.holder else {
        return Decision::Make(missing_cause(stage, one, number));
    };
    match verdict {
        Verdict::ImageChanged => Decision::Replace(Cause::ImageChanged),
        Verdict::Changed(what) => Decision::Replace(Cause::Changed(what.clone())),
        Verdict::LeftOver => Decision::Make(Cause::LeftOver),
        Verdict::Dead => Decision::Make(Cause::NotRunning("dead".to_owned())),
        // The network it joined is gone with its container.
        _ if stage.joined(one).is_some_and(|(_, step)| step.is_some()) => {
            Decision::Replace(Cause::NeededBy("the new container it joins".to_owned()))
        }
        // What it uses may be gone with the container that had it.
        _ if !stage.lending(one).is_empty() => {
            let why = "the new container whose volumes or processes it shares";
            Decision::Replace(Cause::NeededBy(why.to_owned()))
        }
        Verdict::Start(how) => Decision::Start(Cause::NotRunning(how.clone())),
        Verdict::Restart(how) => Decision::Restart(Cause::NotRunning(how.clone())),
        Verdict::Unhealthy => Decision::Restart(Cause::Unhealthy),
        Verdict::Current | Verdict::Update(_) => match stage.restarted_by(one) {
            Some(other) => Decision::Restart(Cause::NeededBy(format!("{other}, replaced"))),
            None if is_unproved(stage, one, found, &slot.others) => {
                let known = stage.view.targets.contains_key(&one.service.name);
                Decision::Start(if one.routed() && !known {
                    Cause::RoutesChanged
                } else {
                    Cause::LeftOver
                })
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
        // It has served before we came.
        _ if !found.ours => return false,
        _ => {}
    }
    if one.routed() {
        return !stage.view.is_target(found);
    }
    // What tells how it came up: a probe, or commands that run at its start.
    let asked = matches!(one.service.ready, ReadyGate::Probe { .. })
        || !one.service.lifecycle.post_start.is_empty();
    (asked && !stage.view.is_proved(found)) || others.iter().any(|other| change::serves(other))
}

/// A slot above all that there are is new; one that left a gap or a target behind
/// has lost its container.
fn missing_cause(stage: &Stage<'_, '_>, one: &ServiceView<'_>, number: u32) -> Cause {
    let service = &one.service.name;
    let instances = &stage.view.input.observed.instances;
    let highest = instances
        .iter()
        .filter(|found| found.service == *service)
        .map(|found| found.slot)
        .max();
    let alias = names::alias(
        &stage.view.input.desired.stack,
        service,
        number,
        &one.revision.digest,
    );
    match highest {
        Some(highest) if number > highest && !stage.view.has_target(service, &alias) => {
            Cause::ScaleUp
        }
        _ => Cause::Missing,
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
    let mut proved = Vec::new();
    for (number, decision) in decisions {
        let Some(slot) = one.slots.get(number) else {
            continue;
        };
        let holder = slot.holder.as_ref().map(|(found, _)| *found);
        let made = match (decision, holder) {
            (Decision::Make(cause), holder) => {
                let mut removed = Vec::new();
                if let Some(found) = holder {
                    let spec = &one.service.container;
                    let silent = retire::silence(stage, spec, found, &Cause::LeftOver, &[]);
                    removed.push(retire::remove(stage, found, &Cause::LeftOver, &silent));
                    stage.free_name(found);
                }
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
            _ => continue,
        };
        proved.push(made.proved(stage));
    }
    proved
}

/// Removes what is too much: containers of slots above the count, highest first, and
/// those that stand beside the holder of a slot, unless that is replaced itself.
fn shrink(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    decisions: &[(u32, Decision)],
    needs: &[StepId],
) -> Vec<StepId> {
    let mut gone = Vec::new();
    for found in &one.surplus {
        gone.push(retire::retire(stage, one, found, &Cause::ScaleDown, needs));
    }
    for (number, decision) in decisions {
        if matches!(decision, Decision::Replace(_)) {
            continue;
        }
        let others = one.slots.get(number).map(|slot| slot.others.as_slice());
        for other in others.unwrap_or_default() {
            gone.push(retire::retire(stage, one, other, &Cause::LeftOver, needs));
        }
    }
    gone
}

fn any_replaced(decisions: &[(u32, Decision)]) -> bool {
    let replaced = |(_, decision): &(u32, Decision)| matches!(decision, Decision::Replace(_));
    decisions.iter().any(replaced)
}

/// Whether every slot up to the count has a container that serves now.
fn all_serve(stage: &Stage<'_, '_>, one: &ServiceView<'_>) -> bool {
    one.slots.values().all(|slot| {
        slot.holder.as_ref().is_some_and(|(found, _)| {
            change::serves(found) && (!one.routed() || stage.view.is_target(found))
        })
    })
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
