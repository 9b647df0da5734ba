//! The plan of a deploy or scale.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::apply;
use super::capacity;
use super::hooks;
use super::order;
use super::order::Change;
use super::rolled_out;
use super::staged;
use super::staged::Parts;
use crate::plan::action::Action;
use crate::plan::action::Cause;
use crate::plan::action::Obstacle;
use crate::plan::action::Plan;
use crate::plan::action::Refusal;
use crate::plan::action::StepId;
use crate::plan::draft::Draft;
use crate::plan::input::PlanInput;
use crate::plan::input::Prune;
use crate::plan::report;
use crate::plan::scale;
use crate::plan::scale::Count;
use crate::state::cluster::ClusterState;
use crate::state::cluster::Left;
use crate::state::cluster::Wanted;
use crate::state::desired::ImageSource;
use crate::state::desired::ServiceSpec;
use crate::state::digest;

/// So many sets of files of one name are kept that nothing uses any more: what went before
/// may be asked for again.
const KEPT_SETS: usize = 5;

/// Plans the way from what is to what the file says.
pub(super) fn plan(input: &PlanInput<'_>, cluster: &ClusterState) -> Result<Plan, Refusal> {
    let counts = scale::counts(input);
    let (staged, why_not) = staged::chosen(input, cluster, &counts);
    let mut stage = Stage {
        input,
        cluster,
        draft: Draft::default(),
        counts,
        staged,
        scope: order::scope(input, cluster),
        base: Vec::new(),
        changes: BTreeMap::new(),
    };
    stage.images();
    hooks::left_over(&mut stage);
    stage.objects();
    order::chain(input, &mut stage.draft, &stage.changes);
    hooks::draft(&mut stage);
    stage.record_scale();
    stage.prune();
    let (capacity, doubt) = capacity::check(input, cluster, &stage.counts, &stage.staged);
    if let Some(text) = doubt {
        stage.draft.note(true, "", text);
    }
    for (service, text) in why_not {
        if stage.is_in_scope(&service) {
            stage.draft.note(true, &service, text);
        }
    }
    stage.notes();
    let (steps, mut notes) = stage.draft.finish();
    if !steps.is_empty() {
        let obstacles = obstacles(input, cluster);
        if !obstacles.is_empty() {
            return Err(Refusal::Preflight(obstacles));
        }
        if capacity.refused {
            return Err(Refusal::Capacity(Box::new(capacity)));
        }
    }
    if !cluster.nodes.is_empty() {
        notes.extend(report::capacity_notes(&capacity));
    }
    Ok(Plan {
        stack: input.desired.stack.clone(),
        basis: digest::observed(input.observed),
        steps,
        capacity,
        notes,
        ..Plan::default()
    })
}

/// The plan in the making.
pub(super) struct Stage<'a> {
    pub(super) input: &'a PlanInput<'a>,
    pub(super) cluster: &'a ClusterState,
    pub(super) draft: Draft,
    pub(super) counts: BTreeMap<String, Count>,
    /// Services that change in stages, with the pods that come beside theirs.
    staged: BTreeMap<String, u32>,
    /// Services that may change; `None` for all.
    scope: Option<BTreeSet<String>>,
    /// Steps that everything of a service stands on.
    pub(super) base: Vec<StepId>,
    /// The steps that change the pods of a service.
    pub(super) changes: BTreeMap<String, Change>,
}

