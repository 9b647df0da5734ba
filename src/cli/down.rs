//! `down`: stop and remove what was created, and nothing else.

use super::args::DownArgs;
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
    args: &DownArgs,
) -> Result<Exit, CliError> {
    world
        .act(async |session| {
            let project = world.load_with(&[], Naming::WherePossible)?;
            let terms = Terms::unrecorded(Options {
                goal: Goal::Down {
                    volumes: args.volumes,
                },
                ..Options::default()
            });
            change::make(session, project.goals(), &terms).await
        })
        .await
}
