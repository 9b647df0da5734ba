//! The verdict on a new revision: by the gateways' own numbers, while it gets its
//! share of the requests.
//!
//! The gateways count and are asked, because nobody else sees every request; how
//! they are judged is in [`crate::state::strategy::Judge`].

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio::time::sleep_until;

use super::StepError;
use crate::backend::Backend;
use crate::backend::Change;
use crate::gateway::Fleet;
use crate::state::observed::InstanceState;
use crate::state::strategy::Judge;
use crate::state::strategy::Sample;

/// How often the gateways are asked while a stage is watched: a revision that fails
/// is taken back that much late.
const LOOK: Duration = Duration::from_secs(1);

/// One stage that is watched.
pub(super) struct Watch<'a, B> {
    pub(super) fleet: &'a Fleet<'a, B>,
    pub(super) service: &'a str,
    /// The group of the new revision.
    pub(super) group: &'a str,
    /// Its containers.
    pub(super) containers: &'a [String],
    pub(super) judge: &'a Judge,
}

impl<B: Backend> Watch<'_, B> {
    /// Watches for so long; in words what was seen, or why the revision has failed.
    pub(super) async fn wait(
        &self,
        pause: Duration,
        changes: broadcast::Receiver<Change>,
    ) -> Result<String, StepError> {
        tokio::select! {
            biased;
            error = self.ends(changes) => Err(error),
            seen = self.watch(pause) => seen,
        }
    }

    async fn watch(&self, pause: Duration) -> Result<String, StepError> {
        let deadline = Instant::now() + pause;
        let first = self.fleet.groups(self.service).await?;
        loop {
            sleep_until(deadline.min(Instant::now() + LOOK)).await;
            let now = self.fleet.groups(self.service).await?;
            let (new, old) = self.samples(&first, &now);
            if let Some(why) = self.judge.errors(&new, &old) {
                return Err(self.failed(why));
            }
            if Instant::now() >= deadline {
                return match self.judge.latency(&new, &old) {
                    Some(why) => Err(self.failed(why)),
                    None => Ok(words(&new, &old)),
                };
            }
        }
    }

    /// Of the new revision and all others what went through since the stage began.
    fn samples(
        &self,
        first: &BTreeMap<String, Sample>,
        now: &BTreeMap<String, Sample>,
    ) -> (Sample, Sample) {
        let mut new = Sample::default();
        let mut old = Sample::default();
        for (group, counts) in now {
            let before = first.get(group).copied().unwrap_or_default();
            // A gateway that was restarted counts from nothing again.
            let anew = counts.requests < before.requests;
            let before = if anew { Sample::default() } else { before };
            let sum = if group == self.group {
                &mut new
            } else {
                &mut old
            };
            sum.requests += counts.requests.saturating_sub(before.requests);
            sum.failed += counts.failed.saturating_sub(before.failed);
            if let Some((p95, p99)) = counts.latency {
                let known = sum.latency.unwrap_or_default();
                sum.latency = Some((known.0.max(p95), known.1.max(p99)));
            }
        }
        (new, old)
    }

    fn failed(&self, why: String) -> StepError {
        StepError::Verdict {
            service: self.service.to_owned(),
            why,
        }
    }

    /// Resolves when one of the containers has ended.
    async fn ends(&self, mut changes: broadcast::Receiver<Change>) -> StepError {
        loop {
            match changes.recv().await {
                Ok(change) if self.containers.contains(&change.container) => {
                    if let InstanceState::Exited { code, oom } = change.state {
                        return StepError::Exited {
                            container: change.container,
                            code,
                            oom,
                            times: "once".to_owned(),
                        };
                    }
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// What was seen of a revision that did not fail.
fn words(new: &Sample, old: &Sample) -> String {
    let one = |sample: &Sample| {
        let latency = sample
            .latency
            .map_or(String::new(), |(p95, _)| format!(", p95 {p95:.0} ms"));
        format!("{} of {} failed{latency}", sample.failed, sample.requests)
    };
    match new.requests {
        0 => "no request reached the new revision; it is judged by its readiness alone".to_owned(),
        _ => format!("new revision: {}; old: {}", one(new), one(old)),
    }
}
