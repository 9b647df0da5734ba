//! What services stand on: networks, volumes and seeded files.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::action::Action;
use super::action::Cause;
use super::action::StepId;
use super::draft::Draft;
use super::held;
use super::hooks;
use super::view::ServiceView;
use super::view::View;
use crate::state::names;
use crate::state::observed::Role;
use crate::state::spec::MountSource;
use crate::state::spec::NetworkMode;
use crate::state::spec::VolumeSpec;

/// The steps that make the ground, by engine name.
#[derive(Debug, Default)]
pub(super) struct Ground {
    networks: BTreeMap<String, StepId>,
    volumes: BTreeMap<String, StepId>,
    /// The step that makes the store, where there is none.
    pub(super) store: Option<StepId>,
}

impl Ground {
    /// Makes what is missing.
    pub(super) fn draft(view: &View<'_>, draft: &mut Draft) -> Self {
        let mut ground = Self::default();
        let (desired, observed) = (view.input.desired, view.input.observed);
        let store = names::store(&desired.stack);
        if !observed.volumes.contains_key(&store) {
            let spec = VolumeSpec {
                name: store.clone(),
                ..VolumeSpec::default()
            };
            let action = Action::CreateVolume {
                key: "shopctl".to_owned(),
                spec,
            };
            ground.store = Some(draft.step("", action, Cause::Missing, &[]));
        }
        for (key, spec) in &desired.networks {
            if !spec.external && !observed.networks.contains_key(&spec.name) {
                let action = Action::CreateNetwork {
                    key: key.clone(),
                    spec: spec.clone(),
                };
                let id = draft.step("", action, Cause::Missing, &[]);
                ground.networks.insert(spec.name.clone(), id);
            }
        }
        for (key, spec) in &desired.volumes {
            if !spec.external && !observed.volumes.contains_key(&spec.name) {
                let action = Action::CreateVolume {
                    key: key.clone(),
                    spec: spec.clone(),
                };
                let id = draft.step("", action, Cause::Missing, &[]);
                ground.volumes.insert(spec.name.clone(), id);
            }
        }
        ground.seed(view, draft);
        ground
    }

    /// Seeds the file sets of services that will start a container. A volume that
    /// nobody mounts yet is seeded again: the run that made it may have ended before
    /// the files were in it. So is one in memory that nothing holds any more.
    fn seed(&mut self, view: &View<'_>, draft: &mut Draft) {
        let (desired, observed) = (view.input.desired, view.input.observed);
        let mut wanted = BTreeSet::new();
        let mut lost = BTreeSet::new();
        for one in &view.services {
            lost.extend(held::lost(view, one));
            if one.in_scope && held::is_without(one) {
                draft.note(true, &one.service.name, held::LOST);
            }
            // What is lost is put back also for who does not need it now, as one that has
            // ended well: it may be asked to run again.
            let gone = one.in_scope && !held::lost(view, one).is_empty();
            let known = held::is_recorded(view, one);
            if one.creates() || hooks::lends(view, one) || (gone && !known && one.exists()) {
                wanted.extend(file_sets(one));
            }
        }
        for set in wanted {
            let Some(digest) = view.files.get(set) else {
                continue;
            };
            let volume = names::files(&desired.stack, set, digest);
            let mut users = observed.instances.iter();
            let mounted =
                users.any(|one| one.role != Role::Holder && one.volumes.contains(&volume));
            // Of a recorded release nobody has the contents but the volume.
            let files = desired.files.get(set);
            let recorded = files.is_some_and(|set| set.known.is_some());
            let there = observed.volumes.contains_key(&volume) && !lost.contains(&volume);
            if (mounted || recorded) && there {
                continue;
            }
            let action = Action::SeedFiles {
                set: set.to_owned(),
                volume: volume.clone(),
                memory: files.is_some_and(|set| set.memory),
            };
            let id = draft.step("", action, Cause::Missing, &[]);
            self.volumes.insert(volume, id);
        }
    }

    /// Steps that must come before a container of this service is made.
    pub(super) fn of(&self, view: &View<'_>, one: &ServiceView<'_>) -> Vec<StepId> {
        let mut needs = self.of_networks(&view.networks_of(one.service));
        for name in volumes_of(view, one)
            .values()
            .chain(files_of(view, one).values())
        {
            needs.extend(self.volumes.get(name));
        }
        needs
    }

    /// Steps that make these networks.
    pub(super) fn of_networks(&self, networks: &[String]) -> Vec<StepId> {
        networks
            .iter()
            .filter_map(|name| self.networks.get(name).copied())
            .collect()
    }
}

/// Network key to engine name, for the networks of a service.
pub(super) fn network_names(view: &View<'_>, one: &ServiceView<'_>) -> BTreeMap<String, String> {
    let NetworkMode::Networks(endpoints) = &one.service.container.network else {
        return BTreeMap::new();
    };
    endpoints
        .keys()
        .filter_map(|key| {
            let network = view.input.desired.networks.get(key)?;
            Some((key.clone(), network.name.clone()))
        })
        .collect()
}

/// Volume key to engine name, for the volumes of a service.
pub(super) fn volumes_of(view: &View<'_>, one: &ServiceView<'_>) -> BTreeMap<String, String> {
    one.service
        .container
        .mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            MountSource::Volume { key, .. } => {
                let volume = view.input.desired.volumes.get(key)?;
                Some((key.clone(), volume.name.clone()))
            }
            _ => None,
        })
        .collect()
}

/// File set to the engine name of its volume, for the sets of a service.
pub(super) fn files_of(view: &View<'_>, one: &ServiceView<'_>) -> BTreeMap<String, String> {
    file_sets(one)
        .filter_map(|set| {
            let digest = view.files.get(set)?;
            let volume = names::files(&view.input.desired.stack, set, digest);
            Some((set.to_owned(), volume))
        })
        .collect()
}

fn file_sets<'v>(one: &'v ServiceView<'_>) -> impl Iterator<Item = &'v str> {
    one.service
        .container
        .mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            MountSource::Files { set, .. } => Some(set.as_str()),
            _ => None,
        })
}
