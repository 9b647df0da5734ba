//! Secrets that are kept in memory: a container of ours holds each volume of them. What
//! is lost with it, say at a restart of the engine, is put there again, and whoever came
//! up without it is replaced.

use std::collections::BTreeMap;

use super::action::Obstacle;
use super::input::PlanInput;
use super::view::ServiceView;
use super::view::View;
use crate::state::change::Verdict;
use crate::state::desired::ServiceSpec;
use crate::state::names;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::ObservedState;
use crate::state::observed::Role;
use crate::state::spec::MountSource;

/// Said of a service whose secrets are lost.
pub const LOST: &str = "its secrets were in memory only and are lost; the next deploy puts them back and replaces who came up without them";

/// Why a replica is replaced that came up without its secrets.
const WITHOUT: &str = "its secrets were lost from memory";

/// Volumes that a service's secrets are kept in memory by, each with what holds it now.
pub(super) fn holders<'a>(
    input: &PlanInput<'a>,
    service: &ServiceSpec,
    files: &BTreeMap<String, String>,
) -> Vec<(String, Option<&'a Instance>)> {
    let sets = service.container.mounts.iter().filter_map(|mount| {
        let MountSource::Files { set, .. } = &mount.source else {
            return None;
        };
        let memory = input.desired.files.get(set)?.memory;
        memory.then(|| files.get_key_value(set)).flatten()
    });
    let volumes = sets.map(|(set, digest)| names::files(&input.desired.stack, set, digest));
    volumes
        .map(|volume| {
            let found = holder(input.observed, &volume);
            (volume, found)
        })
        .collect()
}

/// What holds a volume now. It has the name of a holder once the volume is filled; one
/// that is being filled has another.
pub fn holder<'a>(observed: &'a ObservedState, volume: &str) -> Option<&'a Instance> {
    let name = names::holder(volume);
    let mut instances = observed.instances.iter();
    instances.find(|one| {
        one.role == Role::Holder && one.state == InstanceState::Running && one.name == name
    })
}

/// What becomes of a container that came up before its secrets were there, or whose
/// secrets are gone. One that has ended well needs them no more.
pub(super) fn judge(
    verdict: Verdict,
    one: &Instance,
    holders: &[(String, Option<&Instance>)],
) -> Verdict {
    let done = verdict == Verdict::Current && one.state != InstanceState::Running;
    let lacks = |(volume, holder): &(String, Option<&Instance>)| lacks(one, volume, *holder);
    if verdict.stays() && !done && holders.iter().any(lacks) {
        return Verdict::Changed(vec![WITHOUT.to_owned()]);
    }
    verdict
}

fn lacks(one: &Instance, volume: &str, holder: Option<&Instance>) -> bool {
    one.volumes.contains(volume) && holder.is_none_or(|holder| holder.started_at > one.started_at)
}

/// Volumes of a service that nothing holds.
pub(super) fn lost(view: &View<'_>, one: &ServiceView<'_>) -> Vec<String> {
    holders(&view.input, one.service, &view.files)
        .into_iter()
        .filter(|(_, holder)| holder.is_none())
        .map(|(volume, _)| volume)
        .collect()
}

/// Whether what should be is a recorded release: nobody has the contents of its files but
/// their volumes.
pub(super) fn is_recorded(view: &View<'_>, one: &ServiceView<'_>) -> bool {
    let files = &view.input.desired.files;
    let mut mounts = one.service.container.mounts.iter();
    mounts.any(|mount| match &mount.source {
        MountSource::Files { set, .. } => files.get(set).is_some_and(|set| set.known.is_some()),
        _ => false,
    })
}

/// What is in the way of starting a service again as it was recorded: its secrets are
/// nowhere any more.
pub(super) fn obstacle(view: &View<'_>, one: &ServiceView<'_>) -> Option<Obstacle> {
    (!lost(view, one).is_empty()).then(|| told(one))
}

fn told(one: &ServiceView<'_>) -> Obstacle {
    let name = &one.service.name;
    Obstacle {
        place: one.service.place.clone(),
        message: format!("the secrets of {name} were in memory only and are lost"),
        hint: "shopctl deploy".to_owned(),
    }
}

/// The same for containers that are to start again: what they mount may be older than what
/// should be.
pub(super) fn obstacle_of_restart(view: &View<'_>, one: &ServiceView<'_>) -> Option<Obstacle> {
    let observed = view.input.observed;
    let in_memory = |volume: &&String| {
        let sets = view.input.desired.files.iter();
        let prefix = |set: &String| names::files(&view.input.desired.stack, set, "");
        let mut sets = sets.filter(|(_, files)| files.memory);
        sets.any(|(set, _)| volume.starts_with(&prefix(set)))
    };
    let mut holders = one.slots.values().filter_map(|slot| slot.holder.as_ref());
    let starts = holders.any(|(found, _)| {
        let runs = found.state == InstanceState::Running || !one.revision.one_off;
        let mut volumes = found.volumes.iter().filter(in_memory);
        runs && volumes.any(|volume| holder(observed, volume).is_none())
    });
    starts.then(|| told(one))
}

/// Whether a replica of a service came up without its secrets.
pub(super) fn is_without(one: &ServiceView<'_>) -> bool {
    let mut holders = one.slots.values().filter_map(|slot| slot.holder.as_ref());
    holders.any(|(_, verdict)| matches!(verdict, Verdict::Changed(why) if *why == [WITHOUT]))
}
