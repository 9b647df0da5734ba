//! One whole change of a stack: lock, look, plan, run, until the plan is empty.
//!
//! The plan that was shown may be out of date by the time the lock is held, so
//! it is made again under the lock; making it is cheap and pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Emitter;
use super::Ended;
use super::Failure;
use super::Job;
use super::StepError;
use super::hold::Hold;
use super::ledger::Ledger;
use super::outage::Outage;
use super::pins::Pins;
use super::prune;
use super::rollback;
use super::run;
use super::secrets::Secrets;
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
use crate::state::history::Findings;
use crate::state::history::Outcome;
use crate::state::history::Release;
use crate::state::observed::InstanceState;
use crate::state::observed::ObservedState;
use crate::state::observed::Role;

/// Plans are made again at most so often before a stack counts as not converging.
const ROUNDS: u32 = 3;
/// A waiting run tries this often: a lock that never began is left over, and never freed.
const LOCK_LOOK: Duration = Duration::from_secs(2);

/// Makes sure that our own image is on the target before helpers need it.
pub trait ProvideHelper: Send + Sync {
    /// Does nothing when the image is there.
    fn provide<'a>(&'a self, tag: &'a str) -> Pending<'a, ()>;
}

/// Makes the plan from a look and what the run has learned so far; pure.
pub type MakePlan<'a> = dyn Fn(&ObservedState, &Learned) -> Result<Plan, Refusal> + Sync + 'a;

/// Whether the first plan of a run, made from this look, is the one that was agreed to.
pub type Agreed<'a> = dyn Fn(&ObservedState, &Plan) -> bool + Sync + 'a;

/// A change to make.
pub struct Mission<'a> {
    /// What a look must cover.
    pub query: &'a Query,
    /// Makes the plan from a look and what this run has learned; pure.
    pub plan: &'a MakePlan<'a>,
    /// Holds the first plan made under the lock against one that was reviewed; `None`
    /// where none was.
    pub agreed: Option<&'a Agreed<'a>>,
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
    /// How long an engine or a gateway that went away is waited for.
    pub patience: Duration,
    /// Becomes true when the run should stop at the next safe point.
    pub stop: watch::Receiver<bool>,
    /// What is recorded of the change; `None` where it makes no release.
    pub release: Option<Release>,
    /// The whole stack goes back to the last stable release when the change fails.
    pub goes_back: bool,
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
    /// No plan could be made; nothing was changed.
    Refused(Refusal),
    /// The first plan is not the one that was agreed to; nothing was changed.
    Stale(Box<Plan>),
    /// A step failed, and nothing went back.
    Failed(Box<Failure>),
    /// A step failed, and this stable release serves again.
    RolledBack {
        /// What failed.
        failure: Box<Failure>,
        /// Number of the release that serves.
        to: u64,
    },
    /// A step failed, and so did the way back.
    Stranded {
        /// What failed first.
        failure: Box<Failure>,
        /// Number of the release that was to serve again.
        to: u64,
        /// Why it does not.
        why: String,
    },
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
    let lock = Box::new(Hold::new(lock));
    let verdict = match under_lock(backend, mission, &lock, emitter).await {
        Ok(verdict) => verdict,
        Err(error) => Verdict::Backend(error),
    };
    match (verdict, lock.release().await) {
        // It was lost because it could never be held.
        (Verdict::Backend(BackendError::LockLost), Err(why)) => Verdict::Backend(why),
        (verdict, Err(error)) => {
            emitter.emit(EventKind::Warning {
                message: format!("the lock could not be freed: {error}"),
            });
            verdict
        }
        (verdict, Ok(())) => verdict,
    }
}

async fn under_lock<B: Backend>(
    backend: &B,
    mission: &Mission<'_>,
    lock: &Hold,
    emitter: &Emitter,
) -> Result<Verdict, BackendError> {
    let secrets = Secrets::of(backend, mission, lock).await?;
    let pins = Pins::default();
    let drive = Drive {
        backend,
        mission,
        lock,
        emitter,
        started: Instant::now(),
        pins: &pins,
        secrets: &secrets,
    };
    let mut ledger = Ledger::new(backend, mission, &pins, emitter);
    let end = drive.to(mission.query, mission.plan, &mut ledger).await?;
    // The records are those of the run that holds the lock now.
    if lock.confirm().await.is_err() {
        return match end {
            // An engine that went away took the lock with it: that is what happened.
            End::Failed(failure) if drive.engine_is_gone().await => Ok(Verdict::Failed(failure)),
            End::Stopped { left } => Ok(Verdict::Stopped { left }),
            End::TimedOut { left } => Ok(Verdict::TimedOut { left }),
            _ => Err(BackendError::LockLost),
        };
    }
    Ok(match end {
        // A step whose answer was lost with the engine may have been all there was to do.
        End::Done {
            steps: 0,
            ref observed,
            ref found,
            ..
        } if !ledger.is_open()
            && found.taken_over == observed.taken_over()
            && !observed.is_unrecorded() =>
        {
            Verdict::Done {
                release: None,
                steps: 0,
            }
        }
        End::Done {
            steps,
            observed,
            found,
            failed,
        } => {
            let borne = borne(&failed);
            let release = ledger.done(&observed, found, &borne).await;
            if !failed.is_empty() {
                emitter.emit(EventKind::Warning { message: borne });
            }
            if release.is_some() {
                prune::old(backend, mission, &observed, emitter).await;
            }
            Verdict::Done { release, steps }
        }
        End::Refused(refusal) => Verdict::Refused(refusal),
        End::Stale(plan) => Verdict::Stale(plan),
        End::NotConverged(plan) => {
            ledger
                .close(Outcome::Failed, "plans do not become empty")
                .await;
            Verdict::NotConverged(plan)
        }
        End::Stopped { left } => {
            ledger.close(Outcome::Interrupted, "").await;
            Verdict::Stopped { left }
        }
        End::TimedOut { left } => {
            ledger
                .close(Outcome::Interrupted, "the time limit passed")
                .await;
            Verdict::TimedOut { left }
        }
        End::Failed(failure) => rollback::after(&drive, failure, &mut ledger).await?,
    })
}

