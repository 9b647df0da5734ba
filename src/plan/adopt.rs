//! What Docker Compose made and the file says just so: it stays as it is.
//!
//! Which containers those are says [`crate::state::change::judge`]; why, and what becomes
//! of their ports, is in `docs/design/006-adoption.md`.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::input::PlanInput;
use super::view::ServiceView;
use super::view::Slot;
use super::view::View;
use crate::state::change::KnownImage;
use crate::state::change::Verdict;
use crate::state::desired::ImageSource;
use crate::state::desired::ServiceSpec;
use crate::state::observed::Instance;
use crate::state::spec::MountSource;
use crate::state::spec::NetworkMode;

/// Said of a service that is about to be taken over.
const AS_IT_IS: &str = "stays as Docker Compose made it";

/// What Docker Compose's hash does not cover: which volumes and networks the names mean, and
/// what is in secrets and configs. What was not taken over before is held against that too.
pub(super) fn judge(
    input: &PlanInput<'_>,
    service: &ServiceSpec,
    verdict: Verdict,
    one: &Instance,
) -> Verdict {
    if one.is_managed() || !verdict.stays() {
        return verdict;
    }
    let desired = input.desired;
    let mounts = || service.container.mounts.iter().map(|mount| &mount.source);
    let volumes = mounts().filter_map(|source| match source {
        MountSource::Volume { key, .. } => desired.volumes.get(key),
        _ => None,
    });
    let networks = match &service.container.network {
        NetworkMode::Networks(endpoints) => endpoints.keys().collect(),
        _ => Vec::new(),
    };
    let networks = networks.iter().filter_map(|key| desired.networks.get(*key));
    let files = |source: &MountSource| matches!(source, MountSource::Files { .. });
    let why = if volumes
        .into_iter()
        .any(|spec| !one.volumes.contains(&spec.name))
    {
        "made by Docker Compose with other volumes"
    } else if networks
        .into_iter()
        .any(|spec| !one.networks.contains(&spec.name))
    {
        "made by Docker Compose in other networks"
    } else if mounts().any(files) {
        "made by Docker Compose, and nobody knows with which secrets and configs"
    } else {
        return verdict;
    };
    Verdict::Changed(vec![why.to_owned()])
}

/// Whether all of a service was made by Docker Compose and stays. The containers of one
/// that is published have its ports: where another has to come beside them, the gateway
/// must have the ports, and so all of them are replaced.
pub(super) fn taken_over(
    slots: &mut BTreeMap<u32, Slot<'_>>,
    surplus: &[&Instance],
    published: bool,
) -> bool {
    let stays = |slot: &Slot<'_>| {
        let holder = slot.holder.as_ref();
        holder.is_some_and(|(one, verdict)| !one.ours && verdict.stays())
    };
    if !slots.is_empty() && slots.values().all(stays) && (surplus.is_empty() || !published) {
        return true;
    }
    if published {
        give_up(slots);
    }
    false
}

/// Lets the gateway have the ports of a service: all that Docker Compose made is replaced.
fn give_up(slots: &mut BTreeMap<u32, Slot<'_>>) {
    for (one, verdict) in slots.values_mut().filter_map(|slot| slot.holder.as_mut()) {
        if !one.ours && verdict.stays() {
            let why = "made by Docker Compose; its port goes to the gateway";
            *verdict = Verdict::Changed(vec![why.to_owned()]);
        }
    }
}

/// A port that leads to several services is the gateway's as soon as one of them is not
/// taken over.
pub(super) fn share_ports(input: &PlanInput<'_>, services: &mut [ServiceView<'_>]) {
    for port in &input.desired.ports {
        let behind = |one: &ServiceView<'_>| {
            let mut routes = port.routes.iter();
            routes.any(|route| route.service == one.service.name)
        };
        if services
            .iter()
            .filter(|one| behind(one))
            .all(|one| one.taken_over)
        {
            continue;
        }
        for one in services.iter_mut().filter(|one| behind(one)) {
            if std::mem::take(&mut one.taken_over) {
                give_up(&mut one.slots);
            }
        }
    }
}

impl ServiceView<'_> {
    /// Whether it was made by Docker Compose of an image that is known once it is built.
    pub(super) fn waits_for_image(&self) -> bool {
        let built = matches!(self.service.image, ImageSource::Build { .. });
        let holders = self.slots.values().filter_map(|slot| slot.holder.as_ref());
        let mut new = holders.filter(|(one, verdict)| verdict.stays() && !one.is_managed());
        built && !matches!(self.revision.image, KnownImage::Id(_)) && new.next().is_some()
    }
}

/// The engine names a volume without a name by 64 digits.
fn is_unnamed(volume: &str) -> bool {
    volume.len() == 64 && volume.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Says what is taken over by this plan.
pub(super) fn draft(view: &View<'_>, draft: &mut Draft) {
    for one in view.services.iter().filter(|one| one.in_scope) {
        let holders = one.slots.values().filter_map(|slot| slot.holder.as_ref());
        let goes = holders.filter(|(one, verdict)| !one.ours && !verdict.stays());
        let volumes: Vec<&str> = goes
            .flat_map(|(one, _)| &one.volumes)
            .filter(|name| is_unnamed(name))
            .map(String::as_str)
            .collect();
        if !volumes.is_empty() {
            let text = format!(
                "what Docker Compose made keeps data in a volume without a name, which its successor does not get: {} stays; name a volume in the file to keep what is written there",
                volumes.join(", ")
            );
            draft.note(true, &one.service.name, text);
        }
        let holders = one.slots.values().filter_map(|slot| slot.holder.as_ref());
        let mut new = holders.filter(|(one, verdict)| verdict.stays() && !one.is_managed());
        if new.next().is_none() {
            continue;
        }
        let mut text = AS_IT_IS.to_owned();
        if one.waits_for_image() {
            text.push_str(" if its image turns out to be the same");
        }
        if one.published {
            text.push_str("; its ports go to the gateway with its next change");
        }
        draft.note(false, &one.service.name, text);
    }
}

/// By id, all containers that are taken over when this plan has been carried out, with the
/// revision that they stand for.
pub(super) fn all(view: &View<'_>) -> BTreeMap<String, String> {
    let mut all = view.input.observed.taken_over();
    for one in view.services.iter().filter(|one| one.in_scope) {
        for (found, verdict) in one.slots.values().filter_map(|slot| slot.holder.as_ref()) {
            if !found.ours && verdict.stays() {
                all.insert(found.id.clone(), one.revision.digest.clone());
            }
        }
    }
    all
}
