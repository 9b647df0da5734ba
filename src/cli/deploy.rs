//! `deploy`: load, observe, plan, show or confirm, execute.

use std::io::Write as _;
use std::path::Path;

use super::args::DeployArgs;
use super::change;
use super::change::Ending;
use super::change::Recorded;
use super::change::Session;
use super::change::Terms;
use super::error::CliError;
use super::exit::Exit;
use super::planfile;
use super::planfile::Reviewed;
use super::project::Project;
use super::world::World;
use crate::backend::Backend;
use crate::plan::Options;
use crate::plan::Prune;
use crate::plan::action::Action;
use crate::plan::action::Plan;
use crate::plan::report;

/// Runs the command.
pub(super) async fn run<B: Backend>(
    world: &World<'_, B>,
    args: &DeployArgs,
) -> Result<Exit, CliError> {
    if args.dry_run {
        super::plan::show(world, &args.services, &options(args, false)).await?;
        return Ok(Exit::Done);
    }
    world
        .act(async |session| {
            let (mut project, reviewed) = match &args.plan {
                Some(file) => reviewed(world, file).await?,
                None => (world.load(&args.services)?, None),
            };
            prepare(session, &mut project, args).await?;
            let mut options = options(args, world.settings.yes);
            let (observed, plan) = if reviewed.is_some() {
                // What may go was settled when the plan was made.
                options = Options::default();
                let (observed, plan) =
                    change::look(session.backend, &project.desired, &options).await?;
                (observed, plan?)
            } else {
                confirmed(world, session, &project, &mut options).await?
            };
            // What is taken over is written down, if nothing else is done, and so is the end
            // of a run that was killed before it could.
            if plan.steps.is_empty()
                && plan.taken_over == observed.taken_over()
                && !observed.is_unrecorded()
            {
                return Ok(Ending::nothing_to_do());
            }
            forbid_builds(&plan, args)?;
            project.can_build(builds(&plan))?;
            let terms = Terms {
                lock_wait: args.lock_wait,
                timeout: Some(args.timeout),
                release: Recorded::Deploy {
                    goes_back: !args.no_rollback,
                },
                options,
                reviewed,
            };
            let run = change::execute(session, project.goals(), &terms);
            let verdict = Box::pin(run).await;
            change::ending(verdict, &observed)
        })
        .await
}

/// The project of a plan file, whose plan must still be the one made now. That is asked
/// again under the lock; here it spares prepare commands that would be in vain.
async fn reviewed<B: Backend>(
    world: &World<'_, B>,
    file: &Path,
) -> Result<(Project, Option<Reviewed>), CliError> {
    let filed = planfile::read(&world.settings.load.working_dir.join(file))?;
    let project = world.load(&filed.only)?;
    let (_, plan) = change::look(world.backend, &project.desired, &Options::default()).await?;
    let plan = plan?;
    let reviewed = Reviewed {
        filed,
        desired: project.desired.clone(),
    };
    if !reviewed.same(&plan) {
        return Err(planfile::stale(&plan));
    }
    Ok((project, Some(reviewed)))
}

fn options(args: &DeployArgs, yes: bool) -> Options {
    Options {
        prune: (args.prune || yes).into(),
        reset_scale: args.reset_scale,
        cpu_overcommit_percent: args.overcommit.map(|factor| factor.cpu_percent),
        pull: args.pull,
        ..Options::default()
    }
}

async fn prepare<B: Backend>(
    session: &Session<'_, B>,
    project: &mut Project,
    args: &DeployArgs,
) -> Result<(), CliError> {
    if args.no_prepare || args.no_build {
        project.skip_prepare()?;
    } else {
        project.prepare(session.emitter).await?;
    }
    Ok(())
}

/// The plan, with a yes for every service that it removes.
async fn confirmed<B: Backend>(
    world: &World<'_, B>,
    session: &Session<'_, B>,
    project: &Project,
    options: &mut Options,
) -> Result<(crate::state::observed::ObservedState, Plan), CliError> {
    let asks = world.asks && options.prune == Prune::Nothing;
    if asks {
        options.prune = Prune::All;
    }
    let (observed, plan) = change::look(session.backend, &project.desired, options).await?;
    let plan = plan?;
    let leaving = change::removes_services(&plan);
    if !asks || leaving.is_empty() {
        return Ok((observed, plan));
    }
    let names: Vec<String> = leaving.into_iter().collect();
    world.console.err(&format!(
        "These services left the file and would be removed: {}",
        names.join(", ")
    ));
    if !yes(world) {
        options.prune = Prune::Nothing;
        let (observed, plan) = change::look(session.backend, &project.desired, options).await?;
        return Ok((observed, plan?));
    }
    Ok((observed, plan))
}

fn yes<B>(world: &World<'_, B>) -> bool {
    let _ = world.console.raw_err(b"Remove them? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// The services whose images a plan builds.
fn builds(plan: &Plan) -> impl Iterator<Item = &String> {
    plan.steps.iter().filter_map(|step| match &step.action {
        Action::BuildImage { service, .. } => Some(service),
        _ => None,
    })
}

fn forbid_builds(plan: &Plan, args: &DeployArgs) -> Result<(), CliError> {
    let build = plan
        .steps
        .iter()
        .find(|step| matches!(step.action, Action::BuildImage { .. }));
    match build {
        Some(step) if args.no_build => Err(CliError::new(
            Exit::ImageUnavailable,
            format!(
                "the image of {} is not there, and --no-build forbids to build it",
                step.service
            ),
        )
        .detail(report::changes(plan))
        .hint(format!("shopctl build {}", step.service))),
        _ => Ok(()),
    }
}
