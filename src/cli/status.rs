//! `status`: what runs, whether it is what the file says, and R, T and N.

use std::collections::BTreeMap;

use super::args::StatusArgs;
use super::change;
use super::error::CliError;
use super::exit::Exit;
use super::world::World;
use crate::backend::Backend;
use crate::plan::Options;
use crate::report;
use crate::report::documents;
use crate::state::observed::InstanceState;

/// Time between two drawings of `--watch`.
const REDRAW: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs the command.
pub(super) async fn run<B: Backend>(world: &World<'_, B>, args: &StatusArgs) -> Result<Exit, CliError> {
    loop {
        let converged = once(world, args).await?;
        if !args.watch {
            return Ok(if args.check && !converged { Exit::Pending } else { Exit::Done });
        }
        tokio::select! {
            () = tokio::time::sleep(REDRAW) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
        if world.console.out_is_terminal() {
            // Home, then clear to the end: no flicker and no scrolling.
            world.console.raw_out(b"\x1b[H\x1b[J")?;
        }
    }
}

/// Prints the status once; whether the stack is as the file says.
async fn once<B: Backend>(world: &World<'_, B>, args: &StatusArgs) -> Result<bool, CliError> {
    let project = world.load(&args.services)?;
    let (observed, plan) = change::look(world.backend, &project, &Options::default()).await?;
    let converged = plan.is_ok_and(|plan| plan.steps.is_empty());
    let mut usage = BTreeMap::new();
    if args.usage {
        let running: Vec<String> = observed
            .instances
            .iter()
            .filter(|one| one.state == InstanceState::Running)
            .map(|one| one.name.clone())
            .collect();
        usage = world.backend.usage(&running).await?;
    }
    let document = documents::status(&project.desired, &observed, converged, &usage);
    report::print(world.console, world.settings.format, &document)?;
    Ok(converged)
}
