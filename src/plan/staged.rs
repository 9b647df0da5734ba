//! How a new revision gets its requests in stages: canary and blue-green.
//!
//! Successors come without taking anybody's place and get no request at first. Stage
//! by stage their share rises, and each stage ends with a verdict. Old replicas go
//! after the last one, so the way back needs no container: it is one switch.

use std::collections::BTreeMap;

use super::action::Action;
use super::action::Cause;
use super::action::Gate;
use super::action::StepId;
use super::pace::Pace;
use super::replica;
use super::replica::Make;
use super::retire;
use super::service::Decision;
use super::stage::ServiceSteps;
use super::stage::Stage;
use super::stage::Waits;
use super::view::ServiceView;
use crate::state::change;
use crate::state::observed::Instance;
use crate::state::observed::Role;
use crate::state::strategy::Preview;
use crate::state::strategy::Staged;
use crate::state::strategy::TrafficSplit;
use crate::state::strategy::TrafficStage;

/// A rollout in stages, before its steps are drafted.
pub(super) struct Rollout<'a> {
    staged: &'a Staged,
    /// Slots whose old container still serves.
    changes: Vec<Change<'a>>,
    /// Group of the new revision.
    group: String,
    /// Targets of older revisions, by their group.
    before: BTreeMap<String, u32>,
}

struct Change<'a> {
    slot: u32,
    old: Vec<&'a Instance>,
    cause: Cause,
    /// Its successor was made by a run that did not finish.
    made: Option<String>,
}

impl Change<'_> {
    /// How its successor is made.
    fn order<'w>(&self, one: &ServiceView<'_>, before: &[StepId], waits: &'w Waits) -> Make<'w> {
        Make {
            slot: self.slot,
            cause: self.cause.clone(),
            create_needs: before.to_vec(),
            start_needs: Vec::new(),
            delay_ms: 0,
            monitor_ms: one.rollout.monitor_ms,
            waits,
        }
    }
}

/// The rollout in stages that a service asks for and can have now. There is none where
/// nothing serves that could go on, on the way back, and where two revisions cannot be
/// told apart by the gateway.
pub(super) fn of<'a>(
    stage: &mut Stage<'_, 'a>,
    one: &ServiceView<'a>,
    decisions: &[(u32, Decision)],
) -> Option<Rollout<'a>> {
    let staged = one.service.rollout.staged.as_ref()?;
    let changes: Vec<Change<'a>> = decisions
        .iter()
        .filter_map(|(number, decision)| change(stage, one, *number, decision))
        .collect();
    if changes.is_empty() || stage.view.input.options.backwards {
        return None;
    }
    let word = staged.kind.word();
    let pace = stage.paces.get(&one.service.name);
    let why = if !one.routed() || !stage.gateways.exist || stage.gateways.handover {
        Some("its requests do not come through the gateway")
    } else if pace.is_some_and(|pace| pace.staged.is_none()) {
        Some("two revisions cannot run side by side")
    } else if !gateways_share(stage) {
        Some("a gateway of another version of shopctl runs, see shopctl doctor")
    } else {
        None
    };
    if let Some(why) = why {
        let text = format!("replaced batch by batch, not {word}: {why}");
        stage.draft.note(true, &one.service.name, text);
        return None;
    }
    let group = one.revision.group();
    let mut before: BTreeMap<String, u32> = BTreeMap::new();
    let instances = stage.view.input.observed.instances.iter();
    for found in instances.filter(|found| found.service == one.service.name) {
        if stage.view.is_target(found) && found.group() != group {
            *before.entry(found.group()).or_default() += 1;
        }
    }
    // Past its stages already: the last batches of a run that did not finish.
    let known = stage.view.splits.contains_key(&one.service.name);
    let mut holders = one.slots.values().filter_map(|slot| slot.holder.as_ref());
    let promoted =
        !known && holders.any(|(found, _)| stage.view.is_target(found) && found.group() == group);
    (!before.is_empty() && !promoted).then_some(Rollout {
        staged,
        changes,
        group,
        before,
    })
}

/// Whether every gateway that runs knows how to share requests between revisions, or will:
/// one that says what it runs is upgraded before.
fn gateways_share(stage: &Stage<'_, '_>) -> bool {
    let ours = &stage.view.input.options.data_plane;
    let mut instances = stage.view.input.observed.instances.iter();
    let program = stage.view.input.options.program();
    let upgraded = |one: &Instance| one.program.is_some() && one.refused.as_deref() != program;
    let knows = |one: &Instance| match &one.program {
        Some(runs) => Some(runs.as_str()) == program || upgraded(one),
        None => one.image == *ours,
    };
    ours.is_empty() || instances.all(|one| one.role != Role::Gateway || knows(one))
}

