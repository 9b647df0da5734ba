//! R = M / C on nodes.

use crate::capacity::demand;
use crate::capacity::demand::Load;
use crate::capacity::ratio;
use crate::capacity::ratio::Policy;
use crate::capacity::report::CapacityReport;
use crate::capacity::supply;
use crate::plan::input::PlanInput;
use crate::plan::scale::Count;
use crate::state::cluster::ClusterState;
use crate::state::desired::RolloutOrder;
use crate::state::desired::ServiceSpec;
use std::collections::BTreeMap;

/// The figures; refused where declared demand does not fit. Without a view of the nodes
/// nothing is refused.
pub(super) fn check(
    input: &PlanInput<'_>,
    cluster: &ClusterState,
    counts: &BTreeMap<String, Count>,
) -> CapacityReport {
    let loads: Vec<Load> = input
        .desired
        .services
        .values()
        .map(|service| load(service, counts))
        .collect();
    let file = input.desired.cpu_overcommit_percent;
    let asked = input.options.cpu_overcommit_percent;
    let policy = Policy {
        strict: input.desired.strict_capacity,
        cpu_percent: asked.unwrap_or(if file == 0 { 100 } else { file }),
    };
    let mut report = ratio::of_supply(supply::of_nodes(&cluster.nodes), &loads, policy);
    if cluster.nodes.is_empty() {
        report.refused = false;
        report.remedies.clear();
    }
    report
}

fn load(service: &ServiceSpec, counts: &BTreeMap<String, Count>) -> Load {
    let replicas = counts
        .get(&service.name)
        .map_or(service.replicas, |count| count.replicas);
    Load {
        service: service.name.clone(),
        one: demand::of_one(&service.demand),
        replicas,
        surge: match service.rollout.order {
            RolloutOrder::StartFirst => service.rollout.parallelism.min(replicas),
            RolloutOrder::StopFirst => 0,
        },
    }
}
