//! `plan`: what deploy would change, and why. Runs, builds, pulls, writes nothing.

use super::args::PlanArgs;
use super::change;
use super::error::CliError;
use super::exit::Exit;
use super::world::World;
use crate::backend::Backend;
use crate::plan::Options;
use crate::plan::action::Step;
use crate::plan::report;
use crate::report::documents::PlanDocument;
use crate::report::output;
use crate::report::tables;

/// Runs the command.
pub(super) async fn run<B: Backend>(
    world: &World<'_, B>,
    args: &PlanArgs,
) -> Result<Exit, CliError> {
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
    let words = |step: &Step| (report::what(step), report::cause(&step.cause));
    let document = PlanDocument::new(&plan, report::changes(&plan), words);
    world.console.out(&output::render(
        world.settings.format,
        &document,
        tables::plan,
    ))?;
    Ok(if check && !plan.steps.is_empty() {
        Exit::Pending
    } else {
        Exit::Done
    })
}
