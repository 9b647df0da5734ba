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
    beside: &BTreeMap<String, u32>,
) -> (CapacityReport, Option<String>) {
    let loads: Vec<Load> = input
        .desired
        .services
        .values()
        .map(|service| {
            let more = beside.get(&service.name).copied().unwrap_or(0);
            let mut load = load(service, counts);
            load.surge = load.surge.saturating_add(more);
            load
        })
        .collect();
    let policy = input.policy();
    let mut report = ratio::of_supply(supply::of_nodes(&cluster.nodes), &loads, policy);
    report.nodes = ratio::of_nodes(&cluster.nodes);
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

/// Of services those of which so many pods more find room while they change. Nothing is
/// refused where nodes are not to be seen.
pub(super) fn fitting(
    input: &PlanInput<'_>,
    cluster: &ClusterState,
    counts: &BTreeMap<String, Count>,
    beside: &BTreeMap<String, u32>,
) -> BTreeMap<String, u32> {
    if cluster.nodes.is_empty() {
        return beside.clone();
    }
    let services = input.desired.services.values();
    let mut loads: Vec<Load> = services.map(|service| load(service, counts)).collect();
    let surges: Vec<u32> = loads.iter().map(|load| load.surge).collect();
    for load in &mut loads {
        load.surge = 0;
    }
    let policy = input.policy();
    let report = ratio::of_supply(supply::of_nodes(&cluster.nodes), &loads, policy);
    let mut fitting = BTreeMap::new();
    for (at, surge) in surges.into_iter().enumerate() {
        let name = loads[at].service.clone();
        let Some(more) = beside.get(&name) else {
            continue;
        };
        loads[at].surge = surge.saturating_add(*more);
        if ratio::surge_fits(&report, &loads, policy) {
            fitting.insert(name, *more);
        } else {
            loads[at].surge = 0;
        }
    }
    fitting
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
