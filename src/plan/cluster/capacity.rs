//! R = M / C on nodes.

use std::collections::BTreeMap;

use crate::capacity::demand;
use crate::capacity::demand::Load;
use crate::capacity::place;
use crate::capacity::ratio;
use crate::capacity::report::CapacityReport;
use crate::capacity::supply;
use crate::plan::input::PlanInput;
use crate::plan::scale::Count;
use crate::state::cluster::ClusterState;
use crate::state::desired::RolloutOrder;
use crate::state::desired::ServiceSpec;

/// The figures, and what is doubtful about them. Refused where declared demand does not fit
/// the sum of all nodes, or one replica of it no node; without a view of the nodes nothing
/// is.
pub(super) fn check(
    input: &PlanInput<'_>,
    cluster: &ClusterState,
    counts: &BTreeMap<String, Count>,
) -> (CapacityReport, Option<String>) {
    let loads: Vec<Load> = input
        .desired
        .services
        .values()
        .map(|service| load(service, counts))
        .collect();
    let policy = input.policy();
    let mut report = ratio::of_supply(supply::of_nodes(&cluster.nodes), &loads, policy);
    if cluster.nodes.is_empty() {
        report.refused = false;
        report.remedies.clear();
        let text = "capacity: nodes are not to be seen, so whether demand fits is not known";
        return (report, Some(text.to_owned()));
    }
    if report.refused {
        return (report, None);
    }
    match place::obstacle(&cluster.nodes, &loads, policy) {
        Some(obstacle) if obstacle.is_certain => {
            report.refused = true;
            report.misfit = Some(obstacle.text);
            (report, None)
        }
        obstacle => (report, obstacle.map(|it| it.text)),
    }
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
