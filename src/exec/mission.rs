//! One whole change of a stack: lock, look, plan, run, until the plan is empty.
//!
//! The plan that was shown may be out of date by the time the lock is held, so
//! it is made again under the lock; making it is cheap and pure.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Emitter;
use super::Ended;
use super::Failure;
use super::Job;
use super::run;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::BuildImages;
use crate::backend::Context;
use crate::backend::Holder;
use crate::backend::Lock;
use crate::backend::Pending;
use crate::backend::Query;
use crate::event::EventKind;
use crate::plan::Learned;
use crate::plan::action::Action;
use crate::plan::action::Gate;
use crate::plan::action::Plan;
use crate::plan::action::Refusal;
use crate::plan::action::Step;
use crate::plan::report;
use crate::release;
use crate::state::observed::ObservedState;
use crate::state::observed::ReleaseSummary;

/// Plans are made again at most so often before a stack counts as not converging.
const ROUNDS: u32 = 3;
/// A waiting run looks at the lock this often, should the engine's event be lost.
const LOCK_LOOK: Duration = Duration::from_secs(2);

/// Makes sure that our own image is on the target before helpers need it.
pub trait ProvideHelper: Send + Sync {
    /// Does nothing when the image is there.
    fn provide<'a>(&'a self, tag: &'a str) -> Pending<'a, ()>;
}

/// Makes the plan from a look and what the run has learned so far; pure.
pub type MakePlan<'a> = dyn Fn(&ObservedState, &Learned) -> Result<Plan, Refusal> + Sync + 'a;

/// A change to make.
pub struct Mission<'a> {
    /// What a look must cover.
    pub query: &'a Query,
    /// Makes the plan from a look and what this run has learned; pure.
    pub plan: &'a MakePlan<'a>,
    /// Run id, helper image, files to seed.
    pub context: &'a Context,
    /// Who we are, for the lock.
    pub holder: &'a Holder,
    /// How long to wait for another run's lock.
    pub lock_wait: Duration,
    /// Brings our own image to the target.
    pub helper: &'a dyn ProvideHelper,
    /// Builds images.
    pub builds: &'a dyn BuildImages,
    /// Values that must not appear in any event.
    pub secrets: &'a [String],
    /// Time limit of all rounds together.
    pub timeout: Option<Duration>,
    /// Becomes true when the run should stop at the next safe point.
    pub stop: watch::Receiver<bool>,
    /// Recorded when the change is done; `None` where nothing is left to record in.
    pub release: Option<ReleaseSummary>,
    /// Rerun plans until one is empty. Off for changes that are no state to
    /// converge to, such as a restart.
    pub converge: bool,
}

/// How a mission ended.
#[derive(Debug)]
pub enum Verdict {
    /// Everything is as it should be; the release that was recorded, if any.
    Done {
        /// Number of the recorded release.
        release: Option<u64>,
        /// Steps that ran.
        steps: usize,
    },
    /// No plan could be made.
    Refused(Refusal),
    /// A step failed.
    Failed(Box<Failure>),
    /// Stopped at a safe point.
    Stopped {
        /// Steps that did not run.
        left: usize,
    },
    /// The time limit passed.
    TimedOut {
        /// Steps that did not run.
        left: usize,
    },
    /// Plans do not become empty; the last one.
    NotConverged(Box<Plan>),
    /// The target failed before or after the steps.
    Backend(BackendError),
}

/// Carries out a mission. The lock is freed on every way out.
pub async fn carry_out<B: Backend>(
    backend: &B,
    mission: &Mission<'_>,
    emitter: &Emitter,
) -> Verdict {
    if let Err(error) = mission.helper.provide(&mission.context.helper_image).await {
        return Verdict::Backend(error);
    }
    let lock = match acquire(backend, mission, emitter).await {
        Ok(lock) => lock,
        Err(error) => return Verdict::Backend(error),
    };
    let verdict = match under_lock(backend, mission, lock.as_ref(), emitter).await {
        Ok(verdict) => verdict,
        Err(error) => Verdict::Backend(error),
    };
    if let Err(error) = lock.release().await {
        emitter.emit(EventKind::Warning {
            message: format!("the lock could not be freed: {error}"),
        });
    }
    verdict
}

