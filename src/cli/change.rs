//! Changing a stack: what deploy, scale, restart and down have in common.
//!
//! Load, observe, plan, show or confirm, execute. The plan that is shown is made
//! without the lock; the one that runs is made again under it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::error::CliError;
use super::exit::Exit;
use super::planfile;
use super::planfile::Reviewed;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Holder;
use crate::backend::Query;
use crate::backend::docker::image;
use crate::build::Builder;
use crate::build::Recipe;
use crate::exec::Emitter;
use crate::exec::Failure;
use crate::exec::Mission;
use crate::exec::ProvideHelper;
use crate::exec::StepError;
use crate::exec::Verdict;
use crate::exec::carry_out;
use crate::plan;
use crate::plan::Goal;
use crate::plan::Learned;
use crate::plan::Options;
use crate::plan::PlanInput;
use crate::plan::action::Action;
use crate::plan::action::Plan;
use crate::plan::action::Refusal;
use crate::release;
use crate::state::desired::DesiredState;
use crate::state::history::Release;
use crate::state::history::ReleaseSummary;
use crate::state::observed::ObservedState;

/// How long an engine or a gateway that went away in the middle of a run is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Who changes the stack, with what.
pub(super) struct Session<'a, B> {
    /// Where it happens.
    pub(super) backend: &'a B,
    /// Brings our own image there.
    pub(super) helper: &'a dyn ProvideHelper,
    /// Tag of that image.
    pub(super) helper_image: String,
    /// The executable that it is made of.
    pub(super) helper_binary: PathBuf,
    /// Where events go.
    pub(super) emitter: &'a Emitter,
    /// Run id.
    pub(super) run: String,
    /// User, host and time, for the lock and the release.
    pub(super) holder: Holder,
    /// Becomes true at Ctrl-C.
    pub(super) stop: watch::Receiver<bool>,
}

/// How a change is carried out.
pub(super) struct Terms {
    /// How long to wait for another run's lock.
    pub(super) lock_wait: Duration,
    /// Time limit of the whole run.
    pub(super) timeout: Option<Duration>,
    /// Whether it makes a release.
    pub(super) release: Recorded,
    /// What the plan is made with.
    pub(super) options: Options,
    /// The plan that was reviewed, where no other may be carried out.
    pub(super) reviewed: Option<Reviewed>,
}

impl Terms {
    /// A change that makes no release and waits for nobody.
    pub(super) fn unrecorded(options: Options) -> Self {
        Self {
            lock_wait: Duration::ZERO,
            timeout: None,
            release: Recorded::No,
            options,
            reviewed: None,
        }
    }
}

/// Whether a change makes a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    /// It asks for nothing new: a restart, a count, the end of the stack.
    No,
    /// A deploy; the whole stack goes back when it fails, unless told otherwise.
    Deploy {
        /// It goes back when it fails.
        goes_back: bool,
    },
    /// A way back that was asked for.
    Rollback {
        /// The release to go back to.
        to: u64,
    },
}

/// What a change brings the stack to, with all that it takes.
#[derive(Clone, Copy)]
pub(super) struct Goals<'a> {
    /// What should be.
    pub(super) desired: &'a DesiredState,
    /// How images are built, by service.
    pub(super) recipes: &'a BTreeMap<String, Recipe>,
    /// Their tags, by service.
    pub(super) tags: &'a BTreeMap<String, String>,
    /// Values that must not appear in any output.
    pub(super) secrets: &'a [String],
}

/// One look and the plan for it.
pub(super) async fn look<B: Backend>(
    backend: &B,
    desired: &DesiredState,
    options: &Options,
) -> Result<(ObservedState, Result<Plan, Refusal>), BackendError> {
    let observed = backend.observe(&Query::of(desired)).await?;
    let options = &Options {
        data_plane: image::tag(),
        ..options.clone()
    };
    let plan = plan::plan(&PlanInput {
        desired,
        observed: &observed,
        options,
    });
    Ok((observed, plan))
}

/// Looks, and carries the change out unless there is nothing to do.
pub(super) async fn make<B: Backend>(
    session: &Session<'_, B>,
    goals: Goals<'_>,
    terms: &Terms,
) -> Result<Ending, CliError> {
    let (observed, plan) = look(session.backend, goals.desired, &terms.options).await?;
    if plan?.steps.is_empty() {
        return Ok(Ending::nothing_to_do());
    }
    let verdict = execute(session, goals, terms).await;
    if matches!(terms.options.goal, Goal::Down { .. }) {
        ending_of_down(verdict)
    } else {
        ending(verdict, &observed)
    }
}

/// What the stack is meant to be now: its newest release, unless that failed; without
/// releases, or for services that it does not know, what the file says. So a count or
/// a restart brings nothing along that nobody has deployed.
pub(super) async fn as_deployed<B: Backend>(
    backend: &B,
    file: &DesiredState,
) -> Result<DesiredState, BackendError> {
    let Some(release) = release::standing(backend, &file.stack).await? else {
        return Ok(file.clone());
    };
    let mut desired = release.desired;
    if file
        .only
        .iter()
        .any(|name| !desired.services.contains_key(name))
    {
        return Ok(file.clone());
    }
    desired.only.clone_from(&file.only);
    Ok(desired)
}

