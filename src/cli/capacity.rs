//! `capacity`: demand M, capacity C and R = M / C.

use super::args::CapacityArgs;
use super::change;
use super::error::CliError;
use super::exit::Exit;
use super::project::Naming;
use super::world::World;
use crate::backend::Backend;
use crate::plan::Options;
use crate::plan::action::Refusal;
use crate::report::documents::CapacityDocument;
use crate::report::output;
use crate::report::tables;

/// Runs the command.
pub(super) async fn run<B: Backend>(
    world: &World<'_, B>,
    _args: &CapacityArgs,
) -> Result<Exit, CliError> {
    let project = world.load_with(&[], Naming::WherePossible)?;
    let (_, plan) = change::look(world.backend, &project.desired, &Options::default()).await?;
    // What does not fit is the answer here, not a failure.
    let report = match plan {
        Ok(plan) => plan.capacity,
        Err(Refusal::Capacity(report)) => *report,
        Err(refusal) => return Err(refusal.into()),
    };
    let document = CapacityDocument::new(&project.desired.stack, &report);
    world.console.out(&output::render(
        world.settings.format,
        &document,
        tables::capacities,
    ))?;
    Ok(Exit::Done)
}
