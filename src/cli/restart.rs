//! `restart`: the same containers, started anew one after another.

use super::args::RestartArgs;
use super::change;
use super::change::Terms;
use super::error::CliError;
use super::exit::Exit;
use super::project::Naming;
use super::world::World;
use crate::backend::Backend;
use crate::plan::Goal;
use crate::plan::Options;

/// Runs the command.
pub(super) async fn run<B: Backend>(
    world: &World<'_, B>,
    args: &RestartArgs,
) -> Result<Exit, CliError> {
    world
        .act(async |session| {
            let project = world.load_with(&args.services, Naming::WherePossible)?;
            let desired = change::as_deployed(session.backend, &project.desired).await?;
            let terms = Terms::unrecorded(Options {
                goal: Goal::Restart,
                ..Options::default()
            });
            change::make(session, project.goals_for(&desired), &terms).await
        })
        .await
}
