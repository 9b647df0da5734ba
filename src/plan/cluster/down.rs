//! The plan of `down`: what shopctl made goes, dependents before what they need.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::plan::action::Action;
use crate::plan::action::Cause;
use crate::plan::action::Plan;
use crate::plan::action::StepId;
use crate::plan::draft::Draft;
use crate::plan::input::PlanInput;
use crate::plan::order;
use crate::state::cluster::ClusterState;
use crate::state::cluster::ObjectRef;
use crate::state::digest;

/// Plans the removal of a stack, or of the named services alone. Volumes, records and the
/// namespace go only where that was asked for.
pub(super) fn plan(input: &PlanInput<'_>, cluster: &ClusterState, volumes: bool) -> Plan {
    let desired = input.desired;
    let wanted = cluster
        .wanted
        .iter()
        .filter(|one| one.exists && !one.foreign);
    let wanted = wanted.map(|one| (one.service.as_str(), &one.object));
    let left = cluster.left.iter();
    let left = left.map(|one| (one.service.as_str(), &one.object));
    let named = |service: &str| desired.only.is_empty() || desired.only.contains(service);
    let there: Vec<(&str, &ObjectRef)> = wanted
        .chain(left)
        .filter(|(service, object)| named(service) && !is_kept(object))
        .collect();
    let mut draft = Draft::default();
    let mut gone: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
    let known = order::by_dependency(&desired.services);
    let unknown = there.iter().map(|(service, _)| *service);
    let unknown: BTreeSet<&str> = unknown
        .filter(|name| !name.is_empty() && !desired.services.contains_key(*name))
        .collect();
    let mut services: Vec<&str> = unknown.into_iter().collect();
    services.extend(known.into_iter().rev());
    let mut all = Vec::new();
    for name in services {
        let dependents = desired
            .services
            .values()
            .filter(|other| other.needs.iter().any(|need| need.service == name));
        let needs: Vec<StepId> = dependents
            .filter_map(|other| gone.get(other.name.as_str()))
            .flatten()
            .copied()
            .collect();
        let own = there.iter().filter(|(service, _)| *service == name);
        let (workloads, others): (Vec<&ObjectRef>, Vec<&ObjectRef>) = own
            .map(|(_, object)| *object)
            .partition(|object| object.is_workload());
        // What would make new pods goes first, what leads to them last.
        let mut last = needs;
        for object in workloads.into_iter().chain(others) {
            let step = draft.step(name, delete(object), Cause::Asked, &last);
            last = vec![step];
            gone.entry(name).or_default().push(step);
            all.push(step);
        }
    }
    if desired.only.is_empty() {
        let own = there.iter().filter(|(service, _)| service.is_empty());
        let own: Vec<StepId> = own
            .map(|(_, object)| draft.step("", delete(object), Cause::Asked, &all))
            .collect();
        all.extend(own);
        if volumes && cluster.exists {
            kept(cluster, &mut draft, &all);
        }
    }
    let (steps, notes) = draft.finish();
    Plan {
        stack: desired.stack.clone(),
        basis: digest::observed(input.observed),
        steps,
        notes,
        ..Plan::default()
    }
}

/// What `down` leaves where nobody asked for more.
fn is_kept(object: &ObjectRef) -> bool {
    matches!(object.kind.as_str(), "PersistentVolumeClaim" | "Namespace")
}

/// Volumes, and then the namespace with all that is left in it, the records among it.
fn kept(cluster: &ClusterState, draft: &mut Draft, gone: &[StepId]) {
    let wanted = cluster
        .wanted
        .iter()
        .filter(|one| one.exists && !one.foreign);
    let wanted = wanted.map(|one| &one.object);
    let all = wanted.chain(cluster.left.iter().map(|one| &one.object));
    let (namespaces, claims): (Vec<&ObjectRef>, Vec<&ObjectRef>) = all
        .filter(|object| is_kept(object))
        .partition(|object| object.kind == "Namespace");
    let mut needs = gone.to_vec();
    for object in claims {
        needs.push(draft.step("", delete(object), Cause::Asked, gone));
    }
    for object in namespaces {
        draft.step("", delete(object), Cause::Asked, &needs);
    }
}

fn delete(object: &ObjectRef) -> Action {
    Action::DeleteObject {
        object: object.clone(),
    }
}