/// Drives the stack to a state, round by round.
pub(super) struct Drive<'a, B> {
    pub(super) backend: &'a B,
    pub(super) mission: &'a Mission<'a>,
    pub(super) lock: &'a Hold,
    pub(super) emitter: &'a Emitter,
    pub(super) started: Instant,
    pub(super) pins: &'a Pins,
    /// What must not be said.
    pub(super) secrets: &'a Secrets,
}

/// How a drive ended.
pub(super) enum End {
    Done {
        steps: usize,
        /// The look that found nothing left to do.
        observed: Box<ObservedState>,
        /// What there is to record of it.
        found: Findings,
        /// Of each replica that failed and was borne, why.
        failed: Vec<String>,
    },
    Refused(Refusal),
    Stale(Box<Plan>),
    Failed(Box<Failure>),
    Stopped {
        left: usize,
    },
    TimedOut {
        left: usize,
    },
    NotConverged(Box<Plan>),
}

impl<B: Backend> Drive<'_, B> {
    /// Looks, plans and runs until a plan is empty.
    pub(super) async fn to(
        &self,
        query: &Query,
        plan_of: &MakePlan<'_>,
        ledger: &mut Ledger<'_, B>,
    ) -> Result<End, BackendError> {
        let mission = self.mission;
        let mut steps = 0;
        let mut round = 0;
        let mut learned = Learned::default();
        let mut failed = Vec::new();
        let mut outage = Outage::new();
        let mut begun = false;
        loop {
            let Some(observed) = self.look(query, &mut outage).await? else {
                return Ok(End::Stopped { left: 1 });
            };
            outage.check_releases(&observed, ledger.number())?;
            let fence = self.lock.fence(&observed);
            let plan = match plan_of(&observed, &learned) {
                Ok(plan) => plan,
                Err(refusal) if begun => return Ok(half_way(&refusal)),
                Err(refusal) => return Ok(End::Refused(refusal)),
            };
            // Rounds after the first mend what the plan that was agreed to has left.
            let first = round == 0 && !begun && !ledger.is_open();
            if first
                && mission
                    .agreed
                    .is_some_and(|agreed| !agreed(&observed, &plan))
            {
                return Ok(End::Stale(Box::new(plan)));
            }
            self.pins.saw(&observed, &plan);
            if plan.steps.is_empty() || (round > 0 && !mission.converge) {
                let mut observed = Box::new(observed);
                // An old one that was left in its place proves nothing of the new ones.
                observed
                    .instances
                    .retain(|one| !learned.borne.contains(&(one.service.clone(), one.slot)));
                let found = Findings {
                    proved: revisions(&observed, &learned, &plan),
                    taken_over: plan.taken_over,
                };
                return Ok(End::Done {
                    steps,
                    observed,
                    found,
                    failed,
                });
            }
            if round == ROUNDS {
                return Ok(End::NotConverged(Box::new(plan)));
            }
            round += 1;
            begun = true;
            learned.begun = true;
            // The record of one that was interrupted at its beginning may be missing.
            if round == 1 {
                ledger.open(&plan, &observed).await;
            }
            self.announce(&plan, round == 1);
            let job = Job {
                plan: &plan,
                observed: &observed,
                context: mission.context,
                lock: self.lock,
                fence,
                pins: self.pins,
                builds: mission.builds,
                secrets: self.secrets,
                timeout: mission
                    .timeout
                    .map(|timeout| timeout.saturating_sub(self.started.elapsed())),
                stop: mission.stop.clone(),
            };
            match run(self.backend, &job, self.emitter).await {
                Ended::Done { stuck, borne } => {
                    for one in borne {
                        learned.borne.insert((one.service, one.slot));
                        failed.push(one.failure.message);
                    }
                    steps += plan.steps.len();
                    learned.stuck.extend(stuck);
                    learn(&mut learned, plan.steps.iter());
                    outage.is_over();
                }
                Ended::Failed(mut failure) if self.is_outage(&failure).await => {
                    failure = match self.outlive(&mut outage, &plan, failure).await? {
                        Ok(failure) => failure,
                        Err(end) => return Ok(end),
                    };
                    // What it came to is known; the rest is looked at and planned again.
                    for one in std::mem::take(&mut failure.borne) {
                        learned.borne.insert((one.service, one.slot));
                        failed.push(one.failure.message);
                    }
                    let done = |step: &&Step| failure.succeeded.contains(&step.id);
                    learn(&mut learned, plan.steps.iter().filter(done));
                    steps += failure.succeeded.len();
                    round -= 1;
                }
                Ended::Failed(failure) => return Ok(End::Failed(failure)),
                Ended::Stopped { left } => return Ok(End::Stopped { left }),
                Ended::TimedOut { left } => return Ok(End::TimedOut { left }),
            }
        }
    }

    /// Whether the engine cannot be reached at this moment.
    pub(super) async fn engine_is_gone(&self) -> bool {
        self.absence().await.is_some()
    }

    /// Why the engine cannot be reached at this moment; `None` where it can.
    pub(super) async fn absence(&self) -> Option<BackendError> {
        self.backend.reach().await.err()
    }

    fn announce(&self, plan: &Plan, first: bool) {
        self.emitter.emit(EventKind::Planned {
            steps: plan.steps.len(),
            changes: report::changes(plan),
        });
        for note in plan.notes.iter().filter(|note| first && note.warning) {
            let message = if note.service.is_empty() {
                note.message.clone()
            } else {
                format!("{}: {}", note.service, note.message)
            };
            self.emitter.emit(EventKind::Warning { message });
        }
    }
}

