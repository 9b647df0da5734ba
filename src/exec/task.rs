//! A hook: a container that runs one command and goes again.
//!
//! Its output is passed on line by line. A wish to stop does not end it: half a
//! migration is no safe point. Its own time limit does, and that of the run.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::mpsc;

use super::Job;
use super::StepError;
use super::gates::Gatekeeper;
use super::steps::Runner;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::Change;
use crate::backend::LogLine;
use crate::backend::LogQuery;
use crate::event::EventKind;
use crate::plan::action::Action;
use crate::plan::action::Step;
use crate::plan::action::StepId;
use crate::plan::action::TaskSpec;
use crate::plan::report;

/// Lines of output that a report shows; what came before them was passed on.
const KEPT_LINES: usize = 2000;
/// What was said last arrives within this time after the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs a hook to its end, and takes its container away.
pub(super) async fn run<B: Backend>(
    runner: &Runner<'_, B>,
    step: &Step,
    task: &TaskSpec,
) -> Result<(), StepError> {
    runner.job.lock.confirm().await?;
    let mut output = Output::new(runner, step);
    let changes = runner.changes.subscribe();
    let limit = Duration::from_millis(task.timeout_ms);
    let action = Action::CreateInstance {
        instance: runner.settled(&task.instance),
    };
    runner.backend.apply(runner.job.context, &action).await?;
    let ended = tokio::time::timeout(limit, follow(runner, task, changes, &mut output)).await;
    // Who lost the lock leaves it to the next run, which finds it.
    runner.job.lock.confirm().await?;
    remove(runner, &task.instance.name).await;
    let how = match ended {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(StepError::Exited { code, oom, .. })) => {
            let memory = if oom { " (out of memory)" } else { "" };
            format!("ended with exit code {code}{memory}")
        }
        Ok(Err(StepError::Backend(BackendError::Engine { message, .. }))) => {
            format!("could not be started: {message}")
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => format!(
            "was killed: it had not ended after {}",
            report::span(task.timeout_ms)
        ),
    };
    Err(StepError::Hook {
        moment: task.moment,
        ending: format!("{} {how}", hook(step, task)),
        output: output.lines.into(),
    })
}

/// Removes hooks that did not end before the time of the whole run did.
pub(super) async fn sweep<B: Backend>(backend: &B, job: &Job<'_>, succeeded: &BTreeSet<StepId>) {
    for step in &job.plan.steps {
        if let Action::RunTask { task } = &step.action
            && !succeeded.contains(&step.id)
        {
            let container = task.instance.name.clone();
            let action = Action::RemoveContainer { container };
            if job.lock.confirm().await.is_err() {
                return;
            }
            // What stays is found by the next run.
            let _ = backend.apply(job.context, &action).await;
        }
    }
}

/// Which hook it is, in words.
fn hook(step: &Step, task: &TaskSpec) -> String {
    format!(
        "{} of {} ({})",
        task.moment.key(),
        if step.service.is_empty() {
            "the stack"
        } else {
            &step.service
        },
        match task.words() {
            [] => task.instance.spec.image.clone(),
            words => report::command(words),
        }
    )
}

/// Starts it and passes on what it says until it has ended.
async fn follow<B: Backend>(
    runner: &Runner<'_, B>,
    task: &TaskSpec,
    changes: broadcast::Receiver<Change>,
    output: &mut Output<'_, B>,
) -> Result<(), StepError> {
    let container = task.instance.name.as_str();
    let start = Action::StartContainer {
        container: container.to_owned(),
    };
    runner.backend.apply(runner.job.context, &start).await?;
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    // A log that cannot be read is no reason to give up the command.
    let mut lines = runner.backend.logs(container, &query).await.ok();
    let gatekeeper = Gatekeeper {
        backend: runner.backend,
        fleet: &runner.fleet,
        container,
        alias: "",
        networks: &[],
    };
    let ended = {
        let ended = gatekeeper.completed(changes);
        tokio::pin!(ended);
        tokio::select! {
            ended = &mut ended => ended,
            () = output.pass_on(lines.as_mut()) => {
                lines = None;
                ended.await
            }
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, output.pass_on(lines.as_mut())).await;
    ended
}

async fn remove<B: Backend>(runner: &Runner<'_, B>, container: &str) {
    let action = Action::RemoveContainer {
        container: container.to_owned(),
    };
    if let Err(error) = runner.backend.apply(runner.job.context, &action).await {
        // What it did is done; the next plan removes it.
        let message = format!("{container} has ended and could not be removed: {error}");
        runner.emitter.emit(EventKind::Warning { message });
    }
}

/// What a hook says: passed on, and kept for a report.
struct Output<'a, B> {
    runner: &'a Runner<'a, B>,
    step: &'a Step,
    lines: VecDeque<String>,
}

impl<'a, B: Backend> Output<'a, B> {
    fn new(runner: &'a Runner<'a, B>, step: &'a Step) -> Self {
        Self {
            runner,
            step,
            lines: VecDeque::new(),
        }
    }

    /// Until there are no more.
    async fn pass_on(&mut self, lines: Option<&mut mpsc::Receiver<LogLine>>) {
        let Some(lines) = lines else {
            return;
        };
        while let Some(line) = lines.recv().await {
            let text = self.runner.job.secrets.redact_output(&line.text);
            if self.lines.len() == KEPT_LINES {
                self.lines.pop_front();
            }
            self.lines.push_back(text.clone());
            self.runner.emitter.emit(EventKind::StepProgress {
                step: self.step.id,
                service: self.step.service.clone(),
                text,
            });
        }
    }
}
