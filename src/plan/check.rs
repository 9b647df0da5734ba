//! Whether a plan is safe, judged from the plan and the look it was made for.
//!
//! [`structure`] holds for every plan. [`protection`] plays an adversary: whatever
//! the order in which steps that may run do run, a service whose replicas are
//! replaced start-first keeps answering with as many as it had (at most as many as
//! are wanted), and never runs more than the wanted count and its batch. Used by
//! tests, and by a debug assertion in the planner.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::action::Action;
use super::action::Plan;
use super::action::Step;
use super::action::StepId;
use crate::state::change;
use crate::state::observed::Instance;
use crate::state::observed::ObservedState;
use crate::state::observed::Role;

/// What is promised for one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promise {
    /// Replicas that answer at every moment.
    pub least: usize,
    /// Containers that run at any moment.
    pub most: usize,
    /// Published through the gateway.
    pub routed: bool,
}

/// Whether a container has to be stopped before it is removed.
pub fn runs(found: &Instance) -> bool {
    super::retire::runs(found)
}

/// Faults in the shape of a plan; empty for a good one.
pub fn structure(plan: &Plan) -> Vec<String> {
    let mut faults = Vec::new();
    let images: BTreeSet<StepId> = plan
        .steps
        .iter()
        .filter(|step| is_image(step))
        .map(|step| step.id)
        .collect();
    let before = closures(plan);
    for (index, step) in plan.steps.iter().enumerate() {
        if usize::try_from(step.id) != Ok(index + 1) {
            faults.push(format!("step {} stands at place {}", step.id, index + 1));
        }
        for need in step.needs.iter().chain(&step.after) {
            if *need >= step.id {
                faults.push(format!("step {} needs {need}, which is later", step.id));
            }
        }
        let known = before.get(&step.id).cloned().unwrap_or_default();
        if !is_image(step) && !images.is_subset(&known) {
            faults.push(format!("step {} does not wait for all images", step.id));
        }
        faults.extend(order(plan, step, &known));
    }
    faults
}

/// Moments at which a promise is broken, whatever the order of what may run.
pub fn protection(
    plan: &Plan,
    observed: &ObservedState,
    promises: &BTreeMap<String, Promise>,
) -> Vec<String> {
    let before = closures(plan);
    let mut faults = Vec::new();
    for (service, promise) in promises {
        let mut starts: Vec<Option<&Step>> = vec![None];
        starts.extend(plan.steps.iter().map(Some));
        for start in starts {
            let done = start.map_or_else(BTreeSet::new, |step| {
                let mut done = before.get(&step.id).cloned().unwrap_or_default();
                done.insert(step.id);
                done
            });
            let least = spread(plan, done.clone(), |step| !helps(step, service, promise));
            let serving = serving(plan, observed, service, promise, &least);
            if serving < promise.least {
                faults.push(format!(
                    "{service}: {serving} of {} answer once steps {least:?} are done",
                    promise.least
                ));
                break;
            }
            let most = spread(plan, done, |step| !stops(step, service));
            let running = running(plan, observed, service, &most);
            if running > promise.most {
                faults.push(format!(
                    "{service}: {running} run where {} may, once steps {most:?} are done",
                    promise.most
                ));
                break;
            }
        }
    }
    faults
}

/// Order of the steps about one container.
fn order(plan: &Plan, step: &Step, known: &BTreeSet<StepId>) -> Vec<String> {
    let earlier = |wanted: &dyn Fn(&Action) -> bool| {
        plan.steps
            .iter()
            .filter(|other| other.id < step.id && wanted(&other.action))
            .any(|other| !known.contains(&other.id))
    };
    let fault = |what: &str| vec![format!("step {} does not wait for {what}", step.id)];
    match &step.action {
        Action::StartContainer { container } | Action::StopContainer { container, .. } => {
            let name = container.clone();
            if earlier(
                &|action| matches!(action, Action::CreateInstance { instance } if instance.name == name),
            ) {
                return fault("the creation");
            }
        }
        Action::RemoveContainer { container } => {
            let name = container.clone();
            if earlier(
                &|action| matches!(action, Action::StopContainer { container, .. } if *container == name),
            ) {
                return fault("the stop");
            }
        }
        Action::AddTarget { alias, .. } => {
            let container = plan.steps.iter().find_map(|other| match &other.action {
                Action::CreateInstance { instance } if instance.alias == *alias => {
                    Some(instance.name.clone())
                }
                _ => None,
            });
            if let Some(name) = container
                && earlier(
                    &|action| matches!(action, Action::StartContainer { container } if *container == name),
                )
            {
                return fault("the start");
            }
        }
        _ => {}
    }
    Vec::new()
}

