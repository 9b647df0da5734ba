//! The plan of `down`: what shopctl made goes, dependents before what they need.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::action::Action;
use super::action::Cause;
use super::action::Plan;
use super::action::StepId;
use super::deploy;
use super::draft::Draft;
use super::input::PlanInput;
use super::order;
use super::retire;
use crate::state::digest;
use crate::state::names;
use crate::state::observed::Instance;
use crate::state::observed::Role;

/// Plans the removal of a stack, or of the named services alone. Containers that
/// Docker Compose made and nobody took over are left alone, and so is what they use.
pub(super) fn plan(input: &PlanInput<'_>, volumes: bool) -> Plan {
    let (desired, observed) = (input.desired, input.observed);
    let mut draft = Draft::default();
    let whole = desired.only.is_empty();
    let mut gone: Vec<StepId> = Vec::new();
    let mut doors: Vec<StepId> = Vec::new();
    if whole {
        // The doors close first: a gateway lets its requests finish when it stops.
        for one in &observed.instances {
            // Probers and hooks are left over from a run that was killed.
            let helps = matches!(one.role, Role::Gateway | Role::Keeper | Role::Prober);
            if helps || matches!(one.role, Role::Task | Role::Run) {
                doors.push(retire(&mut draft, one, &[]));
            }
        }
    }
    let removed = services(input, &mut draft, &doors);
    gone.extend(&doors);
    gone.extend(&removed);
    if whole {
        for one in &observed.instances {
            if one.role == Role::Holder {
                gone.push(retire(&mut draft, one, &removed));
            }
        }
        networks(input, &mut draft, &gone);
        self::volumes(input, &mut draft, &gone, volumes);
    }
    let (steps, notes) = draft.finish();
    Plan {
        stack: desired.stack.clone(),
        basis: digest::observed(observed),
        steps,
        notes,
        lifecycles: deploy::lifecycles(desired),
        ..Plan::default()
    }
}

/// Each service after those that need it; services the file does not know first.
fn services(input: &PlanInput<'_>, draft: &mut Draft, doors: &[StepId]) -> Vec<StepId> {
    let (desired, observed) = (input.desired, input.observed);
    let mut removed: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
    let known: Vec<&str> = order::by_dependency(&desired.services);
    let unknown: BTreeSet<&str> = observed
        .instances
        .iter()
        .filter(|one| one.role == Role::Service)
        .map(|one| one.service.as_str())
        .filter(|name| !desired.services.contains_key(*name))
        .collect();
    for name in unknown.into_iter().chain(known.into_iter().rev()) {
        if !desired.only.is_empty() && !desired.only.contains(name) {
            continue;
        }
        let dependents = desired
            .services
            .values()
            .filter(|other| other.needs.iter().any(|need| need.service == name));
        let mut needs: Vec<StepId> = dependents
            .filter_map(|other| removed.get(other.name.as_str()))
            .flatten()
            .copied()
            .collect();
        if needs.is_empty() {
            needs.extend(doors);
        }
        let mut others = Vec::new();
        for one in &observed.instances {
            if one.role != Role::Service || one.service != name {
                continue;
            }
            if one.is_managed() {
                let step = retire(draft, one, &needs);
                removed.entry(name).or_default().push(step);
            } else {
                others.push(one.name.as_str());
            }
        }
        if !others.is_empty() {
            let text = format!("{} was made by Docker Compose and stays", others.join(", "));
            draft.note(false, name, text);
        }
    }
    removed.into_values().flatten().collect()
}

/// Networks of the stack, also those that Docker Compose made before the stack was
/// adopted, unless something of its own is still in them.
fn networks(input: &PlanInput<'_>, draft: &mut Draft, gone: &[StepId]) {
    let (desired, observed) = (input.desired, input.observed);
    let external: BTreeSet<&str> = desired
        .networks
        .values()
        .filter(|spec| spec.external)
        .map(|spec| spec.name.as_str())
        .collect();
    for (name, network) in &observed.networks {
        let used = observed
            .instances
            .iter()
            .any(|one| !one.is_managed() && one.networks.contains(name));
        let stuck = input.options.learned.stuck.contains(name);
        if network.of_stack && !used && !stuck && !external.contains(name.as_str()) {
            let action = Action::RemoveNetwork { name: name.clone() };
            draft.step("", action, Cause::Asked, gone);
        }
    }
}

/// Seeded files go always, named volumes and the store only when asked.
fn volumes(input: &PlanInput<'_>, draft: &mut Draft, gone: &[StepId], all: bool) {
    let (desired, observed) = (input.desired, input.observed);
    let seeded = names::files_prefix(&desired.stack);
    let external: BTreeSet<&str> = desired
        .volumes
        .values()
        .filter(|spec| spec.external)
        .map(|spec| spec.name.as_str())
        .collect();
    for (name, volume) in &observed.volumes {
        let used = observed
            .instances
            .iter()
            .any(|one| !one.is_managed() && one.volumes.contains(name));
        let ours = volume.of_stack && !external.contains(name.as_str()) && !used;
        if ours && (all || name.starts_with(&seeded)) {
            let action = Action::RemoveVolume { name: name.clone() };
            draft.step("", action, Cause::Asked, gone);
        }
    }
}

fn retire(draft: &mut Draft, one: &Instance, needs: &[StepId]) -> StepId {
    let at = |draft: &mut Draft, action: Action, needs: &[StepId]| match one.role {
        Role::Service => draft.replica((&one.service, one.slot), action, Cause::Asked, needs),
        _ => draft.step("", action, Cause::Asked, needs),
    };
    let container = one.name.clone();
    let mut needs = needs.to_vec();
    if retire::runs(one) {
        let action = Action::StopContainer {
            container: container.clone(),
            grace_secs: None,
        };
        needs = vec![at(draft, action, &needs)];
    }
    at(draft, Action::RemoveContainer { container }, &needs)
}
