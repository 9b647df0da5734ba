//! The loop: releases steps as they become ready, forwards the engine's
//! events to the gates, and ends at a safe point on failure, stop or timeout.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::broadcast;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Borne;
use super::Emitter;
use super::Ended;
use super::Failure;
use super::Job;
use super::StepError;
use super::bear;
use super::outage;
use super::queue::Queue;
use super::recover;
use super::steps::Runner;
use super::task;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::Change;
use crate::backend::LogQuery;
use crate::event::EventKind;
use crate::plan::action::Action;
use crate::plan::action::Gate;
use crate::plan::action::Step;
use crate::plan::action::StepId;
use crate::plan::report;

/// Events of the engine that may be waiting for a slow gate.
const EVENTS: usize = 4096;
/// How often the lock is looked at while nothing else happens.
const LOCK_LOOK: Duration = Duration::from_millis(250);
/// Lines of a failed container's log that a report shows.
const LOG_LINES: u64 = 20;

type Running<'a> =
    FuturesUnordered<Pin<Box<dyn Future<Output = (StepId, Result<Went, StepError>)> + Send + 'a>>>;

/// How a step went that did not fail the run.
enum Went {
    Well,
    /// Its replica failed, and the rollout goes on without it.
    Borne(Box<Borne>),
}

/// How far a run came.
#[derive(Default)]
struct Progress {
    succeeded: BTreeSet<StepId>,
    /// Steps of slots that the rollout went on without.
    given_up: BTreeSet<StepId>,
    borne: Vec<Borne>,
    failed: Option<(StepId, StepError)>,
    /// The user asked to stop.
    halted: bool,
    /// The time limit passed.
    expired: bool,
}

/// Runs a plan. Never panics on a failing backend, never leaves its lock check
/// out, and returns only when nothing of it is in flight any more.
pub async fn run<B: Backend>(backend: &B, job: &Job<'_>, emitter: &Emitter) -> Ended {
    let changes = broadcast::Sender::new(EVENTS);
    let watched = match backend.watch(&job.context.stack).await {
        Ok(watched) => watched,
        Err(error) => return not_begun(error.into()),
    };
    let (acted, acting) = mpsc::unbounded_channel();
    let runner = Runner::new(backend, job, emitter, changes.clone(), acted);
    if let Err(error) = runner.claim().await {
        runner.close().await;
        return not_begun(error);
    }
    let progress = drive(&runner, emitter, job, watched, &changes, acting).await;
    let settled: BTreeSet<StepId> = progress
        .succeeded
        .union(&progress.given_up)
        .copied()
        .collect();
    let left = job.plan.steps.len() - settled.len();
    let failed = match progress.failed {
        Some((id, error)) => Some(report_failure(backend, job, emitter, id, error).await),
        None => None,
    };
    // Who lost the lock changes nothing any more, not even back: another run may have
    // finished what this one began, and be serving with it.
    // What may pass by itself leaves what was begun to the next round.
    let passes = failed
        .as_ref()
        .is_some_and(|failed| outage::may_pass(&failed.error));
    if left > 0 && !passes && job.lock.confirm().await.is_ok() {
        if progress.expired {
            task::sweep(backend, job, &settled).await;
        }
        recover::take_back(backend, job, &runner.fleet, emitter, &settled).await;
    }
    runner.close().await;
    if let Some(mut failure) = failed {
        failure.changed = changed(job, &progress.succeeded, failure.step);
        failure.begun = begun(job, &progress.succeeded, failure.step);
        failure.succeeded = progress.succeeded;
        failure.borne = progress.borne;
        Ended::Failed(Box::new(failure))
    } else if progress.expired {
        Ended::TimedOut { left }
    } else if left > 0 && progress.halted {
        Ended::Stopped { left }
    } else if progress.borne.iter().any(|one| one.beyond) {
        match bear::sum(job.plan, progress.borne) {
            Some(mut failure) => {
                failure.begun = begun(job, &progress.succeeded, failure.step);
                Ended::Failed(Box::new(failure))
            }
            None => Ended::Stopped { left },
        }
    } else if left > 0 {
        Ended::Stopped { left }
    } else {
        Ended::Done {
            stuck: runner.into_stuck(),
            borne: progress.borne,
        }
    }
}

