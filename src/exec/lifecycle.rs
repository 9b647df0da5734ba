//! Commands inside a container at the turns of its life: after it has started, and before
//! it is stopped.
//!
//! The engine knows of neither, so they run here: whenever shopctl starts or stops a replica,
//! and not when the engine restarts one by itself. One after the start that fails, fails
//! the start; one before the stop is told and bears no further delay.

use std::time::Duration;

use tokio::io::AsyncBufReadExt as _;
use tokio::io::BufReader;
use tokio::io::DuplexStream;
use tokio::io::duplex;

use super::Job;
use super::StepError;
use super::steps::Runner;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::ExecRequest;
use crate::event::EventKind;
use crate::plan::action::Action;
use crate::plan::action::Step;
use crate::plan::report;
use crate::state::hooks::Inside;
use crate::state::hooks::Lifecycle;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;

/// Lines of output that a report shows.
const KEPT_LINES: usize = 200;
/// Their keys in the stack file.
const POST_START: &str = "post_start";
const PRE_STOP: &str = "pre_stop";
const BUFFER: usize = 16 << 10;

/// What the commands of a step's service are; none for steps about no replica.
fn of<'a, B>(runner: &Runner<'a, B>, step: &Step) -> Option<&'a Lifecycle> {
    step.slot?;
    runner.job.plan.lifecycles.get(&step.service)
}

/// Runs what is to run in a container that has started. Where that fails the container is
/// stopped, so that no later run takes it for one that has started well.
pub(super) async fn started<B: Backend>(
    runner: &Runner<'_, B>,
    step: &Step,
    container: &str,
) -> Result<(), StepError> {
    let Some(lifecycle) = of(runner, step).filter(|one| !one.post_start.is_empty()) else {
        return Ok(());
    };
    if matches!(step.action, Action::StartContainer { .. }) && has_begun(runner.job, container) {
        return Ok(());
    }
    let begun = begin(runner, step, container, lifecycle).await;
    if begun.is_err() {
        let undo = Action::StopContainer {
            container: container.to_owned(),
            grace_secs: None,
        };
        runner.job.lock.confirm().await?;
        // What cannot be stopped is told by what failed.
        let _ = runner.backend.apply(runner.job.context, &undo).await;
    }
    begun
}

/// Whether a container that runs has done all that it does at its start: it was sent
/// requests, or a run with its revision has ended well. A step that starts such a one
/// only asks it for its gate.
fn has_begun(job: &Job<'_>, container: &str) -> bool {
    let runs = |one: &&Instance| one.name == container && one.state == InstanceState::Running;
    let Some(found) = job.observed.instances.iter().find(runs) else {
        return false;
    };
    let Some(store) = &job.observed.store else {
        return false;
    };
    let routes = store.routes.as_ref();
    let targets = routes.and_then(|routes| routes.targets.get(&found.service));
    targets.is_some_and(|targets| targets.contains(&found.alias))
        || store.head.proved.get(&found.service) == Some(&found.revision)
}

async fn begin<B: Backend>(
    runner: &Runner<'_, B>,
    step: &Step,
    container: &str,
    lifecycle: &Lifecycle,
) -> Result<(), StepError> {
    let limit = Duration::from_millis(lifecycle.start_limit_ms);
    let all = async {
        for command in &lifecycle.post_start {
            run(runner, step, container, POST_START, command).await?;
        }
        Ok(())
    };
    match tokio::time::timeout(limit, all).await {
        Ok(result) => result,
        Err(_) => Err(StepError::Inside {
            ending: format!(
                "{POST_START} in {container} had not ended after {}",
                report::span(lifecycle.start_limit_ms)
            ),
            output: Vec::new(),
        }),
    }
}

/// Runs what is to run in a container that is about to be stopped, for as long as a stop
/// may take.
pub(super) async fn stopping<B: Backend>(runner: &Runner<'_, B>, step: &Step, container: &str) {
    let Some(lifecycle) = of(runner, step) else {
        return;
    };
    let limit = Duration::from_millis(lifecycle.stop_limit_ms);
    let all = async {
        for command in &lifecycle.pre_stop {
            run(runner, step, container, PRE_STOP, command).await?;
        }
        Ok::<_, StepError>(())
    };
    let message = match tokio::time::timeout(limit, all).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => super::dispatch::chain(&error),
        Err(_) => format!(
            "{PRE_STOP} in {container} had not ended after {}",
            report::span(lifecycle.stop_limit_ms)
        ),
    };
    let message = format!(
        "{}; it is stopped all the same",
        runner.job.secrets.redact(&message)
    );
    runner.emitter.emit(EventKind::Warning { message });
}

async fn run<B: Backend>(
    runner: &Runner<'_, B>,
    step: &Step,
    container: &str,
    key: &str,
    command: &Inside,
) -> Result<(), StepError> {
    let request = ExecRequest {
        container: container.to_owned(),
        command: command.command.clone(),
        user: command.user.clone(),
        privileged: command.privileged,
        working_dir: command.working_dir.clone(),
        environment: command
            .environment
            .iter()
            .map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            })
            .collect(),
        ..ExecRequest::default()
    };
    let (out, out_end) = duplex(BUFFER);
    let (err, err_end) = duplex(BUFFER);
    let mut output = Vec::new();
    let said = async {
        let (first, second) = tokio::join!(pass_on(runner, step, out), pass_on(runner, step, err));
        output = first;
        output.extend(second);
    };
    let ran = runner
        .backend
        .exec(&request, None, Box::new(out_end), Box::new(err_end));
    let (code, ()) = tokio::join!(ran, said);
    let how = match code {
        Ok(0) => return Ok(()),
        Ok(code) => format!("ended with exit code {code}"),
        Err(BackendError::Engine { message, .. }) => format!("could not be started: {message}"),
        Err(error) => return Err(error.into()),
    };
    let words = report::command(&command.command);
    Err(StepError::Inside {
        ending: format!("{key} in {container} ({words}) {how}"),
        output,
    })
}

/// Passes lines on until there are no more; the last of them.
async fn pass_on<B: Backend>(
    runner: &Runner<'_, B>,
    step: &Step,
    stream: DuplexStream,
) -> Vec<String> {
    let mut kept = Vec::new();
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    // To the end, whatever it says: a command whose output nobody takes fails.
    while lines
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&line);
        let text = runner.job.secrets.redact_output(text.trim_end());
        line.clear();
        if kept.len() == KEPT_LINES {
            kept.remove(0);
        }
        kept.push(text.clone());
        runner.emitter.emit(EventKind::StepProgress {
            step: step.id,
            service: step.service.clone(),
            text,
        });
    }
    kept
}
