//! The loop: releases steps as they become ready, forwards the engine's
//! events to the gates, and ends at a safe point on failure, stop or timeout.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::pin::Pin;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::broadcast;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Emitter;
use super::Ended;
use super::Failure;
use super::Job;
use super::StepError;
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
/// Lines of a failed container's log that a report shows.
const LOG_LINES: u64 = 20;

type Running<'a> =
    FuturesUnordered<Pin<Box<dyn Future<Output = (StepId, Result<(), StepError>)> + Send + 'a>>>;

/// How far a run came.
#[derive(Default)]
struct Progress {
    succeeded: BTreeSet<StepId>,
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
        runner.fleet.close().await;
        return not_begun(error);
    }
    let progress = drive(&runner, emitter, job, watched, &changes, acting).await;
    let left = job.plan.steps.len() - progress.succeeded.len();
    let failed = match progress.failed {
        Some((id, error)) => Some(report_failure(backend, job, emitter, id, error).await),
        None => None,
    };
    // Who lost the lock changes nothing any more, not even back: another run may have
    // finished what this one began, and be serving with it.
    if left > 0 && job.lock.confirm().await.is_ok() {
        if progress.expired {
            task::sweep(backend, job, &progress.succeeded).await;
        }
        recover::take_back(backend, job, &runner.fleet, emitter, &progress.succeeded).await;
    }
    runner.fleet.close().await;
    if let Some(mut failure) = failed {
        failure.changed = changed(job, &progress.succeeded, failure.step);
        failure.begun = begun(job, &progress.succeeded, failure.step);
        Ended::Failed(Box::new(failure))
    } else if progress.expired {
        Ended::TimedOut { left }
    } else if left > 0 {
        Ended::Stopped { left }
    } else {
        Ended::Done {
            stuck: runner.into_stuck(),
        }
    }
}

fn not_begun(error: StepError) -> Ended {
    Ended::Failed(Box::new(Failure {
        step: 0,
        service: String::new(),
        message: chain(&error),
        error,
        output: Vec::new(),
        changed: false,
        begun: BTreeSet::new(),
    }))
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
                Ok(()) => {
                    progress.succeeded.insert(id);
                    queue.succeeded(id);
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
        ran && (step.slot.is_some() || matches!(step.action, Action::RunTask { .. }))
    });
    let services = steps.map(|step| step.service.clone());
    services.filter(|service| !service.is_empty()).collect()
}

/// Tells what failed, with what it said last.
async fn report_failure<B: Backend>(
    backend: &B,
    job: &Job<'_>,
    emitter: &Emitter,
    id: StepId,
    error: StepError,
) -> Failure {
    let message = job.secrets.redact(&chain(&error));
    let mut output = Vec::new();
    if let Some(step) = job.plan.steps.iter().find(|step| step.id == id) {
        output = last_words(backend, job, step, &error).await;
        emitter.emit(EventKind::StepFailed {
            step: id,
            service: step.service.clone(),
            what: job.secrets.redact(&report::what(step)),
            error: message.clone(),
            output: output.clone(),
        });
    }
    let step = job.plan.steps.iter().find(|step| step.id == id);
    Failure {
        step: id,
        service: step.map_or_else(String::new, |step| step.service.clone()),
        error,
        message,
        output,
        changed: false,
        begun: BTreeSet::new(),
    }
}

async fn one<B: Backend>(
    runner: &Runner<'_, B>,
    emitter: &Emitter,
    job: &Job<'_>,
    step: &Step,
) -> (StepId, Result<(), StepError>) {
    let started = Instant::now();
    let what = job.secrets.redact(&report::what(step));
    emitter.emit(EventKind::StepStarted {
        step: step.id,
        service: step.service.clone(),
        what: what.clone(),
        cause: step.cause.clone(),
    });
    let result = Box::pin(runner.perform(step)).await;
    if result.is_ok() {
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
fn chain(error: &StepError) -> String {
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
    if let StepError::Hook { output, .. } = error {
        return output.clone();
    }
    let container = match &step.gate {
        Gate::Ready { container, .. } => container,
        Gate::Verdict { containers, .. } if let Some(first) = containers.first() => first,
        Gate::Verdict { .. } | Gate::None => return Vec::new(),
    };
    let query = LogQuery {
        tail: Some(LOG_LINES),
        ..LogQuery::default()
    };
    let Ok(mut lines) = backend.logs(container, &query).await else {
        return Vec::new();
    };
    let mut output = Vec::new();
    while let Some(line) = lines.recv().await {
        output.push(job.secrets.redact_output(&line.text));
    }
    output
}
