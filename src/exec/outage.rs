//! When the engine or a gateway goes away in the middle of a run: the run waits for it,
//! looks and plans again, for as long as it has time.
//!
//! A lock that died with the engine is taken anew before anything is changed, and only
//! if nobody else has written meanwhile: what this run was asked for may be out of date.

use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use super::Failure;
use super::StepError;
use super::bear;
use super::mission::Drive;
use super::mission::End;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::Lock as _;
use crate::backend::Query;
use crate::event::EventKind;
use crate::plan::action::Plan;
use crate::state::observed::ObservedState;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// An engine that took the lock along is gone after so long.
const GOING: Duration = Duration::from_secs(5);
/// How long one attempt to take the lock anew may last.
const RETAKE_LIMIT: Duration = Duration::from_secs(15);

/// What a run knows of the engine's absence.
pub(super) struct Outage {
    /// Since when, and until when it is waited for.
    span: Option<(Instant, Instant)>,
    pause: Duration,
    /// What the gateways knew this run by when its lock was lost.
    lost: Option<u64>,
    /// Number of the newest release at the last look.
    newest: Option<u64>,
}

/// What follows an outage.
pub(super) enum Next {
    /// Look and plan again.
    GoOn,
    /// It took too long.
    GiveUp,
    /// The user wants the run to stop.
    Stop,
}

impl Outage {
    pub(super) fn new() -> Self {
        Self {
            span: None,
            pause: FIRST_PAUSE,
            lost: None,
            newest: None,
        }
    }

    /// All is well again.
    pub(super) fn is_over(&mut self) {
        *self = Self::new();
    }

    /// Something was done since the last one: this is another.
    pub(super) fn is_another(&mut self) {
        self.span = None;
        self.pause = FIRST_PAUSE;
    }

    /// Fails where another run has made a release since this one, whose own has the
    /// number `own`, lost its lock: it may have written no routes.
    pub(super) fn check_releases(
        &mut self,
        observed: &ObservedState,
        own: u64,
    ) -> Result<(), BackendError> {
        let newest = newest_release(observed).max(own);
        let known = self.newest.replace(newest).unwrap_or(newest);
        if self.lost.is_some() && newest > known.max(own) {
            return Err(BackendError::LockLost);
        }
        Ok(())
    }

    /// Whether somebody else has written since this run lost its lock; `own` is what the
    /// gateways know it by now.
    pub(super) fn was_overtaken(&self, observed: &ObservedState, own: Option<u64>) -> bool {
        let routes = observed.store.as_ref().and_then(|all| all.routes.as_ref());
        match (self.lost, routes) {
            (Some(lost), Some(routes)) => routes.lock > lost && Some(routes.lock) != own,
            _ => false,
        }
    }
}

/// Number of the newest release that the store knows, 0 for none.
fn newest_release(observed: &ObservedState) -> u64 {
    let head = observed.store.as_ref().map(|store| &store.head);
    let newest = head.and_then(|head| head.newest.as_ref());
    newest.map_or(0, |newest| newest.number)
}

/// Whether an error may pass by itself: nobody has refused anything.
pub(super) fn may_pass(error: &StepError) -> bool {
    match error {
        StepError::Backend(BackendError::Unreachable { .. }) => true,
        StepError::Gateway(error) => error.is_absence(),
        _ => false,
    }
}