/// The error, or that the engine stops: it ends all containers, the lock among them, and
/// only then itself. Nothing of what it says tells a container that it ended from one that
/// failed.
async fn unless_the_engine_stops<B: Backend>(backend: &B, error: StepError) -> StepError {
    let may_be = match &error {
        StepError::Exited { .. }
        // The deadline may come before the word that it has ended.
        | StepError::NotReady { .. }
        | StepError::Unhealthy { .. }
        | StepError::Inside { .. }
        | StepError::Hook { .. }
        | StepError::Backend(BackendError::LockLost) => true,
        StepError::Backend(BackendError::Engine { status, .. }) => *status >= 500,
        _ => false,
    };
    if !may_be {
        return error;
    }
    backend.reach().await.err().map_or(error, StepError::from)
}

fn not_begun(error: StepError) -> Ended {
    Ended::Failed(Box::new(Failure::of_run(error)))
}

/// Releases steps and waits for them until nothing is in flight.
async fn drive<B: Backend>(
    runner: &Runner<'_, B>,
    emitter: &Emitter,
    job: &Job<'_>,
    mut watched: mpsc::Receiver<Change>,
    changes: &broadcast::Sender<Change>,
    mut acting: mpsc::UnboundedReceiver<StepId>,
) -> Progress {
    let steps: BTreeMap<StepId, &Step> =
        job.plan.steps.iter().map(|step| (step.id, step)).collect();
    let mut progress = Progress::default();
    let mut queue = Queue::new(job.plan);
    let mut running: Running<'_> = FuturesUnordered::new();
    let mut halt = job.stop.clone();
    let mut watching = true;
    let deadline = job.timeout.map(|timeout| Instant::now() + timeout);
    let expired = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(expired);
    let lost = async {
        let mut looks = tokio::time::interval(LOCK_LOOK);
        loop {
            looks.tick().await;
            if job.lock.confirm().await.is_err() {
                return;
            }
        }
    };
    tokio::pin!(lost);
    let mut is_lost = false;
    loop {
        while let Some(id) = queue.take() {
            if let Some(step) = steps.get(&id) {
                running.push(Box::pin(one(runner, emitter, job, step)));
            }
        }
        if running.is_empty() {
            return progress;
        }
        tokio::select! {
            Some((id, result)) = running.next() => match result {
                Ok(Went::Well) => {
                    progress.succeeded.insert(id);
                    queue.succeeded(id);
                }
                Ok(Went::Borne(borne)) => {
                    let given_up = bear::slot_after(job.plan, id);
                    let goes_on = |id| {
                        let step = steps.get(&id);
                        let own = step.is_some_and(|step| step.service == borne.service && step.slot.is_some());
                        own || !borne.beyond
                    };
                    queue.give_up(&given_up, goes_on);
                    progress.given_up.extend(given_up);
                    progress.borne.push(*borne);
                }
                // A gate may see the wish to stop before this loop does.
                Err(StepError::Stopped { .. }) => {
                    progress.halted = true;
                    queue.close();
                }
                Err(error) => {
                    queue.close();
                    progress.failed.get_or_insert((id, error));
                }
            },
            Some(id) = acting.recv() => queue.acted(id),
            change = watched.recv(), if watching => match change {
                Some(change) => { let _ = changes.send(change); }
                None => watching = false,
            },
            _ = halt.wait_for(|halt| *halt), if !progress.halted => {
                progress.halted = true;
                queue.close();
            }
            () = &mut lost, if !is_lost => {
                // Nothing may be changed any more, so nothing is worth waiting for.
                is_lost = true;
                queue.close();
                running.clear();
                let lost = BackendError::LockLost.into();
                let why = unless_the_engine_stops(runner.backend, lost).await;
                progress.failed.get_or_insert((0, why));
            }
            () = &mut expired, if !progress.expired => {
                progress.expired = true;
                queue.close();
                // Gates end with their own deadline or here, whichever is first.
                running.clear();
            }
        }
    }
}

/// Whether a step has changed something or may have: all but images, which are there
/// before anything else begins.
fn changed(job: &Job<'_>, succeeded: &BTreeSet<StepId>, failed: StepId) -> bool {
    let mut steps = job.plan.steps.iter();
    steps.any(|step| {
        let ran = step.id == failed || succeeded.contains(&step.id);
        let image = matches!(
            step.action,
            Action::BuildImage { .. } | Action::PullImage { .. }
        );
        ran && !image
    })
}

/// The services of which a hook or a replica was changed, or may have been.
fn begun(job: &Job<'_>, succeeded: &BTreeSet<StepId>, failed: StepId) -> BTreeSet<String> {
    let steps = job.plan.steps.iter().filter(|step| {
        let ran = step.id == failed || succeeded.contains(&step.id);
        let is_change = match &step.action {
            Action::RunTask { .. } => true,
            // Hooks among them.
            Action::ApplyObject { object, .. } => object.is_workload(),
            _ => step.slot.is_some(),
        };
        ran && is_change
    });
    let services = steps.map(|step| step.service.clone());
    services.filter(|service| !service.is_empty()).collect()
}