/// What is to change in a slot: its container is replaced, or a run that did not finish
/// has made the successor already.
fn change<'a>(
    stage: &Stage<'_, 'a>,
    one: &ServiceView<'a>,
    number: u32,
    decision: &Decision,
) -> Option<Change<'a>> {
    let slot = one.slots.get(&number)?;
    let (holder, _) = slot.holder.as_ref()?;
    match decision {
        Decision::Replace(cause) => Some(Change {
            slot: number,
            old: [*holder].into_iter().chain(slot.others.clone()).collect(),
            cause: cause.clone(),
            made: None,
        }),
        Decision::Keep | Decision::Start(_) if !stage.view.is_proved(holder) => {
            let serves = |old: &&Instance| change::serves(old) && stage.view.is_target(old);
            slot.others.iter().any(serves).then(|| Change {
                slot: number,
                old: slot.others.clone(),
                cause: Cause::LeftOver,
                made: Some(holder.name.clone()),
            })
        }
        _ => None,
    }
}

impl<'a> Rollout<'a> {
    /// Whether the rollout takes care of all containers of this slot.
    pub(super) fn covers(&self, slot: u32) -> bool {
        self.changes.iter().any(|change| change.slot == slot)
    }

    /// No request for the new revision until its first stage: the step that says so.
    /// Where a run that did not finish has said more already, that stays.
    pub(super) fn hold(&self, stage: &mut Stage<'_, '_>, one: &ServiceView<'_>) -> Option<StepId> {
        let splits = &stage.view.splits;
        let known = splits.get(&one.service.name);
        if known.is_some_and(|split| split.weights.contains_key(&self.group)) {
            return None;
        }
        let needs = stage.gateways.ready();
        Some(self.split(stage, one, 0, &needs))
    }

    /// The steps of the rollout; gives the last ones.
    pub(super) fn draft(
        mut self,
        stage: &mut Stage<'_, 'a>,
        one: &ServiceView<'a>,
        waits: &Waits,
        before: &[StepId],
        steps: &mut ServiceSteps,
    ) {
        let pace = stage
            .paces
            .get(&one.service.name)
            .cloned()
            .unwrap_or_else(|| Pace::of(one));
        // Those that exist come first, so that stages count them.
        self.changes.sort_by_key(|change| change.made.is_none());
        let most = pace.staged.unwrap_or(self.changes.len());
        let mut last = before.to_vec();
        if pace.one_by_one {
            last.extend(&stage.previous);
        }
        let mut serving = last.clone();
        let mut containers = Vec::new();
        let mut made = 0;
        let mut percent = 0;
        let reached = self.reached(stage, one);
        let stages: Vec<TrafficStage> = self
            .staged
            .stages
            .iter()
            .filter(|traffic| traffic.percent >= reached)
            .filter(|traffic| traffic.percent > 0 || traffic.pause_ms > 0)
            .copied()
            .collect();
        for (number, traffic) in stages.into_iter().enumerate() {
            let wanted = self
                .staged
                .successors(traffic.percent, self.changes.len())
                .min(most);
            for change in self.changes.iter().take(wanted).skip(made) {
                containers.push(if let Some(name) = &change.made {
                    name.clone()
                } else {
                    let order = change.order(one, &last, waits);
                    let new = replica::make(stage, one, order, steps);
                    serving.push(new.serving);
                    new.name
                });
            }
            made = made.max(wanted);
            serving.extend(&last);
            let split = self.split(stage, one, traffic.percent, &serving);
            stage.draft.gate(
                split,
                Gate::Verdict {
                    service: one.service.name.clone(),
                    group: self.group.clone(),
                    containers: containers.clone(),
                    pause_ms: traffic.pause_ms,
                    judge: self.staged.judge,
                },
            );
            if number > 0 {
                stage.draft.delay(split, one.rollout.delay_ms);
            }
            last = vec![split];
            percent = traffic.percent;
        }
        steps.replaced = true;
        let rest = self.changes.split_off(made.min(self.changes.len()));
        self.promote(stage, one, percent, &last, (rest, waits), steps);
    }