/// Carries the change out, under the lock.
pub(super) async fn execute<B: Backend>(
    session: &Session<'_, B>,
    goals: Goals<'_>,
    terms: &Terms,
) -> Verdict {
    let desired = goals.desired;
    let plan_for = |desired: &DesiredState, observed: &ObservedState, learned: &Learned| {
        let options = Options {
            learned: learned.clone(),
            data_plane: session.helper_image.clone(),
            ..terms.options.clone()
        };
        plan::plan(&PlanInput {
            desired,
            observed,
            options: &options,
        })
    };
    let make_plan =
        |observed: &ObservedState, learned: &Learned| plan_for(desired, observed, learned);
    let agreed = |observed: &ObservedState, plan: &Plan| {
        let reviewed = terms.reviewed.as_ref();
        reviewed.is_none_or(|reviewed| {
            reviewed.is(plan, |desired| {
                plan_for(desired, observed, &Learned::default())
            })
        })
    };
    let builder = Builder::new(session.backend, goals.recipes, goals.tags);
    let query = Query::of(desired);
    let context = Context {
        stack: desired.stack.clone(),
        run: session.run.clone(),
        files: desired.files.clone(),
        helper_image: session.helper_image.clone(),
        helper_binary: session.helper_binary.clone(),
    };
    let mission = Mission {
        query: &query,
        plan: &make_plan,
        agreed: terms.reviewed.is_some().then_some(&agreed),
        context: &context,
        holder: &session.holder,
        lock_wait: terms.lock_wait,
        helper: session.helper,
        builds: &builder,
        secrets: goals.secrets,
        timeout: terms.timeout,
        patience: PATIENCE,
        stop: session.stop.clone(),
        release: release(session, desired, terms.release),
        goes_back: matches!(terms.release, Recorded::Deploy { goes_back: true }),
        converge: terms.options.goal != Goal::Restart,
    };
    Box::pin(carry_out(session.backend, &mission, session.emitter)).await
}

/// The release that a change makes.
fn release<B>(
    session: &Session<'_, B>,
    desired: &DesiredState,
    recorded: Recorded,
) -> Option<Release> {
    let back_to = match recorded {
        Recorded::No => return None,
        Recorded::Deploy { .. } => None,
        Recorded::Rollback { to } => Some(to),
    };
    let holder = &session.holder;
    Some(Release {
        summary: ReleaseSummary {
            at: holder.since / 1000,
            by: format!("{}@{}", holder.who, holder.host),
            run: session.run.clone(),
            back_to,
            ..ReleaseSummary::default()
        },
        desired: desired.clone(),
    })
}

/// How a change ended, for people and programs.
#[derive(Debug)]
pub(super) struct Ending {
    /// How the process ends.
    pub(super) exit: Exit,
    /// Stable word for programs.
    pub(super) outcome: &'static str,
    /// What serves now, or what is left.
    pub(super) detail: String,
    /// What can be typed next.
    pub(super) hint: String,
}

impl Ending {
    /// The stack is as it should be already.
    pub(super) fn nothing_to_do() -> Self {
        Self::new(Exit::Done, "nothing_to_do", String::new(), "")
    }

    fn new(exit: Exit, outcome: &'static str, detail: String, hint: &str) -> Self {
        Self {
            exit,
            outcome,
            detail,
            hint: hint.to_owned(),
        }
    }
}

/// Puts a verdict into words and an exit code. `before` is the world before the
/// run, which a failed deploy leaves serving.
pub(super) fn ending(verdict: Verdict, before: &ObservedState) -> Result<Ending, CliError> {
    Ok(match verdict {
        Verdict::Done {
            steps: 0,
            release: None,
        } => Ending::nothing_to_do(),
        Verdict::Done { release, .. } => {
            let detail = release.map_or_else(String::new, |number| format!("release {number}"));
            Ending::new(Exit::Done, "done", detail, "")
        }
        Verdict::Stopped { left } => {
            let detail = format!(
                "stopped at a safe point with {left} steps left; {}",
                serves(before)
            );
            Ending::new(Exit::Interrupted, "interrupted", detail, AGAIN)
        }
        Verdict::TimedOut { left } => {
            let detail = format!(
                "the time limit passed with {left} steps left; {}",
                serves(before)
            );
            Ending::new(Exit::Deadline, "deadline", detail, AGAIN)
        }
        Verdict::NotConverged(plan) => {
            let detail = format!(
                "plans do not become empty; {} steps are still asked for",
                plan.steps.len()
            );
            Ending::new(Exit::Deadline, "not_converged", detail, "shopctl plan")
        }
        Verdict::Failed(failure) => {
            let (exit, hint) = exit_of(&failure);
            let hint = failure.advice.as_deref().unwrap_or(hint);
            let detail = format!("{}; {}", failure.message, serves(before));
            Ending::new(exit, "failed", detail, hint)
        }
        Verdict::RolledBack { failure, to } => {
            let detail = format!(
                "{}; the stack went back, and release {to} serves",
                failure.message
            );
            let (_, hint) = exit_of(&failure);
            let hint = failure.advice.as_deref().unwrap_or(hint);
            Ending::new(Exit::RolledBack, "rolled_back", detail, hint)
        }
        Verdict::Stranded { failure, to, why } => {
            let detail = format!(
                "{}; going back to release {to} failed too: {why}",
                failure.message
            );
            Ending::new(
                Exit::RollbackFailed,
                "rollback_failed",
                detail,
                "shopctl status",
            )
        }
        Verdict::Refused(refusal) => return Err(refusal.into()),
        Verdict::Stale(plan) => return Err(planfile::stale(&plan)),
        Verdict::Backend(error) => return Err(error.into()),
    })
}

