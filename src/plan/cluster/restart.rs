//! The plan of a restart: the cluster replaces the pods of a workload, as it would for a
//! change.

use std::collections::BTreeMap;

use super::capacity;
use super::order;
use super::rolled_out;
use crate::plan::action::Action;
use crate::plan::action::Cause;
use crate::plan::action::Plan;
use crate::plan::draft::Draft;
use crate::plan::input::PlanInput;
use crate::plan::scale;
use crate::state::cluster::ClusterState;
use crate::state::digest;

/// Plans a rolling restart of the named services, or of all.
pub(super) fn plan(input: &PlanInput<'_>, cluster: &ClusterState) -> Plan {
    let desired = input.desired;
    let counts = scale::counts(input);
    let mut draft = Draft::default();
    let mut changes = BTreeMap::new();
    for service in desired.services.values() {
        let name = &service.name;
        let named = desired.only.is_empty() || desired.only.contains(name);
        if !named || service.one_off {
            continue;
        }
        let Some(workload) = cluster
            .workload(name)
            .filter(|one| one.exists && !one.foreign)
        else {
            draft.note(false, name, "has no workload to restart");
            continue;
        };
        let action = Action::RestartWorkload {
            object: workload.object.clone(),
        };
        let id = draft.step(name, action, Cause::Asked, &[]);
        let count = counts.get(name).map_or(service.replicas, |it| it.replicas);
        draft.gate(id, rolled_out(workload, service, count));
        changes.insert(name.clone(), order::Change::of(id));
    }
    order::chain(input, &mut draft, &changes);
    let (steps, notes) = draft.finish();
    Plan {
        stack: desired.stack.clone(),
        basis: digest::observed(input.observed),
        steps,
        capacity: capacity::check(input, cluster, &counts, &BTreeMap::new()).0,
        notes,
        ..Plan::default()
    }
}
