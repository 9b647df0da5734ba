//! `scale`: other replica counts, by the same plan and the same executor.

use std::time::Duration;

use super::args::ScaleArgs;
use super::change;
use super::change::Ending;
use super::change::Limits;
use super::error::CliError;
use super::exit::Exit;
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
            let mut project = world.load(&services)?;
            project.skip_prepare()?;
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
            let options = Options {
                scale: args
                    .targets
                    .iter()
                    .map(|it| (it.service.clone(), to(it.replicas)))
                    .collect(),
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
