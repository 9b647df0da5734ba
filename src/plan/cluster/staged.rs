//! A new revision that shows itself beside the one that serves, before it takes its place:
//! canary and blue-green on a cluster.
//!
//! The old workload is not touched before the last stage has passed, so the way back from
//! any of them is to remove the other one. What a run that did not finish has left is gone
//! on with where it is still wanted, and goes first where it is not.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::apply;
use super::capacity;
use super::deploy::Stage;
use super::order::Change;
use super::rolled_out;
use crate::plan::action::Action;
use crate::plan::action::Cause;
use crate::plan::action::Gate;
use crate::plan::action::StepId;
use crate::plan::input::PlanInput;
use crate::plan::scale::Count;
use crate::state::cluster::ClusterState;
use crate::state::cluster::Next;
use crate::state::cluster::Wanted;
use crate::state::desired::ServiceSpec;
use crate::state::strategy::Staged;
use crate::state::strategy::StagedKind;

/// What a change of a service's pods is made of.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) service: &'a ServiceSpec,
    /// The workload.
    pub(super) main: &'a Wanted,
    /// Where a new revision of it shows itself.
    pub(super) next: &'a Next,
    /// Names by which it is reached.
    pub(super) fronts: &'a [&'a Wanted],
    /// Replicas that it is to have.
    pub(super) count: u32,
    /// Why it changes.
    pub(super) cause: &'a Cause,
}

/// Services that change in stages, with as many pods as the new revision then has beside the
/// old one. Says why not where it does not.
pub(super) fn chosen(
    input: &PlanInput<'_>,
    cluster: &ClusterState,
    counts: &BTreeMap<String, Count>,
) -> (BTreeMap<String, u32>, Vec<(String, String)>) {
    let mut wanted = BTreeMap::new();
    let mut notes = Vec::new();
    for (name, next) in &cluster.next {
        let service = input.desired.services.get(name);
        let staged = service.and_then(|service| service.rollout.staged.as_ref());
        let changes = cluster.workload(name).filter(|one| !one.changes.is_empty());
        let (Some(staged), Some(main)) = (staged, changes) else {
            continue;
        };
        let count = counts.get(name).map_or(0, |count| count.replicas);
        if input.options.backwards || count == 0 {
            continue;
        }
        if staged.kind == StagedKind::BlueGreen && next.others.is_none() {
            let why =
                "nothing tells its pods from new ones yet; from this change on something does";
            notes.push((name.clone(), not_staged(staged, why)));
            continue;
        }
        let pods = staged.stages.iter().map(|stage| match staged.kind {
            StagedKind::Canary => pods_of(stage.percent, old_pods(main), count),
            StagedKind::BlueGreen => count.max(1),
        });
        wanted.insert(name.clone(), pods.max().unwrap_or(1));
    }
    let fitting = capacity::fitting(input, cluster, counts, &wanted);
    for name in wanted.keys().filter(|name| !fitting.contains_key(*name)) {
        let service = input.desired.services.get(name);
        if let Some(staged) = service.and_then(|service| service.rollout.staged.as_ref()) {
            let why = "the capacity has no room for two revisions";
            notes.push((name.clone(), not_staged(staged, why)));
        }
    }
    (fitting, notes)
}

fn not_staged(staged: &Staged, why: &str) -> String {
    format!("replaced batch by batch, not {}: {why}", staged.kind.word())
}

fn old_pods(main: &Wanted) -> u32 {
    let pods = main.pods.as_ref();
    pods.and_then(|pods| pods.replicas).unwrap_or(1).max(1)
}

/// New pods that get a share beside so many old ones: at least one, and at most as many as
/// the service has.
fn pods_of(percent: u32, old: u32, count: u32) -> u32 {
    let most = count.max(1);
    match 100_u32.saturating_sub(percent) {
        0 => most,
        rest => {
            let needed = old.saturating_mul(percent).div_ceil(rest);
            needed.clamp(1, most)
        }
    }
}