/// The end of a rollback that was asked for: one that fails is not undone.
pub(super) fn ending_of_rollback(
    verdict: Verdict,
    before: &ObservedState,
) -> Result<Ending, CliError> {
    let mut ending = ending(verdict, before)?;
    if ending.exit == Exit::Failed {
        ending.exit = Exit::RollbackFailed;
        ending.outcome = "rollback_failed";
    }
    Ok(ending)
}

const AGAIN: &str = "run the same command again to finish";

/// The end of a `down`, after which nothing is meant to serve.
pub(super) fn ending_of_down(verdict: Verdict) -> Result<Ending, CliError> {
    match verdict {
        Verdict::Failed(failure) => {
            let (exit, _) = exit_of(&failure);
            Ok(Ending::new(exit, "failed", failure.message, AGAIN))
        }
        other => ending(other, &ObservedState::default()),
    }
}

/// Exit code of a failed step: images fail before anything was changed.
fn exit_of(failure: &Failure) -> (Exit, &'static str) {
    match &failure.error {
        StepError::Backend(BackendError::Build { .. }) => {
            (Exit::BuildFailed, "mend the build, then: shopctl deploy")
        }
        StepError::Backend(BackendError::ImageMissing { .. }) => (
            Exit::ImageUnavailable,
            "check the name, sign in with `docker login` if the registry needs it, or add build: to the service",
        ),
        StepError::Backend(BackendError::Unreachable { .. }) => {
            (Exit::Unreachable, "shopctl doctor")
        }
        StepError::Refused { .. } => (Exit::Failed, "shopctl plan"),
        StepError::Hook { .. } | StepError::Inside { .. } => {
            (Exit::Failed, "mend the hook, then: shopctl deploy")
        }
        StepError::Backend(BackendError::LockLost) => (Exit::Locked, "shopctl status"),
        StepError::Backend(BackendError::PortTaken { .. }) => (
            Exit::Failed,
            "free the port, or publish another one, then: shopctl deploy",
        ),
        _ => (
            Exit::Failed,
            "shopctl logs, then mend the service and: shopctl deploy",
        ),
    }
}

/// What served before the run, which a failed run leaves in place.
fn serves(observed: &ObservedState) -> String {
    use crate::state::observed::InstanceState;
    use crate::state::observed::Role;
    let services: BTreeSet<&str> = observed
        .instances
        .iter()
        .filter(|one| one.role == Role::Service && one.state == InstanceState::Running)
        .map(|one| one.service.as_str())
        .collect();
    if services.is_empty() {
        "nothing served before this run".to_owned()
    } else {
        format!(
            "the old revision still serves ({})",
            services.into_iter().collect::<Vec<_>>().join(", ")
        )
    }
}

/// Whether a plan removes services that left the file, which needs a yes.
pub(super) fn removes_services(plan: &Plan) -> BTreeSet<String> {
    use crate::plan::action::Cause;
    plan.steps
        .iter()
        .filter(|step| {
            let removes = matches!(
                step.action,
                Action::RemoveContainer { .. } | Action::DeleteObject { .. }
            );
            removes && step.cause == Cause::NotInFile
        })
        .map(|step| step.service.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::action::Cause;
    use crate::plan::action::Gate;
    use crate::plan::action::Step;
    use crate::state::cluster::ObjectRef;

    #[test]
    fn what_leaves_with_the_file_is_asked_about_on_an_engine_and_on_a_cluster() {
        let step = |service: &str, action: Action, cause: Cause| Step {
            id: 1,
            service: service.to_owned(),
            slot: None,
            action,
            cause,
            needs: Vec::new(),
            after: Vec::new(),
            delay_ms: 0,
            gate: Gate::None,
        };
        let container = || Action::RemoveContainer {
            container: "shop-a-1".to_owned(),
        };
        let object = || Action::DeleteObject {
            object: ObjectRef::default(),
        };
        let plan = Plan {
            steps: vec![
                step("engine", container(), Cause::NotInFile),
                step("cluster", object(), Cause::NotInFile),
                step("stays", container(), Cause::ScaleDown),
                step("stays", object(), Cause::LeftOver),
            ],
            ..Plan::default()
        };
        let asked = removes_services(&plan);
        assert_eq!(asked, ["cluster".to_owned(), "engine".to_owned()].into());
    }
}
