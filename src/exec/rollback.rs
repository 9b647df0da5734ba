//! When a change fails: the whole stack goes back to the last stable release.
//!
//! Going back is planning again, with that release as what should be, by the same
//! planner and the same executor under the same lock. A way back that fails ends the
//! run; there is no way back from a way back.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::Failure;
use super::StepError;
use super::ledger::Ledger;
use super::mission::Drive;
use super::mission::End;
use super::mission::Verdict;
use super::mission::all_revisions;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::Lock as _;
use crate::backend::Query;
use crate::event::EventKind;
use crate::plan;
use crate::plan::Learned;
use crate::plan::Options;
use crate::plan::PlanInput;
use crate::plan::Prune;
use crate::plan::action::Action;
use crate::plan::action::Plan;
use crate::plan::action::Refusal;
use crate::release;
use crate::state::desired::DesiredState;
use crate::state::desired::OnFailure;
use crate::state::history::Findings;
use crate::state::history::Outcome;
use crate::state::history::Release;
use crate::state::hooks::Moment;
use crate::state::observed::ObservedState;

/// Goes back where that is wanted and possible, and says how it all ended.
pub(super) async fn after<B: Backend>(
    drive: &Drive<'_, B>,
    failure: Box<Failure>,
    ledger: &mut Ledger<'_, B>,
) -> Result<Verdict, BackendError> {
    if let Some(observed) = went_back(drive, &failure).await? {
        // What was asked for serves; only the hook after it failed.
        let found = Findings {
            proved: all_revisions(&observed),
            taken_over: observed.taken_over(),
        };
        ledger.done(&observed, found, "").await;
        return Ok(Verdict::Failed(failure));
    }
    let Some(stable) = target(drive, &failure, ledger).await else {
        ledger.close(Outcome::Failed, &failure.message).await;
        return Ok(Verdict::Failed(failure));
    };
    let to = stable.summary.number;
    drive.emitter.emit(EventKind::RollbackStarted {
        to,
        reason: failure.message.clone(),
    });
    let went = back(drive, &stable, &failure.begun, ledger).await;
    if drive.lock.confirm().await.is_err() {
        return if drive.engine_is_gone().await {
            Ok(Verdict::Failed(failure))
        } else {
            Err(BackendError::LockLost)
        };
    }
    Ok(match went {
        Ok(()) => {
            ledger.close(Outcome::RolledBack, &failure.message).await;
            Verdict::RolledBack { failure, to }
        }
        Err(why) => {
            let reason = format!("{}; the rollback failed too: {why}", failure.message);
            ledger.close(Outcome::Failed, &reason).await;
            Verdict::Stranded { failure, to, why }
        }
    })
}

/// How it stands where a way back that was asked for came to its end, but for its hooks.
async fn went_back<B: Backend>(
    drive: &Drive<'_, B>,
    failure: &Failure,
) -> Result<Option<ObservedState>, BackendError> {
    let release = drive.mission.release.as_ref();
    if release.is_none_or(|release| release.summary.back_to.is_none()) {
        return Ok(None);
    }
    // On a cluster a hook is one of its workloads.
    let job = match &failure.error {
        StepError::Hook {
            moment: Moment::OnRollback,
            ..
        } => None,
        StepError::NotRolledOut { workload, .. } => Some(workload),
        _ => return Ok(None),
    };
    let observed = drive.backend.observe(drive.mission.query).await?;
    let cluster = observed.cluster.as_ref();
    let is_hook = |workload: &String| {
        let mut tasks = cluster.into_iter().flat_map(|it| &it.tasks);
        tasks.any(|task| task.moment == Moment::OnRollback && task.object.to_string() == *workload)
    };
    Ok(job.is_none_or(is_hook).then_some(observed))
}

