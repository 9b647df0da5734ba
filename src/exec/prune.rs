//! After a release that ended well: what only older releases needed goes.
//!
//! Images that shopctl built for the stack, and volumes of secrets and configs. What
//! the last stable releases use stays, so that one can go back to them; so does what
//! any container uses, and everything that somebody else made.

use std::collections::BTreeSet;

use super::Emitter;
use super::mission::Mission;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::event::EventKind;
use crate::plan::action::Action;
use crate::release;
use crate::state::digest;
use crate::state::history::Release;
use crate::state::names;
use crate::state::observed::Instance;
use crate::state::observed::ObservedState;
use crate::state::observed::Role;

/// So many stable releases keep all that they need, those that ask for the same
/// counted once.
const KEPT: usize = 3;

/// Takes away what is no longer needed. What cannot be removed is a warning: the
/// release is none the worse for it.
pub(super) async fn old<B: Backend>(
    backend: &B,
    mission: &Mission<'_>,
    observed: &ObservedState,
    emitter: &Emitter,
) {
    if let Err(error) = remove(backend, mission, observed).await {
        emitter.emit(EventKind::Warning {
            message: format!("what older releases left behind could not all be removed: {error}"),
        });
    }
}

async fn remove<B: Backend>(
    backend: &B,
    mission: &Mission<'_>,
    observed: &ObservedState,
) -> Result<(), BackendError> {
    let stack = mission.context.stack.as_str();
    // Mostly there is nothing that nobody uses, and then releases need not be read.
    let images: Vec<String> = backend
        .built(stack)
        .await?
        .into_iter()
        .filter(|tag| observed.instances.iter().all(|one| one.image != *tag))
        .collect();
    let volumes = unused_files(stack, observed);
    if images.is_empty() && volumes.is_empty() {
        return Ok(());
    }
    let releases = release::all(backend, stack).await?;
    let mut kept: Vec<&Release> = Vec::new();
    for release in releases.values().rev().filter(|one| one.is_stable()) {
        let known = kept
            .iter()
            .any(|one| one.summary.spec == release.summary.spec);
        if !known && kept.len() < KEPT {
            kept.push(release);
        }
    }
    if kept.is_empty() {
        return Ok(());
    }
    let kept_images: BTreeSet<&str> = kept
        .iter()
        .flat_map(|release| release.desired.services.values())
        .map(|service| service.container.image.as_str())
        .collect();
    for tag in images {
        if !kept_images.contains(tag.as_str()) {
            backend.remove_image(&tag).await?;
        }
    }
    let kept_volumes: BTreeSet<String> = kept
        .iter()
        .flat_map(|release| &release.desired.files)
        .map(|(set, files)| names::files(stack, set, &digest::file_set(files)))
        .collect();
    for name in volumes {
        if !kept_volumes.contains(&name) {
            let holds = |one: &&Instance| one.role == Role::Holder && one.volumes.contains(&name);
            for holder in observed.instances.iter().filter(holds) {
                let container = holder.name.clone();
                let action = Action::RemoveContainer { container };
                backend.apply(mission.context, &action).await?;
            }
            let action = Action::RemoveVolume { name };
            backend.apply(mission.context, &action).await?;
        }
    }
    Ok(())
}

/// Volumes of secrets and configs that no container uses but what only holds them.
fn unused_files(stack: &str, observed: &ObservedState) -> Vec<String> {
    let prefix = names::files_prefix(stack);
    let is_used = |name: &String| {
        let mut instances = observed.instances.iter();
        instances.any(|one| one.role != Role::Holder && one.volumes.contains(name))
    };
    let volumes = observed.volumes.iter();
    volumes
        .filter(|(name, volume)| volume.of_stack && name.starts_with(&prefix) && !is_used(name))
        .map(|(name, _)| name.clone())
        .collect()
}
