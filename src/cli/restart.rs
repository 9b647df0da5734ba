//! `restart`: the same containers, started anew one after another.

use std::time::Duration;

use super::args::RestartArgs;
use super::change;
use super::change::Ending;
use super::change::Limits;
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
            let options = Options {
                goal: Goal::Restart,
                ..Options::default()
            };
            let (observed, plan) = change::look(session.backend, &project, &options).await?;
            if plan?.steps.is_empty() {
                return Ok(Ending::nothing_to_do());
            }
            let limits = Limits {
                lock_wait: Duration::ZERO,
                timeout: None,
            };
            let verdict = change::execute(session, &project, &options, &limits).await;
            change::ending(verdict, &observed)
        })
        .await
}
