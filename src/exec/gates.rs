//! Gates: what must be true of a new container before its dependents go on.
//!
//! Nothing is polled where the engine tells: deaths and health come from its
//! event stream, readiness from a probe inside the stack's network.

use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::sleep;

use super::StepError;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::Change;
use crate::gateway::Fleet;
use crate::state::desired::ReadyGate;
use crate::state::observed::Health;
use crate::state::observed::InstanceState;

/// A container without a probe must live this long to count as started.
const SETTLE: Duration = Duration::from_millis(200);
/// After so many deaths a restart policy is taken for a crash loop.
const DEATHS: u32 = 3;
/// Exit code of a program that was ended by SIGKILL, as the kernel does for want of memory.
const KILLED: i64 = 137;
/// After so long without an event one may have been lost.
const DOUBT: Duration = Duration::from_secs(5);
/// A gate without a deadline of its own.
const DEADLINE: Duration = Duration::from_mins(1);

/// What a container may do while it is waited for.
#[derive(Clone, Copy)]
struct Patience {
    /// So many deaths are taken for a crash loop, even if it is restarted.
    deaths: u32,
    /// It may end with success and stay down.
    may_end: bool,
}

impl Patience {
    fn of(deaths: u32, serves: bool) -> Self {
        Self {
            deaths,
            may_end: !serves,
        }
    }
}

/// One container that is waited for.
pub(super) struct Gatekeeper<'a, B> {
    pub(super) backend: &'a B,
    pub(super) fleet: &'a Fleet<'a, B>,
    pub(super) container: &'a str,
    pub(super) alias: &'a str,
    pub(super) networks: &'a [String],
}

