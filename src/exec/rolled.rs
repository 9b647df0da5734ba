//! The gate of a workload on a cluster: it is followed until all its pods are replaced.

use std::time::Duration;

use tokio::time::Instant;

use super::StepError;
use super::steps::Runner;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::Rolling;
use crate::event::EventKind;
use crate::plan::action::Step;
use crate::state::cluster::ObjectRef;

/// A stream that ended without a word is opened again after a moment.
const AGAIN: Duration = Duration::from_secs(1);

/// Waits until the workload of a step is rolled out, and tells what it waits for.
pub(super) async fn wait<B: Backend>(
    runner: &Runner<'_, B>,
    step: &Step,
    workload: &ObjectRef,
    limit: Duration,
) -> Result<(), StepError> {
    let mut halt = runner.job.stop.clone();
    let deadline = Instant::now() + limit;
    let mut last = "nothing was heard of it".to_owned();
    let followed = async {
        loop {
            let rolled = follow(runner, step, workload, &mut last).await?;
            if rolled {
                return Ok(());
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    let ended = tokio::select! {
        ended = followed => Some(ended),
        () = tokio::time::sleep_until(deadline) => None,
        // Half a migration is no safe point.
        _ = halt.wait_for(|halt| *halt), if workload.kind != "Job" => {
            return Err(StepError::Stopped { container: workload.to_string() });
        }
    };
    ended.unwrap_or_else(|| {
        Err(StepError::NotRolledOut {
            workload: workload.to_string(),
            why: format!("after {} s it still waits for {last}", limit.as_secs()),
            pod: None,
        })
    })
}

/// Follows it once; whether it is rolled out.
async fn follow<B: Backend>(
    runner: &Runner<'_, B>,
    step: &Step,
    workload: &ObjectRef,
    last: &mut String,
) -> Result<bool, StepError> {
    let stack = &runner.job.context.stack;
    let mut states = match runner.backend.rollout(stack, workload).await {
        Ok(states) => states,
        // It is there again before the time is over, or it is not.
        Err(BackendError::Unreachable { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    while let Some(state) = states.recv().await {
        match state {
            Rolling::Done => return Ok(true),
            Rolling::Failed { why, pod } => {
                return Err(StepError::NotRolledOut {
                    workload: workload.to_string(),
                    why,
                    pod,
                });
            }
            Rolling::Waiting(text) => {
                runner.emitter.emit(EventKind::StepProgress {
                    step: step.id,
                    service: step.service.clone(),
                    text: runner.job.secrets.redact(&format!("waiting for {text}")),
                });
                *last = text;
            }
        }
    }
    Ok(false)
}
