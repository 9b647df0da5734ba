//! A plan in the making: steps may be added in any order and gain needs later;
//! [`Draft::finish`] sorts and numbers them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::action::Action;
use super::action::Cause;
use super::action::Gate;
use super::action::Note;
use super::action::Step;
use super::action::StepId;
use super::action::Tolerance;

/// Steps and notes collected so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    steps: Vec<Step>,
    notes: Vec<Note>,
    images: Vec<StepId>,
    tolerances: BTreeMap<String, Tolerance>,
}

impl Draft {
    /// Adds an image step: everything else waits for it.
    pub(super) fn image(&mut self, service: &str, action: Action, cause: Cause) {
        let id = self.push(service, action, cause);
        self.images.push(id);
    }

    /// Adds a step.
    pub(super) fn step(
        &mut self,
        service: &str,
        action: Action,
        cause: Cause,
        needs: &[StepId],
    ) -> StepId {
        let id = self.push(service, action, cause);
        self.need(id, needs);
        id
    }

    /// Lets replicas of a service fail.
    pub(super) fn tolerate(&mut self, service: &str, tolerance: Tolerance) {
        self.tolerances.insert(service.to_owned(), tolerance);
    }

    /// How many replicas of each service may fail.
    pub(super) fn take_tolerances(&mut self) -> BTreeMap<String, Tolerance> {
        std::mem::take(&mut self.tolerances)
    }

    /// Adds a step about one replica.
    pub(super) fn replica(
        &mut self,
        (service, slot): (&str, u32),
        action: Action,
        cause: Cause,
        needs: &[StepId],
    ) -> StepId {
        let id = self.step(service, action, cause, needs);
        if let Some(step) = self.get_mut(id) {
            step.slot = Some(slot);
        }
        id
    }

    /// Lets a step wait for more.
    pub(super) fn need(&mut self, step: StepId, needs: &[StepId]) {
        if let Some(step) = self.get_mut(step) {
            step.needs.extend_from_slice(needs);
        }
    }

    /// What a step waits for.
    pub(super) fn needs_of(&self, step: StepId) -> Vec<StepId> {
        let found = self.steps.iter().find(|one| one.id == step);
        found.map_or_else(Vec::new, |one| one.needs.clone())
    }

    /// Lets a step wait for the actions of others, without their gates.
    pub(super) fn after(&mut self, step: StepId, others: &[StepId]) {
        if let Some(step) = self.get_mut(step) {
            step.after.extend_from_slice(others);
        }
    }

    /// Lets all that happens to a service's replicas wait for all that happens to
    /// another's.
    pub(super) fn put_after(&mut self, service: &str, other: &str) {
        let of = |service: &str| -> Vec<StepId> {
            self.steps
                .iter()
                .filter(|step| step.service == service && step.slot.is_some())
                .map(|step| step.id)
                .collect()
        };
        let (own, first) = (of(service), of(other));
        // Where it begins; all else follows from there.
        for step in &mut self.steps {
            if own.contains(&step.id) && step.needs.iter().all(|need| !own.contains(need)) {
                step.needs.extend_from_slice(&first);
            }
        }
    }

    /// Lets all that happens to a service's replicas wait for a step.
    pub(super) fn hold(&mut self, service: &str, first: StepId) {
        let is_own = |step: &&Step| is_change_of(step, service);
        let own: BTreeSet<StepId> = ids(self.steps.iter().filter(is_own));
        for step in &mut self.steps {
            let begins = !step.needs.iter().any(|need| own.contains(need));
            if begins && own.contains(&step.id) {
                step.needs.push(first);
            }
        }
    }

    /// The steps with which all that happens to a service's replicas ends.
    pub(super) fn ends_of(&self, service: &str) -> Vec<StepId> {
        let is_own = |step: &&Step| is_change_of(step, service);
        ends(self.steps.iter().filter(is_own))
    }

    /// The steps with which the plan ends.
    pub(super) fn ends(&self) -> Vec<StepId> {
        ends(self.steps.iter())
    }

    /// How long each hook may take, in milliseconds.
    pub(super) fn bounds(&self) -> Vec<u64> {
        let bound = |step: &Step| match &step.action {
            Action::RunTask { task } => Some(task.timeout_ms),
            _ => None,
        };
        self.steps.iter().filter_map(bound).collect()
    }

    /// Sets what must be true before dependents of a step go on.
    pub(super) fn gate(&mut self, step: StepId, gate: Gate) {
        if let Some(step) = self.get_mut(step) {
            step.gate = gate;
        }
    }

    /// Sets the pause before a step.
    pub(super) fn delay(&mut self, step: StepId, delay_ms: u64) {
        if let Some(step) = self.get_mut(step) {
            step.delay_ms = delay_ms;
        }
    }