/// Everything that is done before each step.
fn closures(plan: &Plan) -> BTreeMap<StepId, BTreeSet<StepId>> {
    let mut all: BTreeMap<StepId, BTreeSet<StepId>> = BTreeMap::new();
    for step in &plan.steps {
        let mut known = BTreeSet::new();
        for need in step.needs.iter().chain(&step.after) {
            known.insert(*need);
            known.extend(all.get(need).into_iter().flatten());
        }
        all.insert(step.id, known);
    }
    all
}

/// Adds every step that may run by then and is of the adversary's kind.
fn spread(
    plan: &Plan,
    mut done: BTreeSet<StepId>,
    kind: impl Fn(&Step) -> bool,
) -> BTreeSet<StepId> {
    for step in &plan.steps {
        let free = step
            .needs
            .iter()
            .chain(&step.after)
            .all(|need| done.contains(need));
        if free && kind(step) {
            done.insert(step.id);
        }
    }
    done
}

/// Steps after which more replicas of the service answer.
fn helps(step: &Step, service: &str, promise: &Promise) -> bool {
    step.service == service
        && match &step.action {
            Action::AddTarget { .. } => promise.routed,
            Action::StartContainer { .. } | Action::RestartContainer { .. } => !promise.routed,
            _ => false,
        }
}

fn stops(step: &Step, service: &str) -> bool {
    step.service == service
        && matches!(
            step.action,
            Action::StopContainer { .. } | Action::RemoveContainer { .. }
        )
}

fn serving(
    plan: &Plan,
    observed: &ObservedState,
    service: &str,
    promise: &Promise,
    done: &BTreeSet<StepId>,
) -> usize {
    let routes = observed
        .store
        .as_ref()
        .and_then(|store| store.routes.as_ref());
    let is_target = |one: &Instance| {
        routes
            .and_then(|routes| routes.targets.get(service))
            .is_some_and(|targets| targets.contains(&one.alias))
    };
    // By alias where routed, else by container name.
    let key = |one: &Instance| {
        if promise.routed {
            one.alias.clone()
        } else {
            one.name.clone()
        }
    };
    let mut answering: BTreeSet<String> = instances(observed, service)
        .filter(|one| change::serves(one) && (!promise.routed || is_target(one)))
        .map(key)
        .collect();
    for step in plan.steps.iter().filter(|step| done.contains(&step.id)) {
        if step.service != service {
            continue;
        }
        match &step.action {
            Action::AddTarget { alias, .. } if promise.routed => {
                answering.insert(alias.clone());
            }
            Action::RemoveTarget { alias, .. } if promise.routed => {
                answering.remove(alias);
            }
            Action::StartContainer { container } | Action::RestartContainer { container }
                if !promise.routed =>
            {
                answering.insert(container.clone());
            }
            Action::StopContainer { container, .. } | Action::RemoveContainer { container } => {
                answering.remove(container);
                let alias = instances(observed, service)
                    .find(|one| one.name == *container)
                    .map(|one| one.alias.clone());
                answering.remove(&alias.unwrap_or_default());
            }
            _ => {}
        }
    }
    answering.len()
}

fn running(plan: &Plan, observed: &ObservedState, service: &str, done: &BTreeSet<StepId>) -> usize {
    let mut up: BTreeSet<&str> = instances(observed, service)
        .filter(|one| runs(one))
        .map(|one| one.name.as_str())
        .collect();
    for step in plan.steps.iter().filter(|step| done.contains(&step.id)) {
        if step.service != service {
            continue;
        }
        match &step.action {
            Action::StartContainer { container } | Action::RestartContainer { container } => {
                up.insert(container);
            }
            Action::StopContainer { container, .. } | Action::RemoveContainer { container } => {
                up.remove(container.as_str());
            }
            _ => {}
        }
    }
    up.len()
}

fn instances<'o>(observed: &'o ObservedState, service: &str) -> impl Iterator<Item = &'o Instance> {
    observed
        .instances
        .iter()
        .filter(move |one| one.role == Role::Service && one.service == service)
}

fn is_image(step: &Step) -> bool {
    matches!(
        step.action,
        Action::BuildImage { .. } | Action::PullImage { .. }
    )
}
