//! Hooks: commands that run once around a change, each a step of its own.
//!
//! A service's `pre_deploy` comes before anything happens to its replicas, the stack's
//! before anything happens to any. `pre_start` comes after that, or before each replica
//! starts, also on the way back. `post_deploy` comes after all of it. On the way back
//! `on_rollback` runs in its place, once everything serves again. A count or a restart
//! gives nobody a new revision, so nothing runs then but what belongs to a single replica.

use super::action::Action;
use super::action::Cause;
use super::action::InstanceSpec;
use super::action::StepId;
use super::action::TaskSpec;
use super::ground;
use super::replica;
use super::stage::Stage;
use super::stage::Waits;
use super::view::ServiceView;
use super::view::View;
use crate::state::change::KnownImage;
use crate::state::change::Verdict;
use crate::state::hooks::Hook;
use crate::state::hooks::Moment;
use crate::state::hooks::PreStart;
use crate::state::names;
use crate::state::observed::Role;
use crate::state::spec::ContainerSpec;
use crate::state::spec::MountSource;
use crate::state::task;

/// How long one `pre_start` may take, for which the specification knows no time limit.
const PRE_START_LIMIT_MS: u64 = 600_000;

/// Removes what hooks of a killed run left behind.
pub(super) fn left_over(stage: &mut Stage<'_, '_>) {
    let instances = &stage.view.input.observed.instances;
    for found in instances.iter().filter(|one| one.role == Role::Task) {
        let container = found.name.clone();
        let action = Action::RemoveContainer { container };
        stage.draft.step("", action, Cause::LeftOver, &[]);
        stage.free_name(found);
    }
}

/// Drafts the hooks; all else is drafted already.
pub(super) fn draft(stage: &mut Stage<'_, '_>, listeners: Option<StepId>) {
    let options = stage.view.input.options;
    if !options.scale.is_empty() {
        return;
    }
    if options.backwards {
        on_rollback(stage);
    } else {
        pre_deploy(stage);
        post_deploy(stage, listeners);
    }
}

/// Whether a service's image and settings serve the stack's own hooks in this plan.
pub(super) fn lends(view: &View<'_>, one: &ServiceView<'_>) -> bool {
    let hooks = view.input.desired.hooks.as_ref();
    hooks.is_some_and(|hooks| hooks.service == one.service.name)
        && view.services.iter().any(|other| renews(view, other))
}

/// Whether a container of a revision comes up that the service did not have.
fn renews(view: &View<'_>, one: &ServiceView<'_>) -> bool {
    let digest = &one.revision.digest;
    let instances = &view.input.observed.instances;
    let replicas = || instances.iter().filter(|found| found.role == Role::Service);
    let runs =
        replicas().any(|found| found.service == one.service.name && found.revision == *digest);
    // One that was scaled to nothing has had it; after a `down` all begins anew.
    let was_there = runs || (replicas().next().is_some() && proved(view, one) == Some(digest));
    one.in_scope
        && one.slots.values().any(|slot| match &slot.holder {
            None => !was_there,
            Some((_, Verdict::ImageChanged)) => true,
            Some((found, Verdict::Changed(_) | Verdict::Dead)) => found.revision != *digest,
            Some(_) => false,
        })
}

/// Whether the service has a revision with which no run has ended well: one that was
/// killed may have come as far as its last replica.
fn is_unfinished(view: &View<'_>, one: &ServiceView<'_>) -> bool {
    one.in_scope
        && !one.slots.is_empty()
        && one.revision.image != KnownImage::Unnamed
        && view.input.observed.store.is_some()
        && proved(view, one) != Some(&one.revision.digest)
}

fn proved<'v>(view: &View<'v>, one: &ServiceView<'_>) -> Option<&'v String> {
    let store = view.input.observed.store.as_ref()?;
    store.head.proved.get(&one.service.name)
}

fn pre_deploy(stage: &mut Stage<'_, '_>) {
    let view = stage.view;
    let new: Vec<&ServiceView<'_>> = view
        .services
        .iter()
        .filter(|one| renews(view, one))
        .collect();
    if new.is_empty() {
        return;
    }
    // Nothing of the stack needs to run for the stack's own hook.
    let first = of_stack(stage, Moment::PreDeploy, &new, &[]);
    if let Some(hook) = first {
        for one in &view.services {
            stage.draft.hold(&one.service.name, hook);
        }
    }
    for one in new {
        // Where ports change hands, what a service needs may wait for its own replicas
        // to give up theirs.
        let waits = if stage.gateways.handover {
            Waits::default()
        } else {
            stage.waits(one)
        };
        let mut needs = waits.needs;
        needs.extend(first);
        if let Some(hook) = of_service(stage, one, Moment::PreDeploy, &needs) {
            stage.draft.after(hook, &waits.after);
            stage.draft.hold(&one.service.name, hook);
            needs.push(hook);
        }
        pre_start(stage, one, &needs, &waits.after);
    }
}

