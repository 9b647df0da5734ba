//! Changing a stack: what deploy, scale, restart and down have in common.
//!
//! Load, observe, plan, show or confirm, execute. The plan that is shown is made
//! without the lock; the one that runs is made again under it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

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
    let make_plan = |observed: &ObservedState, pulled: &BTreeSet<String>| {
        let options = Options {
            pulled: pulled.clone(),
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
    /// Exit code, by the table in ARCHITECTURE.
    pub(super) code: u8,
    /// Stable word for programs.
    pub(super) outcome: &'static str,
    /// What serves now, or what is left.
    pub(super) detail: String,
    /// What can be typed next.
    pub(super) hint: String,
}

/// Puts a verdict into words and an exit code. Refusals and backend errors are
/// worded elsewhere, as they are for commands that change nothing.
pub(super) fn ending(
    verdict: &Verdict,
    observed: &ObservedState,
    interrupted: u8,
) -> Option<Ending> {
    let ending = |code, outcome, detail: String, hint: &str| {
        Some(Ending {
            code,
            outcome,
            detail,
            hint: hint.to_owned(),
        })
    };
    match verdict {
        Verdict::Done { steps: 0, .. } => ending(0, "nothing_to_do", String::new(), ""),
        Verdict::Done {
            release: Some(number),
            ..
        } => ending(0, "done", format!("release {number}"), ""),
        Verdict::Done { .. } => ending(0, "done", String::new(), ""),
        Verdict::Stopped { left } => ending(
            interrupted,
            "interrupted",
            format!(
                "stopped at a safe point with {left} steps left; {}",
                serves(observed)
            ),
            "run the same command again to finish",
        ),
        Verdict::TimedOut { left } => ending(
            53,
            "deadline",
            format!(
                "the time limit passed with {left} steps left; {}",
                serves(observed)
            ),
            "run the same command again, with a longer --timeout",
        ),
        Verdict::NotConverged(plan) => ending(
            53,
            "not_converged",
            format!(
                "plans do not become empty; {} steps are still asked for",
                plan.steps.len()
            ),
            "shopctl plan shows what is left",
        ),
        Verdict::Failed(failure) => {
            let (code, hint) = failure_code(failure);
            ending(code, "failed", serves(observed), hint)
        }
        Verdict::Refused(_) | Verdict::Backend(_) => None,
    }
}

/// Exit code of a failed step: images fail before anything was changed.
fn failure_code(failure: &Failure) -> (u8, &'static str) {
    match &failure.error {
        StepError::Backend(BackendError::Build { .. }) => (21, "mend the build, then deploy again"),
        StepError::Backend(BackendError::ImageMissing { .. }) => (
            22,
            "check the name and the registry's credentials (docker login), or add build: to the service",
        ),
        StepError::Backend(BackendError::Unreachable { .. }) => {
            (30, "run the same command again when the engine answers")
        }
        StepError::Backend(BackendError::LockLost) => (
            60,
            "another run took over; see what it did with shopctl status",
        ),
        StepError::Backend(BackendError::PortTaken { .. }) => (
            52,
            "free the port, or publish another one, then deploy again",
        ),
        _ => (
            52,
            "shopctl logs SERVICE shows more; mend the service and deploy again",
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
