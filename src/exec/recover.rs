//! After a run that did not finish: what served before serves again.
//!
//! Only replicas that never passed their gate are touched, and only where the
//! container they were to replace is still there. It is the executor's one step
//! beyond the plan, and always back to what the plan found.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Emitter;
use super::Job;
use super::gates::Gatekeeper;
use super::steps::Runner;
use crate::backend::Backend;
use crate::event::EventKind;
use crate::gateway::Fleet;
use crate::plan::action::Action;
use crate::plan::action::Gate;
use crate::plan::action::InstanceSpec;
use crate::plan::action::Step;
use crate::plan::action::StepId;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;

/// Removes new replicas that never became ready, after the old one of their slot
/// serves: it was never stopped, or it is started again.
pub(super) async fn take_back<B: Backend>(
    backend: &B,
    job: &Job<'_>,
    fleet: &Fleet<'_, B>,
    emitter: &Emitter,
    succeeded: &BTreeSet<StepId>,
) {
    let done = |wanted: &dyn Fn(&Action) -> bool| {
        let mut steps = job.plan.steps.iter();
        steps.any(|step| succeeded.contains(&step.id) && wanted(&step.action))
    };
    for step in &job.plan.steps {
        let Action::CreateInstance { instance } = &step.action else {
            continue;
        };
        let Some(old) = predecessor(job, instance) else {
            continue;
        };
        let is_old = |container: &String| *container == old.name;
        if passed(job, instance, succeeded)
            || done(
                &|action| matches!(action, Action::RemoveContainer { container } if is_old(container)),
            )
        {
            continue;
        }
        let drained = done(
            &|action| matches!(action, Action::RemoveTarget { alias, .. } if *alias == old.alias),
        );
        let stopped = done(
            &|action| matches!(action, Action::StopContainer { container, .. } if is_old(container)),
        );
        let made = succeeded.contains(&step.id);
        let message = match restore(backend, job, fleet, instance, old, stopped, drained).await {
            Ok(()) if stopped => format!(
                "{} never became ready; {} was started again",
                instance.name, old.name
            ),
            Ok(()) if made => format!(
                "removed {}, which never became ready; {} still serves",
                instance.name, old.name
            ),
            Ok(()) => continue,
            Err(error) => format!(
                "could not go back from {} to {}: {error}",
                instance.name, old.name
            ),
        };
        emitter.emit(EventKind::Warning { message });
    }
}

/// The replica that a step starts and the running one whose place it takes.
pub(super) fn replaced<'a>(
    job: &'a Job<'_>,
    step: &Step,
) -> Option<(&'a InstanceSpec, &'a Instance)> {
    let Action::StartContainer { container } = &step.action else {
        return None;
    };
    let made = job.plan.steps.iter().find_map(|step| match &step.action {
        Action::CreateInstance { instance } if instance.name == *container => Some(instance),
        _ => None,
    })?;
    Some((made, predecessor(job, made)?))
}

/// Takes back one replica that failed, while others go on; what was done, in words.
/// `before` are the steps that came before its start.
pub(super) async fn give_up<B: Backend>(
    runner: &Runner<'_, B>,
    step: &Step,
    before: &BTreeSet<StepId>,
) -> Result<String, super::StepError> {
    let (backend, job, fleet) = (runner.backend, runner.job, &runner.fleet);
    let Some((made, old)) = replaced(job, step) else {
        return Ok(String::new());
    };
    let past = |wanted: &dyn Fn(&Action) -> bool| {
        let mut steps = job.plan.steps.iter();
        steps.any(|step| before.contains(&step.id) && wanted(&step.action))
    };
    let stopped = past(
        &|action| matches!(action, Action::StopContainer { container, .. } if *container == old.name),
    );
    let drained =
        past(&|action| matches!(action, Action::RemoveTarget { alias, .. } if *alias == old.alias));
    let changes = runner.changes.subscribe();
    restore(backend, job, fleet, made, old, stopped, drained && !stopped).await?;
    if let (
        true,
        Gate::Ready {
            networks, ready, ..
        },
    ) = (stopped, &step.gate)
    {
        // It counts again once it answers; the next one may be stopped then.
        let gatekeeper = Gatekeeper {
            backend,
            fleet,
            container: &old.name,
            alias: &old.alias,
            networks,
        };
        gatekeeper.wait(ready, Duration::ZERO, changes).await?;
        job.lock.confirm().await?;
        if drained {
            let group = old.group();
            fleet
                .add_target(&old.service, &old.alias, &group, None)
                .await?;
        }
    }
    Ok(format!(
        "removed {}, which failed; {} {}, and the rollout goes on",
        made.name,
        old.name,
        if stopped {
            "was started again"
        } else {
            "still serves"
        }
    ))
}

/// The running container that a new replica was to take the place of.
fn predecessor<'a>(job: &'a Job<'_>, instance: &InstanceSpec) -> Option<&'a Instance> {
    job.observed.instances.iter().find(|old| {
        old.service == instance.service
            && old.slot == instance.slot
            && old.state == InstanceState::Running
    })
}

fn passed(job: &Job<'_>, instance: &InstanceSpec, succeeded: &BTreeSet<StepId>) -> bool {
    job.plan.steps.iter().any(|step| {
        succeeded.contains(&step.id)
            && matches!(&step.gate, Gate::Ready { container, .. } if *container == instance.name)
    })
}

/// The new one goes first: two of them may be what the plan avoided.
async fn restore<B: Backend>(
    backend: &B,
    job: &Job<'_>,
    fleet: &Fleet<'_, B>,
    instance: &InstanceSpec,
    old: &Instance,
    stopped: bool,
    drained: bool,
) -> Result<(), super::StepError> {
    let remove = Action::RemoveContainer {
        container: instance.name.clone(),
    };
    job.lock.confirm().await?;
    backend.apply(job.context, &remove).await?;
    if stopped {
        let start = Action::StartContainer {
            container: old.name.clone(),
        };
        job.lock.confirm().await?;
        backend.apply(job.context, &start).await?;
    }
    if drained {
        job.lock.confirm().await?;
        let group = old.group();
        fleet
            .add_target(&old.service, &old.alias, &group, None)
            .await?;
    }
    Ok(())
}
