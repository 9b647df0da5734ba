//! Plans for a cluster, which replaces, probes and routes to replicas by itself: the steps
//! are coarse, one per object, and what is left to decide is their order.
//!
//! The same goals, causes, counts and capacity as on an engine.

mod capacity;
mod deploy;
mod down;
mod hooks;
mod order;
mod restart;
mod staged;
#[cfg(test)]
mod tests;

use super::action::Action;
use super::action::Gate;
use super::action::Plan;
use super::action::Refusal;
use super::input::Goal;
use super::input::PlanInput;
use crate::state::cluster::ClusterState;
use crate::state::cluster::Wanted;
use crate::state::desired::ServiceSpec;

/// A rollout that gets no further for so long has failed, in milliseconds.
const STALLED_MS: u64 = 60_000;

/// Decides everything.
pub(super) fn plan(input: &PlanInput<'_>, cluster: &ClusterState) -> Result<Plan, Refusal> {
    match input.options.goal {
        Goal::Deploy => deploy::plan(input, cluster),
        Goal::Restart => Ok(restart::plan(input, cluster)),
        Goal::Down { volumes } => Ok(down::plan(input, cluster, volumes)),
    }
}

/// The counts that something else decides on, as they are now. Capacity is judged by those
/// of the file all the same: what grew by itself must not keep a deploy from going on.
pub(super) fn autoscaled(cluster: &ClusterState) -> impl Iterator<Item = (String, u32)> {
    let workloads = cluster.wanted.iter().filter(|one| {
        let kind = one.object.kind.as_str();
        matches!(kind, "Deployment" | "StatefulSet") && one.manifest.replicas().is_none()
    });
    workloads.filter_map(|one| Some((one.service.clone(), one.pods.as_ref()?.replicas?)))
}

/// Sends an object.
fn apply(wanted: &Wanted, count: Option<u32>) -> Action {
    // Where something else decides on the count, none is sent.
    let replicas = count.filter(|_| wanted.manifest.replicas().is_some());
    Action::ApplyObject {
        object: wanted.object.clone(),
        manifest: match replicas {
            Some(count) => wanted.manifest.with_replicas(count),
            None => wanted.manifest.clone(),
        },
        digest: wanted.digest.clone(),
        replicas,
    }
}

/// The gate of a workload. Replicas are replaced batch by batch, and each batch has its
/// time.
fn rolled_out(workload: &Wanted, service: &ServiceSpec, replicas: u32) -> Gate {
    let there = workload.pods.as_ref().map_or(0, |pods| pods.all);
    let replicas = replicas.max(there);
    let batch = match service.rollout.parallelism {
        // One after another, whatever the file says.
        _ if workload.object.kind == "StatefulSet" => 1,
        0 => replicas.max(1),
        some => some,
    };
    let batches = u64::from(replicas.max(1).div_ceil(batch));
    let grace = service.container.stop_grace_secs.unwrap_or_default();
    let grace = u64::try_from(grace).unwrap_or(0).saturating_mul(1000);
    let one = service.ready.deadline_ms().unwrap_or_default() + service.rollout.monitor_ms;
    let one = one.saturating_add(grace);
    Gate::RolledOut {
        object: workload.object.clone(),
        deadline_ms: one.saturating_add(STALLED_MS).saturating_mul(batches),
        watch_ms: 0,
    }
}