impl Stage<'_> {
    pub(super) fn is_in_scope(&self, service: &str) -> bool {
        self.scope
            .as_ref()
            .is_none_or(|names| names.contains(service))
    }

    /// Builds what no registry has.
    fn images(&mut self) {
        let known = &self.input.observed.images;
        for service in self.input.desired.services.values() {
            let ImageSource::Build { tag } = &service.image else {
                continue;
            };
            let there = tag.as_ref().is_some_and(|tag| known.contains_key(tag));
            if there || !self.is_in_scope(&service.name) {
                continue;
            }
            if tag.is_none() {
                let text = "image: built at deploy";
                self.draft.note(false, &service.name, text);
            }
            let action = Action::BuildImage {
                service: service.name.clone(),
                tag: tag.clone(),
            };
            self.draft.image(&service.name, action, Cause::Missing);
        }
    }

    /// What differs, in the order in which it is sent: what everything stands on, then of
    /// each service its addresses and its workload.
    fn objects(&mut self) {
        let cluster = self.cluster;
        let own = cluster.wanted.iter().filter(|one| one.service.is_empty());
        for wanted in own {
            if let Some(cause) = cause(wanted) {
                let id = self.draft.step("", apply(wanted, None), cause, &[]);
                self.base.push(id);
            }
        }
        let desired = self.input.desired;
        for service in desired.services.values() {
            if self.is_in_scope(&service.name) {
                self.service(service);
            }
        }
    }

    fn service(&mut self, service: &ServiceSpec) {
        let name = service.name.as_str();
        let count = self.counts.get(name).cloned().unwrap_or_default();
        if let Some(text) = count.note {
            self.draft.note(false, name, text);
        }
        let cluster = self.cluster;
        let own = cluster.wanted.iter().filter(|one| one.service == name);
        let (workloads, others): (Vec<&Wanted>, Vec<&Wanted>) =
            own.partition(|one| one.object.is_workload());
        let next = cluster
            .next
            .get(name)
            .filter(|_| self.staged.contains_key(name));
        // Where two revisions are side by side, it matters when names lead where.
        let left = cluster
            .left
            .iter()
            .any(|left| left.next && left.service == name);
        let (fronts, others): (Vec<&Wanted>, Vec<&Wanted>) = others
            .into_iter()
            .partition(|one| (left || next.is_some()) && one.object.kind == "Service");
        let mut needs = self.base.clone();
        for wanted in others {
            if let Some(cause) = cause(wanted) {
                let base = self.base.clone();
                needs.push(self.draft.step(name, apply(wanted, None), cause, &base));
            }
        }
        for left in cluster.left.iter().filter(|left| is_former(left, name)) {
            // Both at once would share what only one may have.
            let action = Action::DeleteObject {
                object: left.object.clone(),
            };
            needs.push(self.draft.step(name, action, Cause::Replaced, &needs));
        }
        if next.is_none() {
            self.clear(name, &fronts, &mut needs);
        }
        for main in workloads {
            let Some(cause) = cause_of_workload(main, count.replicas) else {
                continue;
            };
            match (next, &service.rollout.staged) {
                (Some(next), Some(staged)) => {
                    let parts = Parts {
                        service,
                        main,
                        next,
                        fronts: &fronts,
                        count: count.replicas,
                        cause: &cause,
                    };
                    self.in_stages(staged, &parts, &needs);
                }
                _ => self.workload(service, main, count.replicas, cause, &needs),
            }
        }
    }

    /// Sends a workload, which the cluster then rolls out.
    fn workload(
        &mut self,
        service: &ServiceSpec,
        wanted: &Wanted,
        count: u32,
        cause: Cause,
        needs: &[StepId],
    ) {
        let name = service.name.as_str();
        let mut needs = needs.to_vec();
        if is_failed_job(wanted) {
            // A job that has failed stays so; another of its name runs again.
            let action = Action::DeleteObject {
                object: wanted.object.clone(),
            };
            needs.push(self.draft.step(name, action, cause.clone(), &needs));
        }
        let action = apply(wanted, Some(count));
        let id = self.draft.step(name, action, cause, &needs);
        self.draft.gate(id, rolled_out(wanted, service, count));
        self.changes.insert(name.to_owned(), Change::of(id));
    }

    /// Counts that were asked for, or that the file has overtaken.
    fn record_scale(&mut self) {
        let counts = self.counts.iter();
        let overrides = scale::overrides(counts.filter(|(service, _)| self.is_in_scope(service)));
        if !overrides.is_empty() {
            let action = Action::RecordScale { overrides };
            self.draft.step("", action, Cause::Asked, &[]);
        }
    }

    /// Removes what is left, when all else is done. What belongs to a service that left the
    /// file goes where that is allowed; volumes never do. `deploy SERVICE…` removes nothing.
    fn prune(&mut self) {
        if self.scope.is_some() {
            return;
        }
        let ends = self.draft.ends();
        let services = &self.input.desired.services;
        let mut named: BTreeSet<&str> = BTreeSet::new();
        for left in &self.cluster.left {
            let is_kept = left.object.kind == "PersistentVolumeClaim" || !left.set.is_empty();
            // A command that somebody runs ends by itself; what is left of one then goes.
            if is_kept || left.task || left.runs {
                continue;
            }
            let known = services.contains_key(&left.service);
            if known && (left.next || is_former(left, &left.service)) {
                continue;
            }
            let gone = !left.service.is_empty() && !services.contains_key(&left.service);
            if gone && !self.input.options.prune.covers(&left.service) {
                named.insert(&left.service);
                continue;
            }
            let cause = if gone {
                Cause::NotInFile
            } else {
                Cause::LeftOver
            };
            self.delete(left, cause, &ends);
        }
        for service in named {
            let text = "is no longer in the file; shopctl deploy --prune removes it";
            self.draft.note(false, service, text);
        }
        if !matches!(self.input.options.prune, Prune::Only(_)) {
            for left in surplus(&self.cluster.left) {
                self.delete(left, Cause::LeftOver, &ends);
            }
        }
    }

    fn delete(&mut self, left: &Left, cause: Cause, needs: &[StepId]) {
        let action = Action::DeleteObject {
            object: left.object.clone(),
        };
        self.draft.step(&left.service, action, cause, needs);
    }

    /// What keys of the file mean there.
    fn notes(&mut self) {
        for (service, text) in &self.cluster.notes {
            self.draft.note(false, service, text.clone());
        }
    }
}

