//! Which services may change, and which after which.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::plan::action::StepId;
use crate::plan::draft::Draft;
use crate::plan::input::PlanInput;
use crate::plan::order;
use crate::state::cluster::ClusterState;
use crate::state::desired::Condition;

/// The steps in which the pods of a service change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    /// Which brings the first new pod.
    pub(super) first: StepId,
    /// After which none but new ones serve.
    pub(super) last: StepId,
}

impl Change {
    /// A change of one step.
    pub(super) fn of(step: StepId) -> Self {
        Self {
            first: step,
            last: step,
        }
    }
}

/// Names of the services that may change; `None` for all.
pub(super) fn scope(input: &PlanInput<'_>, cluster: &ClusterState) -> Option<BTreeSet<String>> {
    order::scope(input.desired, |name| {
        cluster.workload(name).is_some_and(|one| one.exists)
    })
}

/// Puts the changes of workloads in the order of their dependencies; on a way back those
/// that need others go first.
pub(super) fn chain(input: &PlanInput<'_>, draft: &mut Draft, changes: &BTreeMap<String, Change>) {
    for service in input.desired.services.values() {
        for need in &service.needs {
            let pair = (changes.get(&need.service), changes.get(&service.name));
            let (Some(needed), Some(dependent)) = pair else {
                continue;
            };
            if input.options.backwards {
                draft.need(needed.first, &[dependent.last]);
                continue;
            }
            match need.condition {
                Condition::Started => draft.after(dependent.first, &[needed.last]),
                Condition::Healthy | Condition::CompletedSuccessfully => {
                    draft.need(dependent.first, &[needed.last]);
                }
            }
        }
    }
}
