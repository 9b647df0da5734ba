//! How a service's replicas are replaced or restarted, batch by batch.
//!
//! Start-first: create, start, ready gate, add target; then remove the old target
//! and drain, stop, remove. Stop-first only where the file or the nature of the
//! container asks for it. The next batch needs the end of the one before.

use super::action::Cause;
use super::action::StepId;
use super::action::Tolerance;
use super::pace::Pace;
use super::replica;
use super::replica::Made;
use super::replica::Make;
use super::retire;
use super::service::Decision;
use super::stage::ServiceSteps;
use super::stage::Stage;
use super::stage::Waits;
use super::view::ServiceView;
use crate::state::change;
use crate::state::desired::OnFailure;
use crate::state::desired::RolloutOrder;
use crate::state::observed::Instance;

/// One slot whose container is replaced.
struct Change<'s, 'a> {
    slot: u32,
    old: &'a Instance,
    others: &'s [&'a Instance],
    cause: Cause,
}

/// Replaces what is decided to be replaced, after `before`.
pub(super) fn replace<'a>(
    stage: &mut Stage<'_, 'a>,
    one: &ServiceView<'a>,
    decisions: &[(u32, Decision)],
    waits: &Waits,
    before: &[StepId],
    steps: &mut ServiceSteps,
) {
    let changes: Vec<Change<'_, 'a>> = decisions
        .iter()
        .filter_map(|(number, decision)| {
            let Decision::Replace(cause) = decision else {
                return None;
            };
            let slot = one.slots.get(number)?;
            let (old, _) = slot.holder.as_ref()?;
            Some(Change {
                slot: *number,
                old,
                others: &slot.others,
                cause: cause.clone(),
            })
        })
        .collect();
    if changes.is_empty() {
        return;
    }
    let pace = stage
        .paces
        .get(&one.service.name)
        .cloned()
        .unwrap_or_else(|| Pace::of(one));
    if let Some(tolerance) = tolerance(stage, one) {
        stage.draft.tolerate(&one.service.name, tolerance);
    }
    let mut before = before.to_vec();
    if pace.one_by_one {
        before.extend(&stage.previous);
    }
    let mut delay_ms = 0;
    for batch in changes.chunks(pace.parallelism.max(1)) {
        let ends: Vec<StepId> = batch
            .iter()
            .map(|change| {
                let order = Make {
                    slot: change.slot,
                    cause: change.cause.clone(),
                    create_needs: before.clone(),
                    start_needs: Vec::new(),
                    delay_ms,
                    monitor_ms: one.rollout.monitor_ms,
                    waits,
                };
                match pace.order {
                    RolloutOrder::StartFirst => start_first(stage, one, change, order, steps),
                    RolloutOrder::StopFirst => stop_first(stage, one, change, order, steps),
                }
            })
            .collect();
        before = ends;
        delay_ms = one.rollout.delay_ms;
    }
    steps.replaced = true;
    stage.previous = before;
}

/// How many replicas may fail. None on the way back, which must not end half, and where
/// the old container is gone before its successor is there.
fn tolerance(stage: &Stage<'_, '_>, one: &ServiceView<'_>) -> Option<Tolerance> {
    let options = &stage.view.input.options;
    if options.backwards || one.service.container_name.is_some() {
        return None;
    }
    let rollout = &one.rollout;
    let borne = options.learned.borne.iter();
    let borne = borne.filter(|(service, _)| *service == one.service.name);
    let borne = u32::try_from(borne.count()).unwrap_or(u32::MAX);
    let tolerance = Tolerance {
        failures: rollout.borne_of(one.slots.len()).saturating_sub(borne),
        goes_on: rollout.on_failure == OnFailure::Continue,
    };
    (tolerance != Tolerance::default()).then_some(tolerance)
}

fn start_first(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    change: &Change<'_, '_>,
    order: Make<'_>,
    steps: &mut ServiceSteps,
) -> StepId {
    let made = replica::make(stage, one, order, steps);
    let successor = made.proved(stage);
    let end = retire::retire(stage, one, change.old, &Cause::Replaced, &[successor]);
    let mut ends = vec![end];
    for other in change.others {
        ends.push(retire::retire(
            stage,
            one,
            other,
            &Cause::LeftOver,
            &[successor],
        ));
    }
    join(stage, ends)
}

