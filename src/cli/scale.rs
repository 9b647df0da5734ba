//! `scale`: other replica counts, by the same plan and the same executor.

use super::args::ScaleArgs;
use super::change;
use super::change::Terms;
use super::error::CliError;
use super::exit::Exit;
use super::project::Naming;
use super::world::World;
use crate::backend::Backend;
use crate::plan::Options;
use crate::plan::ScaleTo;

/// Runs the command.
pub(super) async fn run<B: Backend>(
    world: &World<'_, B>,
    args: &ScaleArgs,
) -> Result<Exit, CliError> {
    let services: Vec<String> = args
        .targets
        .iter()
        .map(|target| target.service.clone())
        .collect();
    world
        .act(async |session| {
            let project = world.load_with(&services, Naming::WherePossible)?;
            let desired = change::as_deployed(session.backend, &project.desired).await?;
            let by = format!("{}@{}", session.holder.who, session.holder.host);
            let at = session.holder.since / 1000;
            let to = |replicas: Option<u32>| match replicas {
                Some(replicas) => ScaleTo::Count {
                    replicas,
                    by: by.clone(),
                    at,
                },
                None => ScaleTo::File,
            };
            let terms = Terms::unrecorded(Options {
                scale: args
                    .targets
                    .iter()
                    .map(|it| (it.service.clone(), to(it.replicas)))
                    .collect(),
                ..Options::default()
            });
            change::make(session, project.goals_for(&desired), &terms).await
        })
        .await
}
