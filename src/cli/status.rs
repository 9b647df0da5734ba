//! `status`: what runs, whether it is what the file says, and R, T and N.

use std::collections::BTreeMap;

use super::args::StatusArgs;
use super::change;
use super::error::CliError;
use super::exit::Exit;
use super::project::Naming;
use super::world::World;
use crate::backend::Backend;
use crate::backend::Query;
use crate::capacity::report::CapacityReport;
use crate::plan;
use crate::plan::Options;
use crate::plan::PlanInput;
use crate::plan::action::Plan;
use crate::plan::action::Refusal;
use crate::release;
use crate::report;
use crate::report::output;
use crate::report::status::Facts;
use crate::report::tables;
use crate::state::desired::DesiredState;
use crate::state::observed::InstanceState;
use crate::state::observed::ObservedState;

/// Time between two drawings of `--watch`.
const REDRAW: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs the command.
pub(super) async fn run<B: Backend>(
    world: &World<'_, B>,
    args: &StatusArgs,
) -> Result<Exit, CliError> {
    loop {
        let converged = once(world, args).await?;
        if !args.watch {
            return Ok(if args.check && !converged {
                Exit::Pending
            } else {
                Exit::Done
            });
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
    let project = world.load_with(&args.services, Naming::WherePossible)?;
    let options = Options::default();
    let (observed, plan) = change::look(world.backend, &project.desired, &options).await?;
    let left = plan.as_ref().ok().map(|plan| plan.steps.len());
    let notes = plan.as_ref().map(told).unwrap_or_default();
    let drift = if args.drift {
        Some(drift(world.backend, &project.desired, &observed).await?)
    } else {
        None
    };
    let pending = pending(world.backend, &project.desired, &observed).await?;
    let capacity = match plan {
        Ok(plan) => plan.capacity,
        Err(Refusal::Capacity(report)) => *report,
        Err(Refusal::Preflight(_)) => CapacityReport::default(),
    };
    let usage = if args.usage {
        usage(world, &observed).await?
    } else {
        BTreeMap::new()
    };
    let input = PlanInput {
        desired: &project.desired,
        observed: &observed,
        options: &options,
    };
    let facts = Facts {
        capacity: &capacity,
        wanted: &plan::wanted(&input),
        left,
        pending: pending.as_ref(),
        drift,
        usage: &usage,
        notes,
    };
    let document = report::status::document(&project.desired, &observed, facts);
    world.console.out(&output::render(
        world.settings.format,
        &document,
        tables::status,
    ))?;
    let drifted = document.drift.is_some_and(|lines| !lines.is_empty());
    Ok(document.converged && !drifted)
}

/// Services whose calls by name could go through the gateway and do not yet, and those
/// whose secrets are lost.
fn told(plan: &Plan) -> Vec<String> {
    let notes = plan.notes.iter();
    notes
        .filter(|note| [plan::PLAIN, plan::LOST].contains(&note.message.as_str()))
        .map(|note| format!("{}: {}", note.service, note.message))
        .collect()
}

/// What a deploy of the recorded release would change, one line each.
async fn drift<B: Backend>(
    backend: &B,
    file: &DesiredState,
    observed: &ObservedState,
) -> Result<Vec<String>, CliError> {
    let Some(release) = release::standing(backend, &file.stack).await? else {
        return Ok(vec!["no release is recorded to compare with".to_owned()]);
    };
    let mut desired = release.desired;
    desired.only.clone_from(&file.only);
    let plan = planned(backend, &desired, (file, observed), &Options::default()).await?;
    Ok(match plan {
        Ok(plan) => plan::report::drift(&plan, &desired),
        Err(Refusal::Capacity(_)) => vec!["its demand does not fit the capacity".to_owned()],
        Err(Refusal::Preflight(obstacles)) => {
            obstacles.into_iter().map(|one| one.message).collect()
        }
    })
}

/// What the newest release has still to do, where its run was killed or stopped: planned
/// from what it asked for, since the file may ask for something else by now.
async fn pending<B: Backend>(
    backend: &B,
    file: &DesiredState,
    observed: &ObservedState,
) -> Result<Option<Plan>, CliError> {
    let head = observed.store.as_ref().map(|store| &store.head);
    let newest = head.and_then(|head| head.newest.as_ref());
    let Some(newest) = newest.filter(|newest| newest.goes_on()) else {
        return Ok(None);
    };
    let mut releases = release::all(backend, &file.stack).await?;
    let Some(release) = releases.remove(&newest.number) else {
        return Ok(None);
    };
    let options = Options {
        backwards: newest.back_to.is_some(),
        ..Options::default()
    };
    let plan = planned(backend, &release.desired, (file, observed), &options).await?;
    Ok(plan.ok())
}

/// The plan for a recorded state, from a look that was taken for the file.
async fn planned<B: Backend>(
    backend: &B,
    desired: &DesiredState,
    (file, observed): (&DesiredState, &ObservedState),
    options: &Options,
) -> Result<Result<Plan, Refusal>, CliError> {
    // What the recorded state names and the file does not has to be looked at too.
    let again = if Query::of(desired).images == Query::of(file).images {
        None
    } else {
        Some(backend.observe(&Query::of(desired)).await?)
    };
    Ok(plan::plan(&PlanInput {
        desired,
        observed: again.as_ref().unwrap_or(observed),
        options,
    }))
}

/// Cores and bytes in use by each container that runs.
async fn usage<B: Backend>(
    world: &World<'_, B>,
    observed: &ObservedState,
) -> Result<BTreeMap<String, (f64, u64)>, CliError> {
    let running: Vec<String> = observed
        .instances
        .iter()
        .filter(|one| one.state == InstanceState::Running)
        .map(|one| one.name.clone())
        .collect();
    let measured = world.backend.usage(&running).await?;
    Ok(measured
        .into_iter()
        .map(|(name, used)| (name, (used.cpu, used.memory)))
        .collect())
}
