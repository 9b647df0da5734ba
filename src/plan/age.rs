//! What the engine at hand is too old for: named where the container does its work without
//! it, refused where it would be another container.

use super::action::Obstacle;
use super::draft::Draft;
use super::view::View;
use crate::state::since;
use crate::state::since::TooOld;

/// Names what is left out.
pub(super) fn note(view: &View<'_>, draft: &mut Draft) {
    for one in view.services.iter().filter(|one| one.in_scope) {
        let name = &one.service.name;
        let found = since::of_container(&one.service.container, minor(view));
        for old in found.iter().filter(|old| !old.refuses) {
            let text = format!("{} has no effect: {}", old.key, why(view, old));
            draft.note(true, name, text);
        }
        if view.has_vain_swap(one.service) {
            let text = "memswap_limit has no effect: the engine's kernel does not count swap";
            draft.note(true, name, text);
        }
    }
}

/// What must not be left out.
pub(super) fn obstacles(view: &View<'_>, found: &mut Vec<Obstacle>) {
    let minor = minor(view);
    for (key, spec) in &view.input.desired.networks {
        let there = spec.external || view.input.observed.networks.contains_key(&spec.name);
        for old in since::of_network(spec, minor).iter().filter(|_| !there) {
            found.push(obstacle(view, "", &format!("network {key}"), old));
        }
    }
    for one in view.services.iter().filter(|one| one.in_scope) {
        for old in since::of_container(&one.service.container, minor) {
            if old.refuses && one.creates() {
                let subject = format!("service {}", one.service.name);
                found.push(obstacle(view, &one.service.place, &subject, &old));
            }
        }
    }
}

fn obstacle(view: &View<'_>, place: &str, subject: &str, old: &TooOld) -> Obstacle {
    Obstacle {
        place: place.to_owned(),
        message: format!("{subject}: {} cannot be had: {}", old.key, why(view, old)),
        hint: "upgrade the engine, or remove the key".to_owned(),
    }
}

fn why(view: &View<'_>, old: &TooOld) -> String {
    let api = &view.input.observed.engine.api;
    format!(
        "the engine speaks API {api}, and API 1.{} is the first that has it",
        old.since
    )
}

fn minor(view: &View<'_>) -> u32 {
    since::minor(&view.input.observed.engine.api)
}