/// Whether it kept the pods of a service before another kind of workload did.
fn is_former(left: &Left, service: &str) -> bool {
    let keeps = matches!(left.object.kind.as_str(), "Deployment" | "StatefulSet");
    left.service == service && keeps && !left.next
}

fn is_failed_job(wanted: &Wanted) -> bool {
    let pods = wanted.pods.as_ref();
    wanted.object.kind == "Job" && pods.is_some_and(|pods| pods.failed.is_some())
}

/// Why an object is sent, or nothing.
pub(super) fn cause(wanted: &Wanted) -> Option<Cause> {
    if !wanted.exists {
        return Some(Cause::Missing);
    }
    if wanted.foreign && wanted.object.kind != "Namespace" {
        return Some(Cause::Changed(vec![
            "it belongs to somebody else".to_owned(),
        ]));
    }
    (!wanted.changes.is_empty()).then(|| Cause::Changed(wanted.changes.clone()))
}

/// Why a workload is sent, or nothing.
fn cause_of_workload(wanted: &Wanted, count: u32) -> Option<Cause> {
    match (cause(wanted), cause_of_pods(wanted, count)) {
        (Some(Cause::Changed(mut what)), Some(Cause::ScaleUp | Cause::ScaleDown)) => {
            let there = wanted.pods.as_ref().and_then(|pods| pods.replicas);
            let there = there.unwrap_or_default();
            what.push(format!("replicas {there} -> {count}"));
            Some(Cause::Changed(what))
        }
        (Some(cause), _) | (None, Some(cause)) => Some(cause),
        (None, None) => None,
    }
}

/// Why a workload that is as it should be is sent all the same: its count, or that it is
/// still on its way.
fn cause_of_pods(wanted: &Wanted, count: u32) -> Option<Cause> {
    let pods = wanted.pods.as_ref()?;
    let asked = pods
        .replicas
        .filter(|_| wanted.manifest.replicas().is_some());
    match asked {
        Some(there) if there < count => return Some(Cause::ScaleUp),
        Some(there) if there > count => return Some(Cause::ScaleDown),
        _ => {}
    }
    if pods.is_rolled_out() {
        return None;
    }
    let count = pods.replicas.unwrap_or(count);
    Some(Cause::NotRunning(match &pods.failed {
        Some(why) => why.clone(),
        None => format!("{} of {count} replicas are ready", pods.ready),
    }))
}

/// Sets of files that are neither in use nor among the newest of their name.
fn surplus(left: &[Left]) -> impl Iterator<Item = &Left> {
    let mut sets: BTreeMap<&str, Vec<&Left>> = BTreeMap::new();
    for one in left.iter().filter(|one| !one.set.is_empty()) {
        sets.entry(&one.set).or_default().push(one);
    }
    sets.into_values().flat_map(|mut all| {
        all.sort_by_key(|one| (std::cmp::Reverse(one.made_at), one.object.name.clone()));
        all.into_iter().skip(KEPT_SETS)
    })
}

/// What is in the way.
fn obstacles(input: &PlanInput<'_>, cluster: &ClusterState) -> Vec<Obstacle> {
    let mut all: Vec<Obstacle> = Vec::new();
    let place = |service: &str| {
        let found = input.desired.services.get(service);
        found.map(|one| one.place.clone()).unwrap_or_default()
    };
    for text in &cluster.refused {
        all.push(Obstacle {
            place: String::new(),
            message: text.clone(),
            hint: "shopctl render --backend kubernetes".to_owned(),
        });
    }
    let next = cluster.next.values().map(|next| &next.wanted);
    for one in cluster.wanted.iter().chain(next) {
        if one.foreign && one.object.kind == "Namespace" {
            // It was given to the stack.
            continue;
        }
        if one.foreign {
            all.push(Obstacle {
                place: place(&one.service),
                message: format!("{} is there and belongs to somebody else", one.object),
                hint: format!(
                    "kubectl get {} {} -n {} -o yaml",
                    one.object.kind.to_lowercase(),
                    one.object.name,
                    cluster.namespace
                ),
            });
        } else if let Some(why) = &one.denied {
            all.push(Obstacle {
                place: place(&one.service),
                message: format!("the cluster does not take {}: {why}", one.object),
                hint: "shopctl doctor".to_owned(),
            });
        }
    }
    all
}
