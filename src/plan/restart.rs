//! The plan of `restart`: the same containers, started anew, one by one.

use std::collections::BTreeMap;

use super::action::Cause;
use super::action::Plan;
use super::action::Refusal;
use super::deploy;
use super::doors::Gateways;
use super::draft::Draft;
use super::ground::Ground;
use super::held;
use super::input::PlanInput;
use super::rollout;
use super::service::Decision;
use super::stage::ServiceSteps;
use super::stage::Stage;
use super::view::ServiceView;
use super::view::View;
use crate::capacity::ratio;
use crate::state::digest;
use crate::state::observed::InstanceState;

/// Plans a rolling restart of the named services, or of all.
pub(super) fn plan(input: &PlanInput<'_>) -> Result<Plan, Refusal> {
    let view = View::new(*input);
    let obstacles: Vec<_> = view
        .services
        .iter()
        .filter(|one| is_named(input, one))
        .filter_map(|one| held::obstacle_of_restart(&view, one))
        .collect();
    if !obstacles.is_empty() {
        return Err(Refusal::Preflight(obstacles));
    }
    let observed = input.observed;
    let loads: Vec<_> = view.services.iter().map(|one| one.load(0)).collect();
    let capacity = ratio::check(&observed.engine, &observed.foreign, &loads, view.policy());
    let gateways = Gateways::running(&view);
    let mut stage = Stage::new(
        &view,
        Draft::default(),
        Ground::default(),
        gateways,
        BTreeMap::new(),
    );
    for one in &view.services {
        let mut steps = ServiceSteps::default();
        if is_named(input, one) {
            let waits = stage.waits(one);
            let decisions: Vec<(u32, Decision)> = one
                .slots
                .iter()
                .filter(|(_, slot)| {
                    slot.holder
                        .as_ref()
                        .is_some_and(|(found, _)| match found.state {
                            InstanceState::Created | InstanceState::Dead => false,
                            InstanceState::Running => true,
                            _ => !one.revision.one_off,
                        })
                })
                .map(|(slot, _)| (*slot, Decision::Restart(Cause::Asked)))
                .collect();
            if decisions.is_empty() {
                let text = "has no container to restart";
                stage.draft.note(false, &one.service.name, text);
            }
            rollout::restart(&mut stage, one, &decisions, &waits, &[], &mut steps);
        }
        stage.done.insert(one.service.name.clone(), steps);
    }
    let (steps, notes) = stage.draft.finish();
    Ok(Plan {
        stack: input.desired.stack.clone(),
        basis: digest::observed(observed),
        steps,
        capacity,
        lifecycles: deploy::lifecycles(input.desired),
        notes,
        ..Plan::default()
    })
}

fn is_named(input: &PlanInput<'_>, one: &ServiceView<'_>) -> bool {
    input.desired.only.is_empty() || input.desired.only.contains(&one.service.name)
}
