//! What Docker Compose made and the file says just so: it stays as it is.
//!
//! Which containers those are says [`crate::state::change::judge`]; why, and what becomes
//! of their ports, is in `docs/design/006-adoption.md`.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::view::ServiceView;
use super::view::Slot;
use super::view::View;
use crate::state::change::KnownImage;
use crate::state::change::Verdict;
use crate::state::desired::ImageSource;
use crate::state::observed::Instance;

/// Said of a service that is about to be taken over.
const AS_IT_IS: &str = "stays as Docker Compose made it";

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
        for slot in slots.values_mut().filter(|slot| stays(slot)) {
            if let Some((_, verdict)) = &mut slot.holder {
                let why = "made by Docker Compose; its port goes to the gateway";
                *verdict = Verdict::Changed(vec![why.to_owned()]);
            }
        }
    }
    false
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

/// Says what is taken over by this plan.
pub(super) fn draft(view: &View<'_>, draft: &mut Draft) {
    for one in &view.services {
        let holders = one.slots.values().filter_map(|slot| slot.holder.as_ref());
        let mut new = holders.filter(|(one, verdict)| verdict.stays() && !one.is_managed());
        if !one.in_scope || new.next().is_none() {
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