impl<B: Backend> Gatekeeper<'_, B> {
    /// Waits until the gate opens, the container has failed, or time is up.
    /// `changes` must have been subscribed to before the container was started.
    pub(super) async fn wait(
        &self,
        ready: &ReadyGate,
        monitor: Duration,
        changes: broadcast::Receiver<Change>,
    ) -> Result<(), StepError> {
        let limit = limit(ready);
        // What answers requests must go on answering; other things may end well.
        let serves = matches!(ready, ReadyGate::Probe { .. } | ReadyGate::Healthy { .. });
        let (starting, monitored) = (Patience::of(DEATHS, serves), Patience::of(1, serves));
        let watching = changes.resubscribe();
        let opened = async {
            match ready {
                ReadyGate::Completed { .. } => self.completed(changes).await,
                ReadyGate::Running => self.guarded(changes, starting, self.running()).await,
                ReadyGate::Healthy { .. } => {
                    let health = changes.resubscribe();
                    self.guarded(changes, starting, self.healthy(health)).await
                }
                ReadyGate::Probe { port, http, .. } => {
                    let probe =
                        self.fleet
                            .probe(self.networks, self.alias, *port, http.as_deref(), limit);
                    let probe = Box::pin(probe);
                    self.guarded(changes, starting, async { Ok(probe.await?) })
                        .await
                }
            }
        };
        match tokio::time::timeout(limit + Duration::from_secs(1), Box::pin(opened)).await {
            Ok(Ok(())) => {}
            Ok(Err(StepError::Gateway(error))) => {
                return Err(match error.timed_out() {
                    Some(last) => self.not_ready(limit, last.to_owned()),
                    None => error.into(),
                });
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(self.not_ready(limit, self.last_seen().await)),
        }
        if monitor.is_zero() {
            return Ok(());
        }
        self.guarded(watching, monitored, async {
            sleep(monitor).await;
            Ok(())
        })
        .await
    }

    fn not_ready(&self, limit: Duration, last: String) -> StepError {
        StepError::NotReady {
            container: self.container.to_owned(),
            seconds: limit.as_secs(),
            last,
        }
    }

    async fn last_seen(&self) -> String {
        match self.backend.state(self.container).await {
            Ok(Change {
                state,
                health: Some(health),
                ..
            }) => format!("it is {state:?} and {health:?}").to_lowercase(),
            Ok(Change { state, .. }) => format!("it is {state:?}").to_lowercase(),
            Err(error) => error.to_string(),
        }
    }

    /// Runs `opening` unless the container fails first.
    async fn guarded(
        &self,
        changes: broadcast::Receiver<Change>,
        patience: Patience,
        opening: impl Future<Output = Result<(), StepError>>,
    ) -> Result<(), StepError> {
        tokio::select! {
            biased;
            error = self.fails(changes, patience) => Err(error),
            opened = opening => opened,
        }
    }

    /// Resolves when the container has ended for good, or keeps dying.
    async fn fails(
        &self,
        mut changes: broadcast::Receiver<Change>,
        patience: Patience,
    ) -> StepError {
        let mut deaths = 0;
        // The engine may say so after it said that the container died.
        let mut out_of_memory = false;
        loop {
            let state = self.next(&mut changes).await.state;
            let InstanceState::Exited { code, oom } = state else {
                continue;
            };
            deaths += 1;
            out_of_memory |= oom;
            let restarts = match self.backend.state(self.container).await {
                Ok(now) => matches!(
                    now.state,
                    InstanceState::Running | InstanceState::Restarting
                ),
                Err(error @ BackendError::Unreachable { .. }) => return error.into(),
                Err(_) => false,
            };
            // A container that ends well and stays down has done its work.
            if !restarts && code == 0 && !oom && patience.may_end {
                continue;
            }
            if !restarts || deaths >= patience.deaths {
                if code == KILLED && !out_of_memory {
                    sleep(SETTLE).await;
                    let now = self.backend.state(self.container).await;
                    out_of_memory = now.is_ok_and(|now| {
                        matches!(now.state, InstanceState::Exited { oom: true, .. })
                    });
                }
                let times = if deaths == 1 {
                    "once".to_owned()
                } else {
                    format!("{deaths} times")
                };
                return StepError::Exited {
                    container: self.container.to_owned(),
                    code,
                    oom: out_of_memory,
                    times,
                };
            }
        }
    }

    async fn running(&self) -> Result<(), StepError> {
        loop {
            sleep(SETTLE).await;
            let now = self.backend.state(self.container).await?;
            match now.state {
                InstanceState::Running
                | InstanceState::Exited {
                    code: 0,
                    oom: false,
                } => return Ok(()),
                InstanceState::Exited { code, oom } => {
                    return Err(StepError::Exited {
                        container: self.container.to_owned(),
                        code,
                        oom,
                        times: "once".into(),
                    });
                }
                _ => {}
            }
        }
    }

    async fn healthy(&self, mut changes: broadcast::Receiver<Change>) -> Result<(), StepError> {
        let now = self.backend.state(self.container).await?;
        let mut health = now.health;
        // What has a check is `starting` from the moment it runs: nothing would ever come.
        if health.is_none() && now.state == InstanceState::Running {
            return Err(StepError::NoCheck {
                container: self.container.to_owned(),
            });
        }
        loop {
            match health {
                Some(Health::Healthy) => return Ok(()),
                Some(Health::Unhealthy) => {
                    return Err(StepError::Unhealthy {
                        container: self.container.to_owned(),
                    });
                }
                _ => health = self.next_or_now(&mut changes).await?.health,
            }
        }
    }

    /// Waits until the container has ended with success.
    pub(super) async fn completed(
        &self,
        mut changes: broadcast::Receiver<Change>,
    ) -> Result<(), StepError> {
        let mut state = self.backend.state(self.container).await?.state;
        loop {
            if let InstanceState::Exited { code, oom } = state {
                return if code == 0 {
                    Ok(())
                } else {
                    Err(StepError::Exited {
                        container: self.container.to_owned(),
                        code,
                        oom,
                        times: "once".into(),
                    })
                };
            }
            state = self.next_or_now(&mut changes).await?.state;
        }
    }

    /// The next change of this container, or after a while without one its state: the engine
    /// drops events for whoever takes them too slowly, and says nothing of it.
    async fn next_or_now(
        &self,
        changes: &mut broadcast::Receiver<Change>,
    ) -> Result<Change, BackendError> {
        match tokio::time::timeout(DOUBT, self.next(changes)).await {
            Ok(change) => Ok(change),
            Err(_) => self.backend.state(self.container).await,
        }
    }

    /// The next change of this container. When events were missed, its state
    /// now takes their place; when the stream has ended, this never resolves
    /// and the deadline decides.
    async fn next(&self, changes: &mut broadcast::Receiver<Change>) -> Change {
        loop {
            match changes.recv().await {
                Ok(change) if change.container == self.container => return change,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    if let Ok(now) = self.backend.state(self.container).await {
                        return now;
                    }
                }
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

fn limit(ready: &ReadyGate) -> Duration {
    match ready {
        ReadyGate::Running => DEADLINE,
        ReadyGate::Probe { deadline_ms, .. }
        | ReadyGate::Healthy { deadline_ms, .. }
        | ReadyGate::Completed { deadline_ms } => Duration::from_millis(*deadline_ms),
    }
}