/// What runs once before the first replica of a new revision starts, in its order and
/// before anything happens to the replicas. On the way back too: it makes ready what its
/// revision needs, whichever came before.
fn pre_start(stage: &mut Stage<'_, '_>, one: &ServiceView<'_>, needs: &[StepId], after: &[StepId]) {
    let mut last: Option<StepId> = None;
    for (index, hook) in one.service.container.pre_start.iter().enumerate() {
        if hook.per_replica {
            continue;
        }
        let task = before(stage, one, (index, hook), None);
        if has_run(stage, &task) {
            continue;
        }
        let mut needs = needs.to_vec();
        needs.extend(last);
        let cause = Cause::NeededBy(format!("the new revision of {}", one.service.name));
        let id = step(stage, one, &one.service.name, task, cause, &needs);
        stage.draft.after(id, after);
        last = Some(id);
    }
    if let Some(last) = last {
        stage.draft.hold(&one.service.name, last);
    }
}

/// What runs before each replica starts, between its creation and its start; gives the last.
pub(super) fn per_replica(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    (slot, container): (u32, &str),
    created: StepId,
    waits: &Waits,
) -> Option<StepId> {
    let mut last = None;
    for (index, hook) in one.service.container.pre_start.iter().enumerate() {
        if !hook.per_replica {
            continue;
        }
        let task = before(stage, one, (index, hook), Some(container));
        let mut needs = vec![last.unwrap_or(created)];
        needs.extend(&waits.needs);
        let cause = Cause::NeededBy(format!("the start of {}/{slot}", one.service.name));
        let id = step(stage, one, &one.service.name, task, cause, &needs);
        stage.draft.after(id, &waits.after);
        last = Some(id);
    }
    last
}

fn post_deploy(stage: &mut Stage<'_, '_>, listeners: Option<StepId>) {
    let view = stage.view;
    let new: Vec<&ServiceView<'_>> = view
        .services
        .iter()
        .filter(|one| renews(view, one) || is_unfinished(view, one))
        .collect();
    for one in &new {
        let mut needs = stage.draft.ends_of(&one.service.name);
        needs.extend(listeners.filter(|_| one.routed()));
        of_service(stage, one, Moment::PostDeploy, &needs);
    }
    let needs = stage.draft.ends();
    of_stack(stage, Moment::PostDeploy, &new, &needs);
}

/// For services that the change had begun with, or that get another revision now.
fn on_rollback(stage: &mut Stage<'_, '_>) {
    let view = stage.view;
    for one in view.services.iter().filter(|one| renews(view, one)) {
        let waits = if stage.gateways.handover {
            Waits::default()
        } else {
            stage.waits(one)
        };
        pre_start(stage, one, &waits.needs, &waits.after);
    }
    let begun = &view.input.options.begun;
    let new: Vec<&ServiceView<'_>> = view
        .services
        .iter()
        .filter(|one| renews(view, one) || begun.contains(&one.service.name))
        .collect();
    let needs = stage.draft.ends();
    for one in &new {
        of_service(stage, one, Moment::OnRollback, &needs);
    }
    let needs = stage.draft.ends();
    of_stack(stage, Moment::OnRollback, &new, &needs);
}

/// The step of a service's own hook, unless it has none, or this run has done it.
fn of_service(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    moment: Moment,
    needs: &[StepId],
) -> Option<StepId> {
    let hook = one.service.hooks.at(moment)?;
    let cause = Cause::NeededBy(match moment {
        Moment::OnRollback => format!("the way back of {}", one.service.name),
        _ => format!("the new revision of {}", one.service.name),
    });
    once(stage, one, &one.service.name, (moment, hook), cause, needs)
}

