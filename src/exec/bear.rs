//! Replicas that fail and are borne: `update_config.max_failure_ratio`, and `continue`.
//!
//! The plan says how many. The failed replica goes, its old one keeps serving, and the
//! rest of the rollout goes on as if the slot had never been part of it.

use std::collections::BTreeSet;

use super::Failure;
use super::StepError;
use super::dispatch;
use super::recover;
use super::steps::Runner;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::event::EventKind;
use crate::plan::action::Gate;
use crate::plan::action::Plan;
use crate::plan::action::Step;
use crate::plan::action::StepId;

/// A replica that failed while the rollout went on.
#[derive(Debug)]
pub struct Borne {
    /// Service.
    pub service: String,
    /// Its slot.
    pub slot: u32,
    /// More have failed than are borne; the rest was to be changed all the same.
    pub beyond: bool,
    /// What failed.
    pub failure: Failure,
}

impl<B: Backend> Runner<'_, B> {
    /// Takes a failed replica back if the rollout goes on without it; else gives the
    /// error back.
    pub(super) async fn bear(&self, step: &Step, error: StepError) -> Result<Borne, StepError> {
        let Some(beyond) = self.bears(step, &error).await else {
            return Err(error);
        };
        let Some(slot) = step.slot else {
            return Err(error);
        };
        // What it said last goes with it.
        let failure =
            dispatch::report_failure(self.backend, self.job, self.emitter, step.id, error).await;
        let before = before(self.job.plan, step.id);
        let message = recover::give_up(self, step, &before).await?;
        self.emitter.emit(EventKind::Warning { message });
        Ok(Borne {
            service: step.service.clone(),
            slot,
            beyond,
            failure,
        })
    }

    /// Whether the rollout goes on without a replica; `Some(true)` if it has failed all
    /// the same.
    async fn bears(&self, step: &Step, error: &StepError) -> Option<bool> {
        let tolerance = self.job.plan.tolerances.get(&step.service)?;
        let of_replica = matches!(
            error,
            StepError::NotReady { .. }
                | StepError::Exited { .. }
                | StepError::Unhealthy { .. }
                | StepError::NoCheck { .. }
                | StepError::Inside { .. }
                | StepError::Backend(BackendError::Engine { .. })
        );
        let gated = matches!(step.gate, Gate::Ready { .. });
        // Without an old one there is nothing to bear it.
        let replaces = recover::replaced(self.job, step).is_some();
        if !of_replica || !gated || !replaces || self.job.lock.confirm().await.is_err() {
            return None;
        }
        let failures = self.count_loss(&step.service);
        let beyond = failures > tolerance.failures;
        (!beyond || tolerance.goes_on).then_some(beyond)
    }
}

/// All that came before a step.
fn before(plan: &Plan, of: StepId) -> BTreeSet<StepId> {
    let mut before = BTreeSet::from([of]);
    // Steps name only earlier ones.
    for step in plan.steps.iter().rev() {
        if before.contains(&step.id) {
            before.extend(step.needs.iter().chain(&step.after));
        }
    }
    before.remove(&of);
    before
}

/// A step and all that follows from it in its own slot.
pub(super) fn slot_after(plan: &Plan, of: StepId) -> BTreeSet<StepId> {
    let mut after = BTreeSet::from([of]);
    let Some(first) = plan.steps.iter().find(|step| step.id == of) else {
        return after;
    };
    for step in &plan.steps {
        let follows = step.needs.iter().chain(&step.after);
        let own = step.service == first.service && step.slot == first.slot;
        if own && follows.into_iter().any(|need| after.contains(need)) {
            after.insert(step.id);
        }
    }
    after
}

/// One failure for all that went beyond what is borne.
pub(super) fn sum(plan: &Plan, borne: Vec<Borne>) -> Option<Failure> {
    let beyond: BTreeSet<&str> = borne
        .iter()
        .filter(|one| one.beyond)
        .map(|one| one.service.as_str())
        .collect();
    if beyond.is_empty() {
        return None;
    }
    let what: Vec<String> = beyond
        .iter()
        .map(|service| {
            let of = borne.iter().filter(|one| one.service == *service);
            let failed: Vec<&str> = of.map(|one| one.failure.message.as_str()).collect();
            let allowed = plan.tolerances.get(*service).map_or(0, |all| all.failures);
            format!(
                "{} replicas of {service} failed, {allowed} may: {}",
                failed.len(),
                failed.join(", ")
            )
        })
        .collect();
    let what = what.join("; ");
    let first = borne.into_iter().find(|one| one.beyond)?;
    Some(Failure {
        message: what.clone(),
        error: StepError::Replicas { what },
        changed: true,
        ..first.failure
    })
}
