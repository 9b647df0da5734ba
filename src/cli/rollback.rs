//! `rollback`: the whole stack back to a stable release, by the same plan and executor.

use std::collections::BTreeMap;

use super::args::RollbackArgs;
use super::change;
use super::change::Ending;
use super::change::Goals;
use super::change::Recorded;
use super::change::Terms;
use super::error::CliError;
use super::exit::Exit;
use super::world::World;
use crate::backend::Backend;
use crate::exec;
use crate::plan::Options;
use crate::plan::Prune;
use crate::release;
use crate::state::history::Outcome;
use crate::state::history::Release;

/// Runs the command.
pub(super) async fn run<B: Backend>(
    world: &World<'_, B>,
    args: &RollbackArgs,
) -> Result<Exit, CliError> {
    world
        .act(async |session| {
            let stack = world.stack_name()?;
            let releases = release::all(session.backend, &stack).await?;
            let target = target(&releases, args.to)?;
            let to = target.summary.number;
            let desired = &target.desired;
            let terms = Terms {
                lock_wait: args.lock_wait,
                timeout: Some(args.timeout),
                release: Recorded::Rollback { to },
                // What later releases brought along goes; what nobody released stays.
                options: Options {
                    prune: Prune::Only(later(&releases, target)),
                    backwards: true,
                    ..Options::default()
                },
                reviewed: None,
            };
            let (observed, plan) = change::look(session.backend, desired, &terms.options).await?;
            let plan = plan?;
            if plan.steps.is_empty() {
                return Ok(Ending::nothing_to_do());
            }
            let missing = exec::missing(&plan, desired);
            if !missing.is_empty() {
                return Err(CliError::new(
                    Exit::ImageUnavailable,
                    format!(
                        "release {to} needs what is gone: {}; nothing was changed",
                        missing.join(", ")
                    ),
                )
                .hint("go back in the sources instead, then: shopctl deploy"));
            }
            let goals = Goals {
                desired,
                recipes: &BTreeMap::new(),
                tags: &BTreeMap::new(),
                secrets: &[],
            };
            let verdict = change::execute(session, goals, &terms).await;
            change::ending_of_rollback(verdict, &observed)
        })
        .await
}

/// The release that was named, or the newest stable one that asks for something else
/// than what stands. What a run that did not end well has left is no release that stands.
fn target(releases: &BTreeMap<u64, Release>, named: Option<u64>) -> Result<&Release, CliError> {
    let refused =
        |message: String| Err(CliError::new(Exit::Refused, message).hint("shopctl history"));
    if let Some(number) = named {
        return match releases.get(&number) {
            None => refused(format!("there is no release {number}")),
            Some(release) if !release.is_stable() => refused(format!(
                "release {number} was never stable: it {}",
                release.summary.outcome.past()
            )),
            Some(release) => Ok(release),
        };
    }
    let mut newest = releases.values().rev();
    let last = newest.clone().next().map(|one| &one.summary);
    let now = last.map(|last| last.spec.as_str());
    // A release that went back by itself has left the one before standing.
    let whole = |outcome| matches!(outcome, Outcome::Deployed | Outcome::RolledBack);
    let stands = newest
        .clone()
        .find(|one| one.is_stable())
        .filter(|_| last.is_some_and(|last| whole(last.outcome)));
    let stands = stands.map(|one| one.summary.spec.as_str());
    let other = |one: &&Release| {
        let spec = Some(one.summary.spec.as_str());
        one.is_stable() && spec != stands && spec != now
    };
    match newest.find(other) {
        Some(release) => Ok(release),
        None => refused("there is no other stable release to go back to".to_owned()),
    }
}

/// Services that releases after this one had and it has not.
fn later(
    releases: &BTreeMap<u64, Release>,
    target: &Release,
) -> std::collections::BTreeSet<String> {
    releases
        .range(target.summary.number..)
        .flat_map(|(_, release)| release.desired.services.keys())
        .filter(|name| !target.desired.services.contains_key(*name))
        .cloned()
        .collect()
}