/// Tells what failed, with what it said last.
pub(super) async fn report_failure<B: Backend>(
    backend: &B,
    job: &Job<'_>,
    emitter: &Emitter,
    id: StepId,
    error: StepError,
) -> Failure {
    let message = job.secrets.redact(&chain(&error));
    let advice = advice(job, &error);
    let mut output = Vec::new();
    let step = job.plan.steps.iter().find(|step| step.id == id);
    // What may pass by itself is told as that, if it does not.
    if let Some(step) = step.filter(|_| !outage::may_pass(&error)) {
        output = last_words(backend, job, step, &error).await;
        emitter.emit(EventKind::StepFailed {
            step: id,
            service: step.service.clone(),
            what: job.secrets.redact(&report::what(step)),
            error: message.clone(),
            output: output.clone(),
        });
    }
    Failure {
        step: id,
        service: step.map_or_else(String::new, |step| step.service.clone()),
        error,
        message,
        output,
        changed: false,
        begun: BTreeSet::new(),
        succeeded: BTreeSet::new(),
        borne: Vec::new(),
        advice,
    }
}

async fn one<B: Backend>(
    runner: &Runner<'_, B>,
    emitter: &Emitter,
    job: &Job<'_>,
    step: &Step,
) -> (StepId, Result<Went, StepError>) {
    let started = Instant::now();
    let what = job.secrets.redact(&report::what(step));
    emitter.emit(EventKind::StepStarted {
        step: step.id,
        service: step.service.clone(),
        what: what.clone(),
        cause: step.cause.clone(),
    });
    let result = match Box::pin(runner.perform(step)).await {
        Ok(()) => Ok(Went::Well),
        Err(error) => {
            let error = unless_the_engine_stops(runner.backend, error).await;
            let borne = Box::pin(runner.bear(step, error)).await;
            borne.map(|borne| Went::Borne(Box::new(borne)))
        }
    };
    if let Ok(Went::Well) = result {
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let service = step.service.clone();
        emitter.emit(EventKind::StepFinished {
            step: step.id,
            service,
            what,
            elapsed_ms,
        });
    }
    (step.id, result)
}

/// The error and its causes, each once.
pub(super) fn chain(error: &StepError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        source = cause.source();
    }
    words
}

/// What the failed thing said last: build output, or its log.
async fn last_words<B: Backend>(
    backend: &B,
    job: &Job<'_>,
    step: &Step,
    error: &StepError,
) -> Vec<String> {
    if let StepError::Backend(BackendError::Build { output, .. }) = error {
        return output
            .iter()
            .map(|line| job.secrets.redact_output(line))
            .collect();
    }
    if let StepError::Hook { output, .. } | StepError::Inside { output, .. } = error {
        return output.clone();
    }
    let container = match &step.gate {
        _ if let StepError::NotRolledOut { pod: Some(pod), .. } = error => pod,
        Gate::Ready { container, .. } => container,
        Gate::Verdict { containers, .. } if let Some(first) = containers.first() => first,
        Gate::Verdict { .. } | Gate::RolledOut { .. } | Gate::None => return Vec::new(),
    };
    let query = LogQuery {
        tail: Some(LOG_LINES),
        ..LogQuery::default()
    };
    let mut output = Vec::new();
    if let Ok(mut lines) = backend.logs(container, &query).await {
        while let Some(line) = lines.recv().await {
            output.push(job.secrets.redact_output(&line.text));
        }
    }
    // The check runs beside the container's own program, whose log says nothing of it.
    if let StepError::Unhealthy { .. } | StepError::NotReady { .. } = error {
        let said = backend.check_log(container).await.unwrap_or_default();
        output.extend(said.iter().map(|line| job.secrets.redact_output(line)));
    }
    output
}

/// What can be done about a container that was killed for lack of memory.
fn advice(job: &Job<'_>, error: &StepError) -> Option<String> {
    let StepError::Exited {
        container,
        oom: true,
        ..
    } = error
    else {
        return None;
    };
    let made = job.plan.steps.iter().find_map(|step| match &step.action {
        Action::CreateInstance { instance } if instance.name == *container => {
            Some((&instance.service, instance.spec.live.memory))
        }
        _ => None,
    });
    let found = || {
        let mut instances = job.observed.instances.iter();
        let found = instances.find(|one| one.name == *container)?;
        Some((&found.service, found.live.memory))
    };
    let (service, limit) = made.or_else(found)?;
    Some(report::out_of_memory(service, limit))
}