    /// The share that a run which did not finish has given the new revision already.
    fn reached(&self, stage: &Stage<'_, '_>, one: &ServiceView<'_>) -> u32 {
        let split = stage.view.splits.get(&one.service.name);
        split.map_or(0, |split| split.percent(&self.group))
    }

    /// After the last stage: the old replicas go, and all requests are alike again.
    fn promote(
        &self,
        stage: &mut Stage<'_, 'a>,
        one: &ServiceView<'a>,
        percent: u32,
        last: &[StepId],
        (rest, waits): (Vec<Change<'a>>, &Waits),
        steps: &mut ServiceSteps,
    ) {
        let whole = percent >= 100;
        // Old replicas that still get requests share them with the new ones from here
        // on; where they get none, they must not get any again.
        let mut before = if whole {
            last.to_vec()
        } else {
            vec![clear(stage, one, last)]
        };
        let mut ends = Vec::new();
        for change in &self.changes {
            for old in &change.old {
                ends.push(retire::retire(stage, one, old, &Cause::Replaced, &before));
            }
        }
        before.extend(&ends);
        if whole {
            clear(stage, one, &before);
        }
        let parallelism = stage
            .paces
            .get(&one.service.name)
            .map_or(1, |pace| pace.parallelism.max(1));
        for batch in rest.chunks(parallelism) {
            let mut ends = Vec::new();
            for change in batch {
                let order = change.order(one, &before, waits);
                let new = replica::make(stage, one, order, steps);
                for old in &change.old {
                    let needs = [new.serving];
                    ends.push(retire::retire(stage, one, old, &Cause::Replaced, &needs));
                }
            }
            before = ends;
        }
        stage.previous = before;
    }

    /// Gives the new revision this share.
    fn split(
        &self,
        stage: &mut Stage<'_, '_>,
        one: &ServiceView<'_>,
        percent: u32,
        needs: &[StepId],
    ) -> StepId {
        let old: u32 = self.before.values().sum();
        let rest = 100_u32.saturating_sub(percent);
        let mut weights: BTreeMap<String, u32> = self
            .before
            .iter()
            .map(|(group, count)| (group.clone(), rest * count))
            .collect();
        weights.insert(self.group.clone(), percent * old);
        let divisor = weights.values().copied().fold(0, gcd).max(1);
        for weight in weights.values_mut() {
            *weight /= divisor;
        }
        let host = self.staged.preview.clone();
        let split = TrafficSplit {
            weights,
            header: Some(self.staged.header.clone()),
            cookie: self.staged.cookie.clone(),
            preview: host.map(|host| Preview {
                host,
                group: self.group.clone(),
            }),
        };
        let action = Action::SetSplit {
            service: one.service.name.clone(),
            split: Some(split),
            group: self.group.clone(),
        };
        let cause = self
            .changes
            .first()
            .map_or(Cause::LeftOver, |change| change.cause.clone());
        stage.draft.step(&one.service.name, action, cause, needs)
    }
}

/// What a run that did not finish has left: shares of revisions in a service that is
/// not rolled out in stages now. Where all slots serve, they get all requests at once,
/// before anything else goes.
pub(super) fn settle(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    stand: bool,
) -> Option<StepId> {
    let split = stage.view.splits.get(&one.service.name)?;
    if !stage.gateways.exist {
        return None;
    }
    let needs = stage.gateways.ready();
    let group = one.revision.group();
    if !stand {
        clear(stage, one, &needs);
        return None;
    }
    let all = TrafficSplit {
        weights: BTreeMap::from([(group.clone(), 1)]),
        preview: None,
        ..split.clone()
    };
    let action = Action::SetSplit {
        service: one.service.name.clone(),
        split: Some(all),
        group,
    };
    let step = stage
        .draft
        .step(&one.service.name, action, Cause::LeftOver, &needs);
    Some(step)
}

/// All replicas alike.
pub(super) fn clear(stage: &mut Stage<'_, '_>, one: &ServiceView<'_>, needs: &[StepId]) -> StepId {
    let action = Action::SetSplit {
        service: one.service.name.clone(),
        split: None,
        group: String::new(),
    };
    stage
        .draft
        .step(&one.service.name, action, Cause::Replaced, needs)
}

fn gcd(one: u32, other: u32) -> u32 {
    if other == 0 {
        one
    } else {
        gcd(other, one % other)
    }
}
