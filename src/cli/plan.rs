//! `plan`: what deploy would change, and why. Runs, builds, pulls, writes nothing.

use super::args::PlanArgs;
use super::change;
use super::error::CliError;
use super::exit::Exit;
use super::planfile;
use super::world::World;
use crate::backend::Backend;
use crate::plan::Options;
use crate::report::documents::PlanDocument;
use crate::report::output;
use crate::report::tables;

/// Runs the command.
pub(super) async fn run<B: Backend>(
    world: &World<'_, B>,
    args: &PlanArgs,
) -> Result<Exit, CliError> {
    let plan = show(world, &args.services, &Options::default()).await?;
    if let Some(path) = &args.out {
        planfile::write(&world.settings.load.working_dir.join(path), &plan)?;
    }
    Ok(if args.check && !plan.steps.is_empty() {
        Exit::Pending
    } else {
        Exit::Done
    })
}

/// Shows the plan for these options, and gives it back.
pub(super) async fn show<B: Backend>(
    world: &World<'_, B>,
    services: &[String],
    options: &Options,
) -> Result<PlanDocument, CliError> {
    let project = world.load(services)?;
    let (_, plan) = change::look(world.backend, &project.desired, options).await?;
    let document = planfile::document(&plan?, services);
    world.console.out(&output::render(
        world.settings.format,
        &document,
        tables::plan,
    ))?;
    Ok(document)
}
