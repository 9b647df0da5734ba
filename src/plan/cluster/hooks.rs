//! Hooks on a cluster: each a job that is made when it is due, waited for, and taken away.
//!
//! The same moments as on an engine, for the same reasons: only where a service gets a new
//! revision.

use super::deploy::Stage;
use crate::plan::action::Action;
use crate::plan::action::Cause;
use crate::plan::action::Gate;
use crate::plan::action::StepId;
use crate::state::cluster::Renewal;
use crate::state::cluster::Task;
use crate::state::hooks::Moment;

/// A cluster ends a job that takes too long, and is asked a little longer.
const MARGIN_MS: u64 = 30_000;

/// Removes what hooks of a killed run left behind: it may still run.
pub(super) fn left_over(stage: &mut Stage<'_>) {
    let left = stage.cluster.left.iter().filter(|left| left.task);
    for left in left {
        let action = Action::DeleteObject {
            object: left.object.clone(),
        };
        let id = stage.draft.step("", action, Cause::LeftOver, &[]);
        stage.base.push(id);
    }
}

/// Drafts the hooks; the changes of workloads and their order are drafted already.
pub(super) fn draft(stage: &mut Stage<'_>) {
    let options = stage.input.options;
    if !options.scale.is_empty() || stage.cluster.tasks.is_empty() {
        return;
    }
    let renewed = services(stage, renews);
    if options.backwards {
        let begun = &options.begun;
        let back = services(stage, |_, name| {
            renewed.iter().any(|it| it == name) || begun.contains(name)
        });
        after(stage, Moment::OnRollback, &back);
        return;
    }
    before(stage, &renewed);
    let unproved = services(stage, |stage, name| {
        renewed.iter().any(|it| it == name) || is_unfinished(stage, name)
    });
    after(stage, Moment::PostDeploy, &unproved);
}

/// Services in scope of which this is true.
fn services(stage: &Stage<'_>, is_meant: impl Fn(&Stage<'_>, &str) -> bool) -> Vec<String> {
    let names = stage.input.desired.services.keys();
    let meant = names.filter(|name| stage.is_in_scope(name) && is_meant(stage, name));
    meant.cloned().collect()
}

/// Whether pods of another revision come up in this plan.
fn renews(stage: &Stage<'_>, service: &str) -> bool {
    let workload = stage.cluster.workload(service);
    stage.changes.contains_key(service)
        && workload.is_some_and(|one| one.renewal != Renewal::Nothing)
}

/// Whether no run has ended well with the revision that is there. Of a service without any
/// replica no run can tell.
fn is_unfinished(stage: &Stage<'_>, service: &str) -> bool {
    if stage
        .counts
        .get(service)
        .is_some_and(|count| count.replicas == 0)
    {
        return false;
    }
    let revision = stage.cluster.workload(service).and_then(|it| it.revision());
    let store = stage.input.observed.store.as_ref();
    store.is_some_and(|store| store.head.proved.get(service).map(String::as_str) != revision)
}

/// The stack's own hook before anything happens to any service, then each service's own
/// before anything happens to it.
fn before(stage: &mut Stage<'_>, renewed: &[String]) {
    let moment = Moment::PreDeploy;
    let base = stage.base.clone();
    let own = of_stack(stage, moment, renewed, &base);
    let mut needs = base;
    if let Some(own) = own {
        needs.push(own);
        for change in stage.changes.values() {
            stage.draft.need(change.first, &[own]);
        }
    }
    for service in renewed {
        let Some(change) = stage.changes.get(service).copied() else {
            continue;
        };
        // What it needs is ready, as for the change itself.
        let mut needs = needs.clone();
        needs.extend(stage.draft.needs_of(change.first));
        if let Some(hook) = of_service(stage, moment, service, &needs) {
            stage.draft.need(change.first, &[hook]);
        }
    }
}

/// Each service's own hook after all that happens to it, the stack's own after all.
fn after(stage: &mut Stage<'_>, moment: Moment, services: &[String]) {
    for service in services {
        let change = stage.changes.get(service).copied();
        let needs = change.map_or_else(|| stage.base.clone(), |change| vec![change.last]);
        of_service(stage, moment, service, &needs);
    }
    let ends = stage.draft.ends();
    of_stack(stage, moment, services, &ends);
}

fn of_service(
    stage: &mut Stage<'_>,
    moment: Moment,
    service: &str,
    needs: &[StepId],
) -> Option<StepId> {
    let mut tasks = stage.cluster.tasks.iter();
    let task = tasks.find(|task| task.moment == moment && task.owner == service)?;
    run(stage, task, service, needs)
}

fn of_stack(
    stage: &mut Stage<'_>,
    moment: Moment,
    services: &[String],
    needs: &[StepId],
) -> Option<StepId> {
    let mut tasks = stage.cluster.tasks.iter();
    let task = tasks.find(|task| task.moment == moment && task.owner.is_empty())?;
    if services.is_empty() {
        return None;
    }
    run(stage, task, &services.join(", "), needs)
}

/// Makes the job, unless this run has; it is taken away when it has ended.
fn run(stage: &mut Stage<'_>, task: &Task, whose: &str, needs: &[StepId]) -> Option<StepId> {
    let learned = &stage.input.options.learned;
    if learned.tasks.contains(&task.object.name) {
        return None;
    }
    let cause = Cause::NeededBy(match task.moment {
        Moment::OnRollback => format!("the way back of {whose}"),
        _ => format!("the new revision of {whose}"),
    });
    let action = Action::ApplyObject {
        object: task.object.clone(),
        manifest: task.manifest.clone(),
        digest: task.digest.clone(),
        replicas: None,
    };
    let id = stage.draft.step(&task.owner, action, cause.clone(), needs);
    let gate = Gate::RolledOut {
        object: task.object.clone(),
        deadline_ms: task.timeout_ms.saturating_add(MARGIN_MS),
        watch_ms: 0,
    };
    stage.draft.gate(id, gate);
    let action = Action::DeleteObject {
        object: task.object.clone(),
    };
    stage.draft.step(&task.owner, action, cause, &[id]);
    Some(id)
}
