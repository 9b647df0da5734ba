//! `history`: the releases that are kept with the target, newest first.

use super::error::CliError;
use super::exit::Exit;
use super::world::World;
use crate::backend::Backend;
use crate::release;
use crate::report::history;
use crate::report::output;

/// Runs the command.
pub(super) async fn run<B: Backend>(world: &World<'_, B>) -> Result<Exit, CliError> {
    let stack = world.stack_name()?;
    let releases = release::all(world.backend, &stack).await?;
    let document = history::document(&stack, &releases);
    world.console.out(&output::render(
        world.settings.format,
        &document,
        history::view,
    ))?;
    Ok(Exit::Done)
}
