//! The plan of a deploy or scale: everything in its order.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::action::Action;
use super::action::Cause;
use super::action::Plan;
use super::action::Refusal;
use super::action::StepId;
use super::draft::Draft;
use super::gateway;
use super::gateway::Gateways;
use super::ground::Ground;
use super::images;
use super::input::PlanInput;
use super::service::ServiceSteps;
use super::service::Stage;
use super::view::View;
use crate::capacity::demand;
use crate::capacity::demand::Load;
use crate::capacity::ratio;
use crate::capacity::ratio::Policy;
use crate::state::digest;

/// Plans the way from what is to what the file says.
pub(super) fn plan(input: &PlanInput<'_>) -> Result<Plan, Refusal> {
    let view = View::new(*input);
    let loads = loads(&view);
    let capacity = ratio::check(
        &input.observed.engine,
        &input.observed.foreign,
        &loads,
        policy(input),
    );
    let mut draft = Draft::default();
    images::draft(&view, &mut draft);
    let ground = Ground::draft(&view, &mut draft);
    let gateways = gateway::draft(&view, &mut draft, &ground);
    record_scale(&view, &mut draft, &gateways);
    let (done, untargeted) = services(&view, &mut draft, &ground, &gateways);
    let serving: BTreeMap<String, Vec<StepId>> = done
        .iter()
        .map(|(name, steps)| (name.clone(), steps.serving.clone()))
        .collect();
    let listeners = gateway::last_listeners(&view, &mut draft, &gateways, &serving);
    stale_targets(&view, &mut draft, &gateways, listeners, &untargeted);
    let (steps, notes) = draft.finish();
    if capacity.refused && !steps.is_empty() {
        return Err(Refusal::Capacity(Box::new(capacity)));
    }
    Ok(Plan {
        stack: input.desired.stack.clone(),
        basis: digest::observed(input.observed),
        steps,
        capacity,
        notes,
    })
}

fn policy(input: &PlanInput<'_>) -> Policy {
    let file = input.desired.cpu_overcommit_percent;
    Policy {
        strict: input.desired.strict_capacity,
        cpu_percent: input
            .options
            .cpu_overcommit_percent
            .unwrap_or(if file == 0 { 100 } else { file }),
    }
}

fn loads(view: &View<'_>) -> Vec<Load> {
    view.services
        .iter()
        .map(|one| Load {
            service: one.service.name.clone(),
            one: demand::of_one(&one.service.demand),
            replicas: one.count.replicas,
            surge: one.replacements().min(one.service.rollout.parallelism),
        })
        .collect()
}

fn services(
    view: &View<'_>,
    draft: &mut Draft,
    ground: &Ground,
    gateways: &Gateways,
) -> (BTreeMap<String, ServiceSteps>, BTreeSet<String>) {
    let names = view
        .input
        .observed
        .instances
        .iter()
        .map(|one| one.name.clone())
        .collect();
    let mut stage = Stage {
        view,
        draft,
        ground,
        gateways,
        done: BTreeMap::new(),
        untargeted: BTreeSet::new(),
        names,
    };
    for one in &view.services {
        stage.service(one);
    }
    (stage.done, stage.untargeted)
}

fn record_scale(view: &View<'_>, draft: &mut Draft, gateways: &Gateways) {
    let overrides: BTreeMap<_, _> = view
        .services
        .iter()
        .filter(|one| one.in_scope)
        .filter_map(|one| Some((one.service.name.clone(), one.count.record.clone()?)))
        .collect();
    if !overrides.is_empty() {
        let action = Action::RecordScale { overrides };
        draft.step("", action, Cause::Asked, &gateways.ready);
    }
}

/// Removes targets that lead nowhere: their container is gone, or no port leads to
/// their service any more.
fn stale_targets(
    view: &View<'_>,
    draft: &mut Draft,
    gateways: &Gateways,
    listeners: Option<StepId>,
    untargeted: &BTreeSet<String>,
) {
    if gateway::active_ports(view).is_empty() {
        // No gateway stays that could keep a target.
        return;
    }
    for (service, aliases) in &view.targets {
        let known = view
            .services
            .iter()
            .find(|one| one.service.name == *service);
        if known.is_some_and(|one| !one.in_scope) {
            continue;
        }
        for alias in aliases.iter().filter(|alias| !untargeted.contains(*alias)) {
            let exists = view
                .input
                .observed
                .instances
                .iter()
                .any(|one| one.service == *service && one.alias == *alias);
            if exists && known.is_some_and(|one| one.routed) {
                continue;
            }
            let mut needs = gateways.ready.clone();
            needs.extend(listeners);
            let action = Action::RemoveTarget {
                service: service.clone(),
                alias: alias.clone(),
                drain_ms: 0,
            };
            draft.step(service, action, Cause::LeftOver, &needs);
        }
    }
}
