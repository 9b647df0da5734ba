//! `plan`: what deploy would change, and why. Runs, builds, pulls, writes nothing.

use super::args::PlanArgs;
use super::change;
use super::error::CliError;
use super::exit::Exit;
use super::world::World;
use crate::backend::Backend;
use crate::plan::Options;
use crate::report;
use crate::report::documents;

/// Runs the command.
pub(super) async fn run<B: Backend>(world: &World<'_, B>, args: &PlanArgs) -> Result<Exit, CliError> {
    show(world, &args.services, &Options::default(), args.check).await
}

/// Shows the plan for these options.
pub(super) async fn show<B: Backend>(
    world: &World<'_, B>,
    services: &[String],
    options: &Options,
    check: bool,
) -> Result<Exit, CliError> {
    let project = world.load(services)?;
    let (_, plan) = change::look(world.backend, &project, options).await?;
    let plan = plan?;
    report::print(world.console, world.settings.format, &documents::plan(&plan))?;
    Ok(if check && !plan.steps.is_empty() { Exit::Pending } else { Exit::Done })
}
