//! Changing a stack: what deploy, scale, restart and down have in common.
//!
//! Load, observe, plan, show or confirm, execute. The plan that is shown is made
//! without the lock; the one that runs is made again under it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

use super::error::CliError;
use super::exit::Exit;
use super::project::Project;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Holder;
use crate::build::Builder;
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
use crate::state::observed::ObservedState;
use crate::state::observed::ReleaseSummary;

/// Who changes the stack, with what.
pub(super) struct Session<'a, B> {
    /// Where it happens.
    pub(super) backend: &'a B,
    /// Brings our own image there.
    pub(super) helper: &'a dyn ProvideHelper,
    /// Tag of that image.
    pub(super) helper_image: String,
    /// Where events go.
    pub(super) emitter: &'a Emitter,
    /// Run id.
    pub(super) run: String,
    /// User, host and time, for the lock and the release.
    pub(super) holder: Holder,
    /// Becomes true at Ctrl-C.
    pub(super) stop: watch::Receiver<bool>,
}

/// What is asked for beside the plan's options.
pub(super) struct Limits {
    /// How long to wait for another run's lock.
    pub(super) lock_wait: Duration,
    /// Time limit of the whole run.
    pub(super) timeout: Option<Duration>,
}

/// One look and the plan for it.
pub(super) async fn look<B: Backend>(
    backend: &B,
    project: &Project,
    options: &Options,
) -> Result<(ObservedState, Result<Plan, Refusal>), BackendError> {
    let observed = backend.observe(&project.query()).await?;
    let plan = plan::plan(&PlanInput {
        desired: &project.desired,
        observed: &observed,
        options,
    });
    Ok((observed, plan))
}

/// Carries the change out, under the lock.
pub(super) async fn execute<B: Backend>(
    session: &Session<'_, B>,
    project: &Project,
    options: &Options,
    limits: &Limits,
) -> Verdict {
    let desired = &project.desired;
    let make_plan = |observed: &ObservedState, learned: &Learned| {
        let options = Options {
            learned: learned.clone(),
            ..options.clone()
        };
        plan::plan(&PlanInput {
            desired,
            observed,
            options: &options,
        })
    };
    let builder = Builder::new(session.backend, &project.recipes, &project.tags);
    let query = project.query();
    let context = Context {
        stack: desired.stack.clone(),
        run: session.run.clone(),
        files: desired.files.clone(),
        helper_image: session.helper_image.clone(),
    };
    let release = (!matches!(options.goal, Goal::Down { .. })).then(|| ReleaseSummary {
        at: session.holder.since / 1000,
        by: format!("{}@{}", session.holder.who, session.holder.host),
        revisions: plan::revisions(desired),
        ..ReleaseSummary::default()
    });
    let mission = Mission {
        query: &query,
        plan: &make_plan,
        context: &context,
        holder: &session.holder,
        lock_wait: limits.lock_wait,
        helper: session.helper,
        builds: &builder,
        secrets: &project.secrets,
        timeout: limits.timeout,
        stop: session.stop.clone(),
        release,
        converge: options.goal != Goal::Restart,
    };
    carry_out(session.backend, &mission, session.emitter).await
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
/// run, which a failed run leaves serving.
pub(super) fn ending(verdict: Verdict, before: &ObservedState) -> Result<Ending, CliError> {
    let again = "run the same command again to finish";
    Ok(match verdict {
        Verdict::Done { steps: 0, .. } => Ending::nothing_to_do(),
        Verdict::Done { release, .. } => {
            let detail = release.map_or_else(String::new, |number| format!("release {number}"));
            Ending::new(Exit::Done, "done", detail, "")
        }
        Verdict::Stopped { left } => {
            let detail = format!(
                "stopped at a safe point with {left} steps left; {}",
                serves(before)
            );
            Ending::new(Exit::Interrupted, "interrupted", detail, again)
        }
        Verdict::TimedOut { left } => {
            let detail = format!(
                "the time limit passed with {left} steps left; {}",
                serves(before)
            );
            Ending::new(Exit::Deadline, "deadline", detail, again)
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
            Ending::new(
                exit,
                "failed",
                format!("{}; {}", failure.message, serves(before)),
                hint,
            )
        }
        Verdict::Refused(refusal) => return Err(refusal.into()),
        Verdict::Backend(error) => return Err(error.into()),
    })
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
            step.cause == Cause::NotInFile && matches!(step.action, Action::RemoveContainer { .. })
        })
        .map(|step| step.service.clone())
        .collect()
}