impl Stage<'_> {
    /// Drafts the stages of a service, and what follows the last of them.
    pub(super) fn in_stages(&mut self, staged: &Staged, parts: &Parts<'_>, needs: &[StepId]) {
        let Parts {
            service,
            main,
            next,
            fronts,
            count,
            cause,
        } = *parts;
        let name = service.name.as_str();
        let (first, passed) = match staged.kind {
            StagedKind::Canary => self.canary(staged, parts, needs),
            StagedKind::BlueGreen => self.blue_green(staged, parts, needs),
        };
        let action = apply(main, Some(count));
        let id = self.draft.step(name, action, cause.clone(), &passed);
        self.draft.gate(id, rolled_out(main, service, count));
        let mut ends = vec![id];
        if staged.kind == StagedKind::BlueGreen {
            ends = self.lead(fronts, None, "leads to all replicas alike", &ends);
        }
        let action = Action::DeleteObject {
            object: next.wanted.object.clone(),
        };
        self.draft.step(name, action, Cause::Replaced, &ends);
        let first = first.unwrap_or(id);
        self.changes
            .insert(name.to_owned(), Change { first, last: id });
    }

    /// More and more new pods among the old ones.
    fn canary(
        &mut self,
        how: &Staged,
        parts: &Parts<'_>,
        needs: &[StepId],
    ) -> (Option<StepId>, Vec<StepId>) {
        let name = parts.service.name.as_str();
        let old = old_pods(parts.main);
        let mut stages: Vec<(u32, u64)> = how
            .stages
            .iter()
            .map(|stage| (pods_of(stage.percent, old, parts.count), stage.pause_ms))
            .collect();
        // A run that did not finish has come so far.
        let reached = reached(parts.next);
        let passed = stages.iter().take_while(|(pods, _)| *pods < reached);
        let passed = passed.count().min(stages.len().saturating_sub(1));
        stages.drain(..passed);
        let shares: Vec<String> = stages
            .iter()
            .map(|(pods, _)| format!("{pods} new beside {old} old ({} %)", share(*pods, old)))
            .collect();
        let text = format!(
            "canary: {}; pods alone give the verdict, a cluster counts no requests",
            shares.join(", then ")
        );
        self.draft.note(false, name, text);
        let mut last = needs.to_vec();
        last.extend(self.settle(parts.fronts, needs));
        let mut first = None;
        for (pods, pause_ms) in stages {
            let id = self.show(parts, pods, pause_ms, &last);
            if first.is_some() {
                self.draft.delay(id, parts.service.rollout.delay_ms);
            }
            first = first.or(Some(id));
            last = vec![id];
        }
        (first, last)
    }

    /// All new pods, and then all requests for them.
    fn blue_green(
        &mut self,
        staged: &Staged,
        parts: &Parts<'_>,
        needs: &[StepId],
    ) -> (Option<StepId>, Vec<StepId>) {
        let Parts {
            service,
            next,
            fronts,
            ..
        } = *parts;
        let name = service.name.as_str();
        let text = "blue-green: pods alone give the verdict, a cluster counts no requests";
        self.draft.note(false, name, text);
        let stays = self.cluster.switched.contains(name) && reached(next) >= parts.count.max(1);
        let mut last = needs.to_vec();
        let mut first = None;
        for stage in &staged.stages {
            if stage.percent == 0 {
                if stays {
                    // A run that did not finish has switched already.
                    continue;
                }
                let what = "leads to the old revision alone";
                let before = self.lead(fronts, next.others.as_ref(), what, &last);
                let id = self.show(parts, parts.count.max(1), stage.pause_ms, &before);
                first = first.or(Some(id));
                last = vec![id];
                continue;
            }
            let what = "leads to the new revision alone";
            last = self.lead(fronts, Some(&next.own), what, &last);
            for id in &last {
                self.watch(*id, parts, parts.count.max(1), stage.pause_ms);
            }
            first = first.or_else(|| last.first().copied());
        }
        (first, last)
    }

    /// So many pods of the new revision, watched for so long.
    fn show(&mut self, parts: &Parts<'_>, pods: u32, pause_ms: u64, needs: &[StepId]) -> StepId {
        let action = apply(&parts.next.wanted, Some(pods));
        let name = parts.service.name.as_str();
        let id = self.draft.step(name, action, parts.cause.clone(), needs);
        self.watch(id, parts, pods, pause_ms);
        id
    }

    fn watch(&mut self, step: StepId, parts: &Parts<'_>, pods: u32, pause_ms: u64) {
        let mut gate = rolled_out(&parts.next.wanted, parts.service, pods);
        if let Gate::RolledOut { watch_ms, .. } = &mut gate {
            *watch_ms = pause_ms;
        }
        self.draft.gate(step, gate);
    }

    /// Lets the names of a service lead to pods with a label alone, or to all of them.
    fn lead(
        &mut self,
        fronts: &[&Wanted],
        label: Option<&(String, String)>,
        what: &str,
        needs: &[StepId],
    ) -> Vec<StepId> {
        let mut steps = Vec::new();
        for front in fronts {
            let mut sent = (*front).clone();
            if let Some(label) = label {
                sent.manifest = sent.manifest.leading_to(label);
            }
            let cause = Cause::Changed(vec![what.to_owned()]);
            let action = apply(&sent, None);
            steps.push(self.draft.step(&front.service, action, cause, needs));
        }
        if steps.is_empty() {
            needs.to_vec()
        } else {
            steps
        }
    }

    /// Sends those names of a service that are not as they should be.
    fn settle(&mut self, fronts: &[&Wanted], needs: &[StepId]) -> Vec<StepId> {
        let changed = fronts.iter().filter_map(|front| {
            let cause = super::deploy::cause(front)?;
            Some((*front, cause))
        });
        let changed: Vec<(&Wanted, Cause)> = changed.collect();
        let draft = &mut self.draft;
        changed
            .into_iter()
            .map(|(front, cause)| draft.step(&front.service, apply(front, None), cause, needs))
            .collect()
    }

    /// Removes what a run that did not finish has left of a service that does not change in
    /// stages now. Where its name leads there alone, it leads to all replicas before. The
    /// workload itself has its count at any time, so it needs nothing beside it.
    pub(super) fn clear(&mut self, service: &str, fronts: &[&Wanted], needs: &mut Vec<StepId>) {
        let cluster = self.cluster;
        let mut left = cluster.left.iter();
        let Some(left) = left.find(|left| left.next && left.service == service) else {
            return;
        };
        let action = Action::DeleteObject {
            object: left.object.clone(),
        };
        let switched = cluster.switched.contains(service);
        if !switched {
            // A name that leads to the old revision alone must not lead here instead.
            let gone = self
                .draft
                .step(service, action.clone(), Cause::LeftOver, needs);
            needs.push(gone);
        }
        let settled = self.settle(fronts, needs);
        needs.extend(settled);
        if switched {
            let gone = self.draft.step(service, action, Cause::LeftOver, needs);
            needs.push(gone);
        }
    }
}

/// Pods that a run which did not finish has given the new revision already.
fn reached(next: &Next) -> u32 {
    let stands = next.wanted.exists && next.wanted.changes.is_empty();
    let pods = next.wanted.pods.as_ref().filter(|_| stands);
    pods.and_then(|pods| pods.replicas).unwrap_or(0)
}

fn share(new: u32, old: u32) -> u32 {
    (new.saturating_mul(100))
        .checked_div(new.saturating_add(old))
        .unwrap_or(0)
}
