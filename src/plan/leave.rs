//! What left the file: services and networks of ours go last, others are named.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::action::Action;
use super::action::Cause;
use super::action::StepId;
use super::inner;
use super::input::Prune;
use super::retire;
use super::stage::Stage;
use crate::state::observed::Instance;
use crate::state::observed::Role;
use crate::state::spec::ContainerSpec;

/// Removes services of ours that left the file where that is allowed, then names that lead
/// nowhere, then networks that nobody is left in. `deploy SERVICE…` removes nothing.
pub(super) fn draft(stage: &mut Stage<'_, '_>, listeners: Option<StepId>) {
    let whole = stage.view.input.desired.only.is_empty();
    if whole {
        services(stage, listeners);
    }
    inner::retire(stage);
    if whole {
        networks(stage, listeners);
    }
}

fn services(stage: &mut Stage<'_, '_>, listeners: Option<StepId>) {
    let view = stage.view;
    let desired = view.input.desired;
    let mut left: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for one in &view.input.observed.instances {
        if one.role == Role::Service && !desired.services.contains_key(&one.service) {
            left.entry(&one.service).or_default().push(one);
        }
    }
    let mut needs: Vec<StepId> = listeners.into_iter().collect();
    for steps in stage.done.values() {
        needs.extend(&steps.serving);
    }
    for (service, instances) in left {
        // A way back removes what was begun, and nothing that was there before.
        let back = matches!(view.input.options.prune, Prune::Only(_));
        let (ours, others): (Vec<&Instance>, Vec<&Instance>) = instances
            .into_iter()
            .partition(|one| one.ours || (one.is_managed() && !back));
        if !others.is_empty() {
            let names: Vec<&str> = others.iter().map(|one| one.name.as_str()).collect();
            let text = format!(
                "{} is no service of the file and was made by Docker Compose; it is left alone",
                names.join(", ")
            );
            stage.draft.note(false, service, text);
        }
        if !ours.is_empty() && !view.input.options.prune.covers(service) {
            let text = "is no longer in the file; shopctl deploy --prune removes it";
            stage.draft.note(false, service, text);
            continue;
        }
        let default = ContainerSpec::default();
        for one in ours {
            let silent = retire::silence(stage, &default, one, &Cause::NotInFile, &needs);
            retire::remove(stage, one, &Cause::NotInFile, &silent);
        }
    }
}

/// Removes networks of ours that the file does not know any more, if all
/// containers in them go or can leave.
fn networks(stage: &mut Stage<'_, '_>, listeners: Option<StepId>) {
    let view = stage.view;
    let (desired, observed) = (view.input.desired, view.input.observed);
    let wanted: BTreeSet<&str> = desired
        .networks
        .values()
        .map(|network| network.name.as_str())
        .collect();
    for (name, network) in &observed.networks {
        if !network.ours || !network.of_stack || wanted.contains(name.as_str()) {
            continue;
        }
        let inside: Vec<&Instance> = observed
            .instances
            .iter()
            .filter(|one| one.networks.contains(name))
            .collect();
        let mut needs: Vec<StepId> = listeners.into_iter().collect();
        let mut staying = Vec::new();
        let mut stuck = false;
        for one in inside {
            match stage.draft.removal_of(&one.name) {
                Some(step) => needs.push(step),
                None if one.role == Role::Gateway => staying.push(one),
                None => stuck = true,
            }
        }
        if stuck {
            continue;
        }
        let users = needs.clone();
        for gateway in staying {
            let action = Action::DisconnectNetwork {
                container: gateway.name.clone(),
                network: name.clone(),
            };
            needs.push(stage.draft.step("", action, Cause::NotInFile, &users));
        }
        let action = Action::RemoveNetwork { name: name.clone() };
        stage.draft.step("", action, Cause::NotInFile, &needs);
    }
}