async fn under_lock<B: Backend>(
    backend: &B,
    mission: &Mission<'_>,
    lock: &dyn Lock,
    emitter: &Emitter,
) -> Result<Verdict, BackendError> {
    let started = Instant::now();
    let mut steps = 0;
    let mut round = 0;
    let mut learned = Learned::default();
    loop {
        let observed = backend.observe(mission.query).await?;
        let plan = match (mission.plan)(&observed, &learned) {
            Ok(plan) => plan,
            Err(refusal) => return Ok(Verdict::Refused(refusal)),
        };
        if plan.steps.is_empty() {
            break;
        }
        if round == ROUNDS {
            return Ok(Verdict::NotConverged(Box::new(plan)));
        }
        round += 1;
        let changes = report::changes(&plan);
        emitter.emit(EventKind::Planned {
            steps: plan.steps.len(),
            changes,
        });
        for note in plan.notes.iter().filter(|note| round == 1 && note.warning) {
            let message = if note.service.is_empty() {
                note.message.clone()
            } else {
                format!("{}: {}", note.service, note.message)
            };
            emitter.emit(EventKind::Warning { message });
        }
        let job = Job {
            plan: &plan,
            observed: &observed,
            context: mission.context,
            lock,
            builds: mission.builds,
            secrets: mission.secrets,
            timeout: mission
                .timeout
                .map(|timeout| timeout.saturating_sub(started.elapsed())),
            stop: mission.stop.clone(),
        };
        match run(backend, &job, emitter).await {
            Ended::Done { stuck } => {
                steps += plan.steps.len();
                learned.stuck.extend(stuck);
                learned.pulled.extend(plan.steps.iter().filter_map(pulls));
                learned.proved.extend(plan.steps.iter().filter_map(proves));
            }
            Ended::Failed(failure) => {
                record(backend, mission, "failed", emitter).await;
                return Ok(Verdict::Failed(failure));
            }
            Ended::Stopped { left } => return Ok(Verdict::Stopped { left }),
            Ended::TimedOut { left } => return Ok(Verdict::TimedOut { left }),
        }
        if !mission.converge {
            break;
        }
    }
    let release = if steps == 0 {
        None
    } else {
        record(backend, mission, "deployed", emitter).await
    };
    Ok(Verdict::Done { release, steps })
}

/// The container whose gate a step opens.
fn proves(step: &Step) -> Option<String> {
    match &step.gate {
        Gate::Ready { container, .. } => Some(container.clone()),
        Gate::None => None,
    }
}

/// The reference that a step pulls.
fn pulls(step: &Step) -> Option<String> {
    match &step.action {
        Action::PullImage { reference, .. } => Some(reference.clone()),
        _ => None,
    }
}

/// Records the release. A record that cannot be written is a warning: the
/// containers carry their revisions, so the store can be rebuilt from them.
async fn record<B: Backend>(
    backend: &B,
    mission: &Mission<'_>,
    outcome: &str,
    emitter: &Emitter,
) -> Option<u64> {
    let mut release = mission.release.clone()?;
    outcome.clone_into(&mut release.outcome);
    if outcome != "deployed" {
        // Nothing says how far its gates came.
        release.revisions.clear();
    }
    match release::record_release(backend, &mission.context.stack, release).await {
        Ok(number) => Some(number),
        Err(error) => {
            // A first deploy that failed early has no store yet.
            if outcome == "deployed" {
                emitter.emit(EventKind::Warning {
                    message: format!("the release was not recorded: {error}"),
                });
            }
            None
        }
    }
}

/// Takes the lock, waiting for another run as long as the mission allows.
async fn acquire<B: Backend>(
    backend: &B,
    mission: &Mission<'_>,
    emitter: &Emitter,
) -> Result<Box<dyn Lock>, BackendError> {
    let deadline = Instant::now() + mission.lock_wait;
    let mut stop = mission.stop.clone();
    let mut told = false;
    loop {
        // Watched before the attempt, so that a release in between is seen.
        let mut changes = if told {
            Some(backend.watch(&mission.context.stack).await?)
        } else {
            None
        };
        let held = match backend.acquire(mission.context, mission.holder).await {
            Err(BackendError::Locked(held)) => held,
            other => return other,
        };
        if Instant::now() >= deadline || *stop.borrow() {
            return Err(BackendError::Locked(held));
        }
        if !told {
            told = true;
            let holder = format!("{} on {} (run {})", held.who, held.host, held.run);
            emitter.emit(EventKind::LockWaiting { holder });
            continue;
        }
        let freed = async {
            match &mut changes {
                Some(changes) => drop(changes.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = freed => {}
            () = tokio::time::sleep(LOCK_LOOK.min(deadline - Instant::now())) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}
