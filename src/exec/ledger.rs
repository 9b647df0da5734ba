//! What a run writes into the history: that it began, and how it ended.
//!
//! A release stands there as running from its first step on, so that a run that was
//! killed leaves a trace. On a stack without a store it is written at the end.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Emitter;
use super::mission::Mission;
use crate::backend::Backend;
use crate::event::EventKind;
use crate::plan;
use crate::plan::action::Plan;
use crate::release;
use crate::state::desired::DesiredState;
use crate::state::history;
use crate::state::history::Outcome;
use crate::state::history::Release;
use crate::state::history::ReleasedImage;
use crate::state::observed::ObservedState;

/// The record of one run.
pub(super) struct Ledger<'a, B> {
    backend: &'a B,
    stack: &'a str,
    emitter: &'a Emitter,
    /// `None` where the run makes no release.
    release: Option<Release>,
    /// What the release asks for, as it was given: with the services that it names.
    asked: Option<&'a DesiredState>,
    started: Instant,
}

impl<'a, B: Backend> Ledger<'a, B> {
    pub(super) fn new(backend: &'a B, mission: &'a Mission<'_>, emitter: &'a Emitter) -> Self {
        Self {
            backend,
            stack: &mission.context.stack,
            emitter,
            release: mission.release.clone(),
            asked: mission.release.as_ref().map(|release| &release.desired),
            started: Instant::now(),
        }
    }

    /// The run is about to change something.
    pub(super) async fn open(&mut self, plan: &Plan, observed: &ObservedState) {
        let Some(release) = self.release.as_mut().filter(|one| one.summary.number == 0) else {
            return;
        };
        release.summary.steps = plan.steps.len();
        if observed.store.is_none() {
            return;
        }
        if !release.desired.only.is_empty()
            && let Ok(Some(last)) = release::serving(self.backend, self.stack).await
        {
            release.desired = history::merged(&last.desired, &release.desired);
        }
        self.write(BTreeMap::new()).await;
    }

    /// The run has ended; the number of its release, where it made one.
    pub(super) async fn close(
        &mut self,
        outcome: Outcome,
        reason: &str,
        observed: Option<&ObservedState>,
    ) -> Option<u64> {
        let took = self.started.elapsed().as_millis();
        let release = self.release.as_mut()?;
        release.summary.outcome = outcome;
        reason.clone_into(&mut release.summary.reason);
        release.summary.took_ms = u64::try_from(took).unwrap_or(u64::MAX);
        if let Some(observed) = observed {
            release.summary.images = images(&release.desired, observed);
        }
        let proved = match (outcome, self.asked) {
            (Outcome::Deployed, Some(asked)) => plan::revisions(asked),
            _ => BTreeMap::new(),
        };
        self.write(proved).await;
        let number = self.release.as_ref()?.summary.number;
        (number > 0).then_some(number)
    }

    /// A record that cannot be written is a warning: the containers carry their
    /// revisions, so the store can be rebuilt from them.
    async fn write(&mut self, proved: BTreeMap<String, String>) {
        let Some(release) = self.release.as_mut() else {
            return;
        };
        release.desired.only.clear();
        release.summary.spec = history::spec_digest(&release.desired);
        release.desired = history::recorded(&release.desired);
        let outcome = release.summary.outcome;
        let written = release::record(self.backend, self.stack, release, proved).await;
        // A first deploy that failed early has no store yet.
        if let Err(error) = written
            && outcome != Outcome::Failed
        {
            self.emitter.emit(EventKind::Warning {
                message: format!("the release was not recorded: {error}"),
            });
        }
    }
}

/// The image of each service, as its containers run it.
fn images(desired: &DesiredState, observed: &ObservedState) -> BTreeMap<String, ReleasedImage> {
    let image = |service: &crate::state::desired::ServiceSpec| {
        let reference = &service.container.image;
        let mut replicas = observed.instances.iter();
        let run = replicas.find(|one| one.service == service.name && one.image == *reference);
        let known = observed.images.get(reference).map(|info| info.id.clone());
        ReleasedImage {
            reference: reference.clone(),
            id: run.map(|one| one.image_id.clone()).or(known),
        }
    };
    desired
        .services
        .iter()
        .map(|(name, service)| (name.clone(), image(service)))
        .collect()
}