/// A refusal when something may have been changed already: nothing that can be told as one.
fn half_way(refusal: &Refusal) -> End {
    let why = rollback::words(refusal);
    let mut failure = Failure::of_run(StepError::Refused { why });
    failure.changed = true;
    End::Failed(Box::new(failure))
}

/// What is said of replicas that failed in a run that ended well.
fn borne(failed: &[String]) -> String {
    match failed {
        [] => String::new(),
        [one] => format!(
            "1 replica failed, which the file allows: {one}; its old one serves, and the next deploy tries again"
        ),
        all => format!(
            "{} replicas failed, which the file allows: {}; their old ones serve, and the next deploy tries again",
            all.len(),
            all.join(", ")
        ),
    }
}

/// The revisions of containers whose gate has opened, by service; of all services where
/// hooks ran, because those are done with them. What is taken over served before.
fn revisions(observed: &ObservedState, learned: &Learned, plan: &Plan) -> BTreeMap<String, String> {
    let instances = observed.instances.iter();
    let taken_over = instances.filter_map(|one| {
        let revision = plan.taken_over.get(&one.id)?;
        Some((one.service.clone(), revision.clone()))
    });
    let mut all: BTreeMap<String, String> = taken_over.collect();
    // A cluster opens no gate of a single replica.
    if !learned.tasks.is_empty() || observed.cluster.is_some() {
        all.extend(all_revisions(observed));
        return all;
    }
    let instances = observed.instances.iter();
    let proved = instances.filter(|one| learned.proved.contains(&one.name));
    all.extend(
        proved
            .filter(|one| one.is_managed())
            .map(|one| (one.service.clone(), one.revision.clone())),
    );
    all
}

/// The revisions of all services, where everything is as it should be. What a node has evicted
/// stands beside what runs, and says nothing.
pub(super) fn all_revisions(observed: &ObservedState) -> BTreeMap<String, String> {
    let replicas = observed
        .instances
        .iter()
        .filter(|one| one.role == Role::Service && one.is_managed());
    let (run, others): (Vec<_>, Vec<_>) =
        replicas.partition(|one| one.state == InstanceState::Running);
    let all = others.into_iter().chain(run);
    all.map(|one| (one.service.clone(), one.revision.clone()))
        .collect()
}

/// What these steps, which have succeeded, tell that no look does.
fn learn<'a>(learned: &mut Learned, steps: impl Iterator<Item = &'a Step> + Clone) {
    learned.pulled.extend(steps.clone().filter_map(pulls));
    learned.proved.extend(steps.clone().filter_map(proves));
    learned.tasks.extend(steps.filter_map(hooks));
}

/// The container whose gate a step opens.
fn proves(step: &Step) -> Option<String> {
    match &step.gate {
        Gate::Ready { container, .. } => Some(container.clone()),
        Gate::Verdict { .. } | Gate::RolledOut { .. } | Gate::None => None,
    }
}

/// The container, or the job, of the hook that a step runs.
fn hooks(step: &Step) -> Option<String> {
    match &step.action {
        Action::RunTask { task } => Some(task.instance.name.clone()),
        Action::ApplyObject { object, .. } if object.kind == "Job" => Some(object.name.clone()),
        _ => None,
    }
}

/// The reference that a step pulls.
fn pulls(step: &Step) -> Option<String> {
    match &step.action {
        Action::PullImage { reference, .. } => Some(reference.clone()),
        _ => None,
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
        }
        tokio::select! {
            _ = backend.freed(&mission.context.stack) => {}
            () = tokio::time::sleep(LOCK_LOOK.min(deadline - Instant::now())) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}
