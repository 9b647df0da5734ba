//! `capacity`: M, C and R of the stack as it would be after a deploy.

use super::super::change;
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::scene::Scene;
use super::super::world::World;
use crate::plan::Options;
use crate::plan::action::Refusal;
use crate::report::documents::CapacityDocument;
use crate::report::tables;

/// Prints it.
pub(super) async fn run<W: World>(scene: &Scene<'_, W>) -> Result<u8, CliError> {
    let project = scene.project(&[])?;
    let backend = scene.connect().await?;
    let (_, plan) = change::look(&backend, &project, &Options::default()).await?;
    let report = match plan {
        Ok(plan) => plan.capacity,
        Err(Refusal::Capacity(report)) => *report,
        Err(refusal @ Refusal::Preflight(_)) => return Err(refusal.into()),
    };
    let document = CapacityDocument::new(&project.desired.stack, &report);
    scene.answer(&document, tables::capacities)?;
    Ok(Exit::Done.code())
}
