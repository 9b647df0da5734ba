//! The plan of a deploy or scale: everything in its order.

use std::collections::BTreeMap;

use super::action::Action;
use super::action::Cause;
use super::action::Plan;
use super::action::Refusal;
use super::action::StepId;
use super::adopt;
use super::age;
use super::draft::Draft;
use super::gateway;
use super::ground::Ground;
use super::hooks;
use super::images;
use super::input::PlanInput;
use super::leave;
use super::listeners;
use super::pace;
use super::preflight;
use super::scale;
use super::service;
use super::stage::Stage;
use super::view::ServiceView;
use super::view::View;
use crate::capacity::ratio;
use crate::state::desired::DesiredState;
use crate::state::digest;
use crate::state::hooks::Lifecycle;

/// Plans the way from what is to what the file says.
pub(super) fn plan(input: &PlanInput<'_>) -> Result<Plan, Refusal> {
    let view = View::new(*input);
    let observed = input.observed;
    let mut draft = Draft::default();
    let mut loads = pace::loads(&view);
    let check =
        |loads: &[_]| ratio::check(&observed.engine, &observed.foreign, loads, view.policy());
    let paces = pace::fit(&view, &check(&loads), &mut loads, &mut draft);
    let capacity = check(&loads);
    age::note(&view, &mut draft);
    images::draft(&view, &mut draft);
    adopt::draft(&view, &mut draft);
    let ground = Ground::draft(&view, &mut draft);
    let gateways = gateway::draft(&view, &mut draft, &ground);
    let mut stage = Stage::new(&view, draft, ground, gateways, paces);
    record_scale(&mut stage);
    hooks::left_over(&mut stage);
    for one in &view.services {
        service::draft(&mut stage, one);
    }
    let reversed = std::mem::take(&mut stage.reversed);
    for (needed, dependent) in &reversed {
        stage.draft.put_after(needed, dependent);
    }
    let listeners = routes(&mut stage);
    leave::draft(&mut stage, listeners);
    hooks::draft(&mut stage, listeners);
    hooks::note_bound(&mut stage);
    let tolerances = stage.draft.take_tolerances();
    let (steps, mut notes) = stage.draft.finish();
    if !steps.is_empty() {
        let obstacles = preflight::check(&view);
        if !obstacles.is_empty() {
            return Err(Refusal::Preflight(obstacles));
        }
        if capacity.refused {
            return Err(Refusal::Capacity(Box::new(capacity)));
        }
    }
    notes.extend(super::report::capacity_notes(&capacity));
    Ok(Plan {
        stack: input.desired.stack.clone(),
        basis: digest::observed(observed),
        steps,
        tolerances,
        lifecycles: lifecycles(input.desired),
        taken_over: adopt::all(&view),
        capacity,
        notes,
    })
}

/// The commands inside replicas, by service.
pub(super) fn lifecycles(desired: &DesiredState) -> BTreeMap<String, Lifecycle> {
    let services = desired.services.values();
    services
        .filter(|service| !service.lifecycle.is_empty())
        .map(|service| (service.name.clone(), service.lifecycle.clone()))
        .collect()
}

fn record_scale(stage: &mut Stage<'_, '_>) {
    let services = stage.view.services.iter().filter(|one| one.in_scope);
    let overrides = scale::overrides(services.map(|one| (&one.service.name, &one.count)));
    if !overrides.is_empty() {
        let action = Action::RecordScale { overrides };
        // A record goes through whoever holds the store.
        let needs = stage.gateways.all();
        stage.draft.step("", action, Cause::Asked, &needs);
    }
}

/// The routes as the file has them; removes targets that lead nowhere.
fn routes(stage: &mut Stage<'_, '_>) -> Option<StepId> {
    let serving: BTreeMap<String, Vec<StepId>> = stage
        .done
        .iter()
        .map(|(name, steps)| (name.clone(), steps.serving.clone()))
        .collect();
    let (view, gateways) = (stage.view, &stage.gateways);
    let listeners = listeners::last(view, &mut stage.draft, gateways, &serving);
    if stage.gateways.exist {
        stale_targets(stage, listeners);
    }
    listeners
}

fn stale_targets(stage: &mut Stage<'_, '_>, listeners: Option<StepId>) {
    let view = stage.view;
    for (service, aliases) in &view.targets {
        let known = view
            .services
            .iter()
            .find(|one| one.service.name == *service);
        if known.is_some_and(|one| !one.in_scope) {
            continue;
        }
        for alias in aliases {
            let instances = &view.input.observed.instances;
            let exists = instances
                .iter()
                .any(|one| one.service == *service && one.alias == *alias);
            // What left the file is drained with its container.
            let stays = exists && known.is_none_or(ServiceView::routed);
            if stays || stage.untargeted.contains(alias) {
                continue;
            }
            let mut needs = stage.gateways.all();
            needs.extend(listeners);
            let action = Action::RemoveTarget {
                service: service.clone(),
                alias: alias.clone(),
                drain_ms: 0,
            };
            let cause = if exists {
                Cause::RoutesChanged
            } else {
                Cause::LeftOver
            };
            stage.draft.step(service, action, cause, &needs);
        }
    }
}