/// The release to go back to: the last stable one, unless it asks for the same as
/// what failed. None where nothing was changed, or the file wants no way back.
async fn target<B: Backend>(
    drive: &Drive<'_, B>,
    failure: &Failure,
    ledger: &Ledger<'_, B>,
) -> Option<Release> {
    let mission = drive.mission;
    let failed = mission.release.as_ref()?;
    let lost = matches!(failure.error, StepError::Backend(BackendError::LockLost));
    let service = failed.desired.services.get(&failure.service);
    let paused = service.is_some_and(|one| one.rollout.on_failure != OnFailure::Rollback);
    // After a `down` there is nothing that anybody would miss.
    let fresh = !ledger.changes_a_stack();
    if !mission.goes_back || lost || paused || fresh || !failure.changed {
        return None;
    }
    // Without a store there is nothing to go back to.
    let stack = &mission.context.stack;
    let stable = release::serving(drive.backend, stack).await.ok()??;
    let same = stable.summary.spec == ledger.spec()?;
    (!same).then_some(stable)
}

async fn back<B: Backend>(
    drive: &Drive<'_, B>,
    stable: &Release,
    begun: &BTreeSet<String>,
    ledger: &mut Ledger<'_, B>,
) -> Result<(), String> {
    let failed = drive.mission.release.as_ref().map(|one| &one.desired);
    let new: BTreeSet<String> = failed
        .into_iter()
        .flat_map(|failed| failed.services.keys())
        .filter(|name| !stable.desired.services.contains_key(*name))
        // What ran before this run came was not begun by it.
        .filter(|name| !ledger.ran_before(name))
        .cloned()
        .collect();
    let desired = &stable.desired;
    let plan_of = |observed: &ObservedState, learned: &Learned| {
        let options = Options {
            prune: Prune::Only(new.clone()),
            backwards: true,
            begun: begun.clone(),
            learned: learned.clone(),
            ..Options::default()
        };
        plan::plan(&PlanInput {
            desired,
            observed,
            options: &options,
        })
    };
    let query = Query::of(desired);
    let observed = drive
        .backend
        .observe(&query)
        .await
        .map_err(|error| error.to_string())?;
    if let Ok(plan) = plan_of(&observed, &Learned::default()) {
        let missing = missing(&plan, desired);
        if !missing.is_empty() {
            return Err(format!("{} no longer exists", missing.join(", ")));
        }
    }
    // The way back has its own time.
    let secrets = drive
        .secrets
        .and(drive.backend, drive.mission, drive.lock, desired)
        .await;
    let drive = Drive {
        started: Instant::now(),
        secrets: &secrets,
        ..*drive
    };
    match drive.to(&query, &plan_of, ledger).await {
        Ok(End::Done { .. }) => Ok(()),
        Ok(End::Failed(failure)) => Err(failure.message),
        Ok(End::Refused(refusal)) => Err(words(&refusal)),
        Ok(End::Stale(_)) => Err("the plan is stale".to_owned()),
        Ok(End::NotConverged(_)) => Err("plans do not become empty".to_owned()),
        Ok(End::Stopped { left }) => Err(format!("it was stopped with {left} steps left")),
        Ok(End::TimedOut { left }) => Err(format!("the time limit passed with {left} steps left")),
        Err(error) => Err(error.to_string()),
    }
}

/// What a plan for a recorded release needs and nobody can make any more: images that
/// were built or never had a digest to be pulled by, and files whose volume is gone.
pub fn missing(plan: &Plan, desired: &DesiredState) -> Vec<String> {
    plan.steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::BuildImage { service, tag } => {
                let name = tag.clone().unwrap_or_else(|| service.clone());
                Some(format!("image {name}"))
            }
            Action::PullImage { reference, .. } => {
                let pinned = desired.services.get(&step.service)?.pinned.as_ref()?;
                let lost = pinned.repo_digest.is_none();
                lost.then(|| format!("image {reference} ({})", pinned.short()))
            }
            Action::SeedFiles {
                set,
                volume,
                memory,
            } => {
                let known = &desired.files.get(set)?.known;
                let place = if *memory { " (in memory)" } else { "" };
                known.as_ref().map(|_| format!("volume {volume}{place}"))
            }
            _ => None,
        })
        .collect()
}

/// What is in the way, in words.
pub(super) fn words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Capacity(_) => "its declared demand does not fit the capacity".to_owned(),
        Refusal::Preflight(obstacles) => {
            let all: Vec<&str> = obstacles.iter().map(|one| one.message.as_str()).collect();
            all.join("; ")
        }
    }
}
