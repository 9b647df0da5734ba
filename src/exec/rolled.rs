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

/// Waits until the workload of a step is rolled out, and has stood so for its watch; tells
/// what it waits for.
pub(super) async fn wait<B: Backend>(
    runner: &Runner<'_, B>,
    step: &Step,
    workload: &ObjectRef,
    limit: Duration,
    watch: Duration,
) -> Result<(), StepError> {
    let mut halt = runner.job.stop.clone();
    let limit = limit.saturating_add(watch);
    let deadline = Instant::now() + limit;
    let mut follower = Follower {
        runner,
        step,
        workload,
        watch,
        last: "nothing was heard of it".to_owned(),
        first: None,
    };
    let until_done = async {
        loop {
            if follower.follow().await? {
                return Ok(());
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    let ended = tokio::select! {
        ended = until_done => Some(ended),
        () = tokio::time::sleep_until(deadline) => None,
        // Half a migration is no safe point.
        _ = halt.wait_for(|halt| *halt), if workload.kind != "Job" => {
            return Err(StepError::Stopped { container: workload.to_string() });
        }
    };
    ended.unwrap_or_else(|| {
        let last = follower.last;
        Err(StepError::NotRolledOut {
            workload: workload.to_string(),
            why: format!("after {} s it still waits for {last}", limit.as_secs()),
            pod: None,
        })
    })
}

struct Follower<'r, 'a, B> {
    runner: &'r Runner<'a, B>,
    step: &'r Step,
    workload: &'r ObjectRef,
    /// How long it has to stand.
    watch: Duration,
    /// What it waited for last.
    last: String,
    /// When it was rolled out first.
    first: Option<Instant>,
}

impl<B: Backend> Follower<'_, '_, B> {
    /// Follows it once; whether it is rolled out, and its watch is over.
    async fn follow(&mut self) -> Result<bool, StepError> {
        let stack = &self.runner.job.context.stack;
        let mut states = match self.runner.backend.rollout(stack, self.workload).await {
            Ok(states) => states,
            // It is there again before the time is over, or it is not.
            Err(BackendError::Unreachable { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut stands = false;
        loop {
            let over = self.first.unwrap_or_else(Instant::now) + self.watch;
            let state = tokio::select! {
                state = states.recv() => state,
                () = tokio::time::sleep_until(over), if stands => return Ok(true),
            };
            match state {
                None => return Ok(false),
                Some(Rolling::Done) => {
                    stands = true;
                    if self.first.is_none() && !self.watch.is_zero() {
                        self.tell(&format!(
                            "ready, watched for {} s",
                            self.watch.as_secs_f64()
                        ));
                    }
                    self.first.get_or_insert_with(Instant::now);
                }
                Some(Rolling::Failed { why, pod }) => {
                    return Err(StepError::NotRolledOut {
                        workload: self.workload.to_string(),
                        why,
                        pod,
                    });
                }
                Some(Rolling::Waiting(text)) => {
                    // What fell is watched anew. What is only looked at again has not fallen.
                    if stands {
                        self.first = None;
                    }
                    stands = false;
                    self.tell(&format!("waiting for {text}"));
                    self.last = text;
                }
            }
        }
    }

    fn tell(&self, text: &str) {
        self.runner.emitter.emit(EventKind::StepProgress {
            step: self.step.id,
            service: self.step.service.clone(),
            text: self.runner.job.secrets.redact(text),
        });
    }
}