/// The step of the stack's own hook, if one of these services asks for it.
fn of_stack(
    stage: &mut Stage<'_, '_>,
    moment: Moment,
    new: &[&ServiceView<'_>],
    needs: &[StepId],
) -> Option<StepId> {
    let view = stage.view;
    let hooks = view.input.desired.hooks.as_ref()?;
    let hook = hooks.hooks.at(moment).filter(|_| !new.is_empty())?;
    let lender = |one: &&ServiceView<'_>| one.service.name == hooks.service;
    let one = view.services.iter().find(lender)?;
    let names: Vec<&str> = new.iter().map(|one| one.service.name.as_str()).collect();
    let names = names.join(", ");
    let cause = Cause::NeededBy(match moment {
        Moment::OnRollback => format!("the way back of {names}"),
        _ => format!("the new revision of {names}"),
    });
    once(stage, one, "", (moment, hook), cause, needs)
}

fn once(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    owner: &str,
    (moment, hook): (Moment, &Hook),
    cause: Cause,
    needs: &[StepId],
) -> Option<StepId> {
    let task = around(stage, one, owner, moment, hook);
    (!has_run(stage, &task)).then(|| step(stage, one, owner, task, cause, needs))
}

/// Whether this run has done it already.
fn has_run(stage: &Stage<'_, '_>, task: &TaskSpec) -> bool {
    let done = &stage.view.input.options.learned.tasks;
    done.contains(&task.instance.name)
}

fn step(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    owner: &str,
    task: TaskSpec,
    cause: Cause,
    needs: &[StepId],
) -> StepId {
    let name = task.instance.name.clone();
    let mut all = stage.ground.of(stage.view, one);
    all.extend(stage.joined(one).and_then(|(_, step)| *step));
    all.extend(stage.lending(one));
    all.extend(stage.draft.removal_of(&name));
    all.extend(needs);
    let action = Action::RunTask { task };
    stage.draft.step(owner, action, cause, &all)
}

/// The container of a hook around the change.
fn around(
    stage: &Stage<'_, '_>,
    one: &ServiceView<'_>,
    owner: &str,
    moment: Moment,
    hook: &Hook,
) -> TaskSpec {
    let mut spec = task::one_off(&one.revision.spec);
    // The command names its program, so the image's entrypoint takes no part.
    spec.entrypoint = Some(hook.command.clone());
    spec.command = None;
    spec.environment.extend(hook.environment.clone());
    // Other commands of the same revision are other tasks.
    let key = format!(
        "{}\0{:?}\0{:?}",
        one.revision.digest, hook.command, hook.environment
    );
    task(stage, one, owner, (moment, hook.timeout_ms, &key), spec)
}

/// The container that runs before a replica: before the first one, or before one by name,
/// whose own volumes it shares then.
fn before(
    stage: &Stage<'_, '_>,
    one: &ServiceView<'_>,
    (index, hook): (usize, &PreStart),
    replica: Option<&str>,
) -> TaskSpec {
    let mut spec = task::one_off(&one.revision.spec);
    // Its image's entrypoint takes part, as with a service.
    spec.entrypoint = None;
    spec.command.clone_from(&hook.command);
    spec.environment.extend(hook.environment.clone());
    spec.privileged |= hook.privileged;
    spec.user = match (&hook.user, &hook.image) {
        (None, None) => spec.user,
        (user, _) => user.clone(),
    };
    spec.working_dir = hook.working_dir.clone().or(spec.working_dir);
    if let Some(image) = &hook.image {
        spec.image.clone_from(image);
    }
    if replica.is_some() {
        spec.mounts
            .retain(|mount| mount.source != MountSource::Anonymous);
    }
    let key = format!("{}\0{index}\0{replica:?}", one.revision.digest);
    let moment = (Moment::PreStart, PRE_START_LIMIT_MS, key.as_str());
    let mut task = task(stage, one, &one.service.name, moment, spec);
    if hook.image.is_some() {
        task.instance.image_id = None;
    }
    let volumes = replica.map(ToOwned::to_owned);
    task.instance.volumes_from.extend(volumes);
    task
}

fn task(
    stage: &Stage<'_, '_>,
    one: &ServiceView<'_>,
    owner: &str,
    (moment, timeout_ms, key): (Moment, u64, &str),
    mut spec: ContainerSpec,
) -> TaskSpec {
    let view = stage.view;
    let desired = view.input.desired;
    let service = &one.service.name;
    let revision = &one.revision.digest;
    let digest = names::hex(key.as_bytes());
    spec.share(|other| stage.first_of(other));
    TaskSpec {
        moment,
        timeout_ms,
        instance: InstanceSpec {
            name: names::task(&desired.stack, owner, moment.key(), &digest),
            service: service.clone(),
            slot: 0,
            revision: revision.clone(),
            alias: String::new(),
            image_id: replica::image_id(one),
            networks: ground::network_names(view, one),
            volumes: ground::volumes_of(view, one),
            files: ground::files_of(view, one),
            join: stage.joined(one).map(|(container, _)| container.clone()),
            volumes_from: stage.lent(one),
            labels: task::labels(desired, service, "task", revision),
            spec,
        },
    }
}

/// How long all hooks of a plan may take together; said before they run.
pub(super) fn note_bound(stage: &mut Stage<'_, '_>) {
    let bounds = stage.draft.bounds();
    if !bounds.is_empty() {
        let total = bounds.into_iter().fold(0, u64::saturating_add);
        let text = format!("hooks may take up to {} in all", span(total));
        stage.draft.note(false, "", text);
    }
}

/// A time in words.
pub(super) fn span(millis: u64) -> String {
    if millis == 0 || !millis.is_multiple_of(1000) {
        return format!("{millis} ms");
    }
    let (minutes, seconds) = (millis / 60_000, millis / 1000 % 60);
    match (minutes, seconds) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}