impl<B: Backend> Drive<'_, B> {
    /// Whether a round failed for want of the engine or a gateway.
    pub(super) async fn is_outage(&self, failure: &Failure) -> bool {
        if may_pass(&failure.error) {
            return true;
        }
        if self.lock.confirm().await.is_ok() {
            return false;
        }
        // An engine that is told to stop ends all containers first, and answers meanwhile.
        let until = Instant::now() + GOING;
        loop {
            if self.engine_is_gone().await {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            sleep(FIRST_PAUSE).await;
        }
    }

    /// A look, as soon as the engine is there; none where the user wants the run to stop.
    pub(super) async fn look(
        &self,
        query: &Query,
        outage: &mut Outage,
    ) -> Result<Option<ObservedState>, BackendError> {
        let observed = loop {
            match self.backend.observe(query).await {
                Ok(observed) => break observed,
                Err(error @ BackendError::Unreachable { .. }) => {
                    match self.outlast(outage, &error.to_string()).await? {
                        Next::GoOn => {}
                        Next::Stop => return Ok(None),
                        Next::GiveUp => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        };
        if outage.was_overtaken(&observed, self.lock.known_by()) {
            return Err(BackendError::LockLost);
        }
        Ok(Some(observed))
    }

    /// Waits for what went away in the middle of a plan: the failure again where the run
    /// goes on, else how it ends.
    pub(super) async fn outlive(
        &self,
        outage: &mut Outage,
        plan: &Plan,
        mut failure: Box<Failure>,
    ) -> Result<Result<Box<Failure>, End>, BackendError> {
        let left = plan.steps.len() - failure.succeeded.len();
        if !failure.succeeded.is_empty() {
            outage.is_another();
        }
        match self.outlast(outage, &failure.message).await? {
            Next::GoOn => {}
            Next::Stop => return Ok(Err(End::Stopped { left })),
            Next::GiveUp => {
                return match self.absence().await {
                    Some(error) => Err(error),
                    None => Ok(Err(End::Failed(failure))),
                };
            }
        }
        // More had failed than the file allows before the engine went.
        if failure.borne.iter().any(|one| one.beyond)
            && let Some(sum) = bear::sum(plan, std::mem::take(&mut failure.borne))
        {
            return Ok(Err(End::Failed(Box::new(sum))));
        }
        Ok(Ok(failure))
    }

    /// Waits a little longer than the last time, and has the lock on return.
    pub(super) async fn outlast(
        &self,
        outage: &mut Outage,
        why: &str,
    ) -> Result<Next, BackendError> {
        let now = Instant::now();
        let (_, until) = *outage.span.get_or_insert_with(|| {
            let run = self.mission.timeout;
            let run = run.map_or(self.mission.patience, |run| {
                run.saturating_sub(self.started.elapsed())
            });
            let patience = run.min(self.mission.patience);
            self.emitter.emit(EventKind::Retrying {
                reason: why.to_owned(),
                for_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            });
            (now, now + patience)
        });
        let mut stop = self.mission.stop.clone();
        loop {
            if *stop.borrow() {
                return Ok(Next::Stop);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Next::GiveUp);
            }
            tokio::select! {
                () = sleep(outage.pause.min(left)) => {}
                _ = stop.wait_for(|stop| *stop) => continue,
            }
            outage.pause = (outage.pause * 2).min(LONGEST_PAUSE);
            if self.lock.confirm().await.is_ok() || self.retake(outage).await? {
                return Ok(Next::GoOn);
            }
        }
    }

    /// Takes the lock anew; false when that has to be tried again.
    async fn retake(&self, outage: &mut Outage) -> Result<bool, BackendError> {
        outage.lost = Some(self.lock.was_known_by());
        self.lock.put_aside();
        let (context, holder) = (self.mission.context, self.mission.holder);
        let taken = tokio::time::timeout(RETAKE_LIMIT, self.backend.acquire(context, holder));
        // Where nothing comes back, a call may wait for ever.
        let Ok(taken) = taken.await else {
            return Ok(false);
        };
        match taken {
            Ok(lock) => {
                self.lock.replace(lock);
                Ok(true)
            }
            // Our own, on its way out: it falls silent, or the engine clears up.
            Err(BackendError::Locked(held)) if held.run == holder.run => Ok(false),
            Err(BackendError::Locked(_)) => Err(BackendError::LockLost),
            // An engine that starts up says many things.
            Err(_) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::observed::RoutesSnapshot;
    use crate::state::observed::StoreSnapshot;

    #[test]
    fn who_wrote_under_a_lock_between_has_overtaken() {
        let seen = |lock| ObservedState {
            store: Some(StoreSnapshot {
                routes: Some(RoutesSnapshot {
                    lock,
                    ..RoutesSnapshot::default()
                }),
                ..StoreSnapshot::default()
            }),
            ..ObservedState::default()
        };
        let mut outage = Outage::new();
        assert!(!outage.was_overtaken(&seen(6), None), "nothing was lost");
        outage.lost = Some(5);
        let overtaken = [4, 5, 6, 9].map(|lock| outage.was_overtaken(&seen(lock), Some(9)));
        assert_eq!(overtaken, [false, false, true, false]);
        assert!(!outage.was_overtaken(&ObservedState::default(), None));
    }
}