    /// The aliases that the plan makes targets of a service.
    pub(super) fn routed(&self, service: &str) -> BTreeSet<String> {
        let added = |step: &Step| match &step.action {
            Action::AddTarget { alias, .. } if step.service == service => Some(alias.clone()),
            _ => None,
        };
        self.steps.iter().filter_map(added).collect()
    }

    /// The step that removes a container, if one does.
    pub(super) fn removal_of(&self, name: &str) -> Option<StepId> {
        self.steps
            .iter()
            .find(|step| {
                matches!(&step.action, Action::RemoveContainer { container } if container == name)
            })
            .map(|step| step.id)
    }

    /// Tells the user something.
    pub(super) fn note(&mut self, warning: bool, service: &str, message: impl Into<String>) {
        self.notes.push(Note {
            warning,
            service: service.to_owned(),
            message: message.into(),
        });
    }

    /// Tells the user something about a service, unless that was said already.
    pub(super) fn note_once(&mut self, service: &str, message: String) {
        let said = |note: &Note| note.service == service && note.message == message;
        if !self.notes.iter().any(said) {
            self.note(false, service, message);
        }
    }

    /// The steps in an order in which each needs only earlier ones, numbered from
    /// 1, and the notes. Steps that need nothing else need all images, so a failing
    /// build changes nothing.
    pub(super) fn finish(self) -> (Vec<Step>, Vec<Note>) {
        let Self {
            steps,
            notes,
            images,
            tolerances: _,
        } = self;
        let mut waiting: BTreeMap<StepId, Step> =
            steps.into_iter().map(|step| (step.id, step)).collect();
        for step in waiting.values_mut() {
            if step.needs.is_empty() && step.after.is_empty() && !images.contains(&step.id) {
                step.needs.clone_from(&images);
            }
        }
        let mut numbers: BTreeMap<StepId, StepId> = BTreeMap::new();
        let mut sorted: Vec<Step> = Vec::with_capacity(waiting.len());
        while let Some(id) = next(&waiting, &numbers) {
            let Some(mut step) = waiting.remove(&id) else {
                break;
            };
            let number = StepId::try_from(sorted.len() + 1).unwrap_or(StepId::MAX);
            numbers.insert(id, number);
            step.id = number;
            step.needs = renumber(&step.needs, &numbers);
            step.after = renumber(&step.after, &numbers);
            step.after.retain(|other| !step.needs.contains(other));
            sorted.push(step);
        }
        (sorted, notes)
    }

    fn push(&mut self, service: &str, action: Action, cause: Cause) -> StepId {
        let id = StepId::try_from(self.steps.len()).unwrap_or(StepId::MAX);
        self.steps.push(Step {
            id,
            service: service.to_owned(),
            slot: None,
            action,
            cause,
            needs: Vec::new(),
            after: Vec::new(),
            delay_ms: 0,
            gate: Gate::None,
        });
        id
    }

    fn get_mut(&mut self, id: StepId) -> Option<&mut Step> {
        usize::try_from(id)
            .ok()
            .and_then(|index| self.steps.get_mut(index))
    }
}

/// Whether a step is about the replicas of a service, or the shares of its revisions.
fn is_change_of(step: &Step, service: &str) -> bool {
    let is_share = matches!(step.action, Action::SetSplit { .. });
    step.service == service && (step.slot.is_some() || is_share)
}

fn ids<'s>(steps: impl Iterator<Item = &'s Step>) -> BTreeSet<StepId> {
    steps.map(|step| step.id).collect()
}

/// Of some steps those that none of the others needs.
fn ends<'s>(steps: impl Iterator<Item = &'s Step> + Clone) -> Vec<StepId> {
    let mut last = ids(steps.clone());
    for step in steps {
        for need in step.needs.iter().chain(&step.after) {
            last.remove(need);
        }
    }
    last.into_iter().collect()
}

/// The first step in the order of drafting whose needs are all numbered. In a
/// circle, which the checker reports, the first of the rest.
fn next(waiting: &BTreeMap<StepId, Step>, numbers: &BTreeMap<StepId, StepId>) -> Option<StepId> {
    waiting
        .values()
        .find(|step| {
            step.needs
                .iter()
                .chain(&step.after)
                .all(|id| numbers.contains_key(id))
        })
        .or_else(|| waiting.values().next())
        .map(|step| step.id)
}

fn renumber(ids: &[StepId], numbers: &BTreeMap<StepId, StepId>) -> Vec<StepId> {
    let unique: BTreeSet<StepId> = ids
        .iter()
        .filter_map(|id| numbers.get(id).copied())
        .collect();
    unique.into_iter().collect()
}
