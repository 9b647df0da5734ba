//! The steps of one service: what is missing, what is too many, what changes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::action::Action;
use super::action::Cause;
use super::action::StepId;
use super::draft::Draft;
use super::gateway::Gateways;
use super::ground::Ground;
use super::rollout;
use super::view::ServiceView;
use super::view::View;
use crate::state::change;
use crate::state::change::Verdict;
use crate::state::desired::Condition;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;

/// What is drafted so far, shared by all services.
pub(super) struct Stage<'v, 'a> {
    /// The comparison.
    pub(super) view: &'v View<'a>,
    /// The plan in the making.
    pub(super) draft: &'v mut Draft,
    /// Networks, volumes and files.
    pub(super) ground: &'v Ground,
    /// Gateways.
    pub(super) gateways: &'v Gateways,
    /// Steps of the services drafted already.
    pub(super) done: BTreeMap<String, ServiceSteps>,
    /// Aliases whose target is removed by a step of the plan.
    pub(super) untargeted: BTreeSet<String>,
    /// Container names in use or given out.
    pub(super) names: BTreeSet<String>,
}

/// Steps of one service that others refer to.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceSteps {
    /// Starts, whose gates say that a replica is ready.
    pub(super) starts: Vec<StepId>,
    /// Steps after which a replica gets requests.
    pub(super) serving: Vec<StepId>,
    /// Steps that stop a container of it.
    pub(super) stops: Vec<(String, StepId)>,
    /// The last step of everything that goes away.
    pub(super) gone: Vec<StepId>,
    /// A container was replaced or restarted.
    pub(super) replaced: bool,
    /// Container now in slot 1, for `network_mode: service:`.
    pub(super) first: Option<(String, Option<StepId>)>,
}

/// How far a start must wait for other services.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits {
    /// Steps whose gates count.
    pub(super) needs: Vec<StepId>,
    /// Steps whose gates do not count.
    pub(super) after: Vec<StepId>,
}

impl<'a> Stage<'_, 'a> {
    /// Drafts one service; the services it needs are drafted already.
    pub(super) fn service(&mut self, one: &ServiceView<'a>) {
        let mut steps = ServiceSteps::default();
        if one.in_scope {
            let waits = self.waits(one);
            self.note_count(one);
            // What must stand before anything of the service may go away.
            let missing = self.fill(one, &waits, &mut steps);
            let shrunk = self.shrink(one, &missing, &mut steps);
            rollout::replace(self, one, &waits, &shrunk, &mut steps);
            self.update(one);
        }
        if steps.first.is_none() {
            let holder = one.slots.get(&1).and_then(|slot| slot.holder.as_ref());
            steps.first = holder.map(|(found, _)| (found.name.clone(), None));
        }
        self.done.insert(one.service.name.clone(), steps);
    }

    fn note_count(&mut self, one: &ServiceView<'_>) {
        if let Some(note) = &one.count.note {
            self.draft.note(false, &one.service.name, note.clone());
        }
    }

    /// Steps of other services that a start of this one waits for.
    fn waits(&self, one: &ServiceView<'_>) -> Waits {
        let mut waits = Waits::default();
        for need in &one.service.needs {
            let Some(steps) = self.done.get(&need.service) else {
                continue;
            };
            match need.condition {
                Condition::Started => waits.after.extend(&steps.starts),
                Condition::Healthy | Condition::CompletedSuccessfully => {
                    waits.needs.extend(&steps.starts);
                }
            }
        }
        waits
    }

    /// Makes and starts what does not run, all replicas at once. Gives the steps
    /// after which those replicas serve.
    fn fill(
        &mut self,
        one: &ServiceView<'a>,
        waits: &Waits,
        steps: &mut ServiceSteps,
    ) -> Vec<StepId> {
        let mut serving = Vec::new();
        for (number, slot) in &one.slots {
            let served = match &slot.holder {
                None => {
                    let cause = self.missing_cause(one);
                    Some(rollout::create(
                        self,
                        one,
                        *number,
                        cause,
                        &[],
                        waits,
                        0,
                        steps,
                    ))
                }
                Some((found, Verdict::LeftOver | Verdict::Dead)) => {
                    let removed = self.remove(found, &Cause::LeftOver, &[]);
                    let cause = Cause::LeftOver;
                    Some(rollout::create(
                        self,
                        one,
                        *number,
                        cause,
                        &[removed],
                        waits,
                        0,
                        steps,
                    ))
                }
                Some((found, Verdict::Start(how))) => {
                    let cause = Cause::NotRunning(how.clone());
                    Some(rollout::start(self, one, found, cause, waits, steps))
                }
                Some((found, Verdict::Current | Verdict::Update(_)))
                    if self.is_unproved(one, found, &slot.others) =>
                {
                    Some(rollout::start(
                        self,
                        one,
                        found,
                        Cause::LeftOver,
                        waits,
                        steps,
                    ))
                }
                _ => None,
            };
            let successor: Vec<StepId> = served.into_iter().collect();
            if matches!(
                slot.holder,
                Some((_, Verdict::Current | Verdict::Update(_) | Verdict::Start(_)))
            ) || slot.holder.is_none()
            {
                for other in &slot.others {
                    let gone =
                        rollout::retire(self, one, other, &Cause::Replaced, &successor, steps);
                    steps.gone.push(gone);
                }
            }
            serving.extend(successor);
        }
        steps.serving.extend(&serving);
        serving
    }

    /// A running container that never passed its gate: it gets no requests though
    /// it should, or its predecessor still stands beside it.
    fn is_unproved(&self, one: &ServiceView<'_>, found: &Instance, others: &[&Instance]) -> bool {
        if found.state != InstanceState::Running {
            return false;
        }
        if one.routed {
            !self.view.is_target(found)
        } else {
            others.iter().any(|other| change::serves(other))
        }
    }

    fn missing_cause(&self, one: &ServiceView<'_>) -> Cause {
        let any = self
            .view
            .input
            .observed
            .instances
            .iter()
            .any(|found| found.service == one.service.name);
        if any { Cause::ScaleUp } else { Cause::Missing }
    }

    /// Removes the containers of slots above the count, once every slot below has
    /// one that serves.
    fn shrink(
        &mut self,
        one: &ServiceView<'a>,
        missing: &[StepId],
        steps: &mut ServiceSteps,
    ) -> Vec<StepId> {
        let mut gone = Vec::new();
        for found in &one.surplus {
            gone.push(rollout::retire(
                self,
                one,
                found,
                &Cause::ScaleDown,
                missing,
                steps,
            ));
        }
        steps.gone.extend(&gone);
        gone
    }

    fn update(&mut self, one: &ServiceView<'_>) {
        for slot in one.slots.values() {
            if let Some((found, Verdict::Update(changes))) = &slot.holder {
                let action = Action::UpdateLive {
                    container: found.name.clone(),
                    live: one.revision.spec.live.clone(),
                };
                let cause = Cause::Changed(changes.clone());
                self.draft.step(&one.service.name, action, cause, &[]);
            }
        }
    }

    /// Removes a container that does not run.
    pub(super) fn remove(&mut self, found: &Instance, cause: &Cause, needs: &[StepId]) -> StepId {
        self.names.remove(&found.name);
        let action = Action::RemoveContainer {
            container: found.name.clone(),
        };
        self.draft
            .step(&found.service, action, cause.clone(), needs)
    }
}
