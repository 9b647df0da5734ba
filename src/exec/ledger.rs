//! What a run writes into the history: that it began, and how it ended.
//!
//! A release stands there as running from its first step on, so that a run that was
//! killed leaves a trace. On a stack without a store it is written at the end.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Instant;

use super::Emitter;
use super::mission::Mission;
use super::pins::Pins;
use crate::backend::Backend;
use crate::event::EventKind;
use crate::plan::action::Plan;
use crate::release;
use crate::state::desired::DesiredState;
use crate::state::desired::ServiceSpec;
use crate::state::history;
use crate::state::history::Findings;
use crate::state::history::Outcome;
use crate::state::history::Release;
use crate::state::history::ReleasedImage;
use crate::state::observed::ObservedState;
use crate::state::observed::Role;

/// The record of one run.
pub(super) struct Ledger<'a, B> {
    backend: &'a B,
    stack: &'a str,
    emitter: &'a Emitter,
    /// What references of images mean in the run.
    pins: &'a Pins,
    /// `None` where the run makes no release.
    release: Option<Release>,
    /// The images that the services run, once everything is as it should be.
    running: BTreeMap<String, String>,
    /// Services of which there were containers before the run.
    ran_before: BTreeSet<String>,
    started: Instant,
}

impl<'a, B: Backend> Ledger<'a, B> {
    pub(super) fn new(
        backend: &'a B,
        mission: &'a Mission<'_>,
        pins: &'a Pins,
        emitter: &'a Emitter,
    ) -> Self {
        Self {
            backend,
            stack: &mission.context.stack,
            emitter,
            pins,
            release: mission.release.clone(),
            running: BTreeMap::new(),
            ran_before: BTreeSet::new(),
            started: Instant::now(),
        }
    }

    /// The run is about to change something.
    pub(super) async fn open(&mut self, plan: &Plan, observed: &ObservedState) {
        if self.is_open() {
            return;
        }
        let instances = observed.instances.iter();
        let replicas = instances.filter(|one| one.role == Role::Service);
        self.ran_before = replicas.map(|one| one.service.clone()).collect();
        let Some(release) = self.release.as_mut() else {
            return;
        };
        release.summary.steps = plan.steps.len();
        if observed.store.is_none() {
            return;
        }
        self.write(Findings::default()).await;
    }

    /// Whether the release has its number already.
    pub(super) fn is_open(&self) -> bool {
        self.release
            .as_ref()
            .is_some_and(|release| release.summary.number > 0)
    }

    /// The number of the release, 0 while it has none.
    pub(super) fn number(&self) -> u64 {
        self.release
            .as_ref()
            .map_or(0, |release| release.summary.number)
    }

    /// Digest of what the release asks for, as far as its images are known.
    pub(super) fn spec(&self) -> Option<String> {
        let mut desired = self.release.as_ref()?.desired.clone();
        self.pins.fix(&mut desired, &self.running);
        Some(history::spec_digest(&desired))
    }

    /// Whether there were containers of the stack's services before the run.
    pub(super) fn changes_a_stack(&self) -> bool {
        !self.ran_before.is_empty()
    }

    /// Whether there were containers of this service before the run.
    pub(super) fn ran_before(&self, service: &str) -> bool {
        self.ran_before.contains(service)
    }

    /// Everything is as the release asks for; its number, where the run makes one.
    /// `found` is what the run has found out, `remark` what else there is to know.
    pub(super) async fn done(
        &mut self,
        observed: &ObservedState,
        found: Findings,
        remark: &str,
    ) -> Option<u64> {
        self.release.as_ref()?;
        self.running = running(observed);
        self.end(Outcome::Deployed, remark, found).await
    }

    /// The run has ended in another way.
    pub(super) async fn close(&mut self, outcome: Outcome, reason: &str) {
        self.end(outcome, reason, Findings::default()).await;
    }

    async fn end(&mut self, outcome: Outcome, reason: &str, found: Findings) -> Option<u64> {
        let took = self.started.elapsed().as_millis();
        let release = self.release.as_mut()?;
        release.summary.outcome = outcome;
        reason.clone_into(&mut release.summary.reason);
        release.summary.took_ms = u64::try_from(took).unwrap_or(u64::MAX);
        self.write(found).await;
        let number = self.release.as_ref()?.summary.number;
        (number > 0).then_some(number)
    }

    /// A record that cannot be written is a warning: the containers carry their
    /// revisions, so the store can be rebuilt from them.
    async fn write(&mut self, found: Findings) {
        let Some(release) = self.release.as_mut() else {
            return;
        };
        if !release.desired.only.is_empty() {
            let last = release::serving(self.backend, self.stack).await;
            let last = last.ok().flatten().map(|last| last.desired);
            release.desired = history::merged(&last.unwrap_or_default(), &release.desired);
        }
        let mut document = release.clone();
        self.pins.fix(&mut document.desired, &self.running);
        document.summary.spec = history::spec_digest(&document.desired);
        document.summary.images = images(&document.desired, &self.running);
        document.desired = history::recorded(&document.desired);
        let outcome = release.summary.outcome;
        let written = release::record(self.backend, self.stack, &mut document, found).await;
        release.summary.number = document.summary.number;
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

/// The image id that each service runs.
fn running(observed: &ObservedState) -> BTreeMap<String, String> {
    let replicas = observed
        .instances
        .iter()
        .filter(|one| one.role == Role::Service && !one.image_id.is_empty());
    replicas
        .map(|one| (one.service.clone(), one.image_id.clone()))
        .collect()
}

/// The image of each service, as far as it is known.
fn images(
    desired: &DesiredState,
    running: &BTreeMap<String, String>,
) -> BTreeMap<String, ReleasedImage> {
    let image = |service: &ServiceSpec| {
        let pinned = service.pinned.as_ref();
        let id = pinned.map(|pinned| &pinned.id);
        ReleasedImage {
            reference: service.container.image.clone(),
            id: id.or(running.get(&service.name)).cloned(),
            repo_digest: pinned.and_then(|pinned| pinned.repo_digest.clone()),
        }
    };
    desired
        .services
        .iter()
        .map(|(name, service)| (name.clone(), image(service)))
        .collect()
}