fn stop_first(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    change: &Change<'_, '_>,
    mut order: Make<'_>,
    steps: &mut ServiceSteps,
) -> StepId {
    let mut old = vec![change.old];
    old.extend(change.others);
    let fixed_name = one.service.container_name.is_some();
    let mut silent = Vec::new();
    for one_old in &old {
        let spec = &one.service.container;
        let needs = order.create_needs.clone();
        let stopped = retire::silence(stage, spec, one_old, &Cause::Replaced, &needs);
        if fixed_name {
            silent.push(retire::remove(stage, one_old, &Cause::Replaced, &stopped));
            stage.free_name(one_old);
        } else {
            silent.extend(stopped);
        }
    }
    if fixed_name {
        order.create_needs = silent;
    } else {
        order.start_needs = silent;
    }
    let made = replica::make(stage, one, order, steps);
    let proved = made.proved(stage);
    if fixed_name {
        return proved;
    }
    // The old container stays until then: it can be started again by hand.
    let ends = old
        .into_iter()
        .map(|one_old| retire::remove(stage, one_old, &Cause::Replaced, &[proved]))
        .collect();
    join(stage, ends)
}

/// Containers of one slot go together with its holder.
fn join(stage: &mut Stage<'_, '_>, mut ends: Vec<StepId>) -> StepId {
    let last = ends.pop().unwrap_or_default();
    stage.draft.need(last, &ends);
    last
}

/// Restarts what is decided to be restarted, one after another. Where the only
/// routed replica serves, an extra one serves meanwhile.
pub(super) fn restart<'a>(
    stage: &mut Stage<'_, 'a>,
    one: &ServiceView<'a>,
    decisions: &[(u32, Decision)],
    waits: &Waits,
    before: &[StepId],
    steps: &mut ServiceSteps,
) {
    let mut before = before.to_vec();
    let restarts: Vec<(&Instance, &Cause)> = decisions
        .iter()
        .filter_map(|(number, decision)| {
            let Decision::Restart(cause) = decision else {
                return None;
            };
            let (found, _) = one.slots.get(number)?.holder.as_ref()?;
            Some((*found, cause))
        })
        .collect();
    let Some((first, cause)) = restarts.first() else {
        return;
    };
    steps.replaced = true;
    let alone = one.slots.len() == 1 && change::serves(first) && stage.view.is_target(first);
    let mut stand_in = None;
    if alone {
        match extra(stage, one, (first, cause), waits, &before, steps) {
            Ok(made) => {
                before.push(made.proved(stage));
                stand_in = Some(made);
            }
            Err(why) => {
                let note = format!("does not answer while it restarts: {why}");
                stage.draft.note(true, &one.service.name, note);
            }
        }
    }
    for (found, cause) in restarts {
        let made = replica::restart(stage, one, found, cause, &before, waits, steps);
        before = vec![made.proved(stage)];
    }
    if let Some(made) = stand_in {
        retire::retire_made(stage, one, &made, &before);
    }
}

/// Makes the stand-in, or says why there can be none.
fn extra(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    (found, cause): (&Instance, &Cause),
    waits: &Waits,
    before: &[StepId],
    steps: &mut ServiceSteps,
) -> Result<Made, String> {
    let pace = Pace::of(one);
    if pace.order == RolloutOrder::StopFirst {
        return Err(pace
            .why
            .unwrap_or_else(|| "its order is stop-first".to_owned()));
    }
    if found.revision != one.revision.digest {
        return Err("the file has changed since it was deployed".to_owned());
    }
    if !stage.view.has_room_for(one) {
        return Err("the capacity does not allow a second one".to_owned());
    }
    let highest = one.surplus.iter().map(|other| other.slot).max();
    let slot = highest.unwrap_or(0).max(one.count.replicas) + 1;
    let cause = Cause::NeededBy(format!(
        "{}/{}, {}",
        one.service.name,
        found.slot,
        super::report::cause(cause)
    ));
    let order = Make {
        slot,
        cause,
        create_needs: before.to_vec(),
        start_needs: Vec::new(),
        delay_ms: 0,
        monitor_ms: 0,
        waits,
    };
    Ok(replica::make(stage, one, order, steps))
}
