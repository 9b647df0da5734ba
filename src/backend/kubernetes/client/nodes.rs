//! Nodes, and what pods ask of them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::quantity::scaled;
use crate::state::cluster;

/// The nodes that take pods, with what the stack's own pods and those of others ask of them.
pub(super) fn nodes(nodes: &[Node], own: &[Pod], others: &[Pod]) -> Vec<cluster::Node> {
    let mut all: BTreeMap<String, cluster::Node> = nodes
        .iter()
        .filter(|node| takes_pods(node))
        .map(node)
        .map(|node| (node.name.clone(), node))
        .collect();
    for (name, spec) in others.iter().filter_map(placed) {
        if let Some(node) = all.get_mut(name) {
            add(&mut node.foreign, spec);
        }
    }
    for (name, spec) in own.iter().filter_map(placed) {
        if let Some(node) = all.get_mut(name) {
            add(&mut node.own, spec);
        }
    }
    all.into_values().collect()
}

/// The node of a pod that has one and has not ended.
fn placed(pod: &Pod) -> Option<(&String, &PodSpec)> {
    let spec = pod.spec.as_ref()?;
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    let node = spec.node_name.as_ref().filter(|_| !ended)?;
    Some((node, spec))
}

fn add(asked: &mut cluster::Asked, spec: &PodSpec) {
    let (cpu, memory) = request(spec);
    asked.cpu_milli = asked.cpu_milli.saturating_add(cpu);
    asked.memory = asked.memory.saturating_add(memory);
    asked.pods += 1;
}

fn node(node: &Node) -> cluster::Node {
    let status = node.status.clone().unwrap_or_default();
    let allocatable = status.allocatable.unwrap_or_default();
    cluster::Node {
        name: node.metadata.name.clone().unwrap_or_default(),
        cpu_milli: amount(&allocatable, "cpu", 1000.0),
        memory: amount(&allocatable, "memory", 1.0),
        pods: amount(&allocatable, "pods", 1.0),
        labels: node.metadata.labels.clone().unwrap_or_default(),
        ..cluster::Node::default()
    }
}

/// Ready, not cordoned off, and without a taint that a pod of a shop would have to bear.
fn takes_pods(node: &Node) -> bool {
    let spec = node.spec.clone().unwrap_or_default();
    let mut taints = spec.taints.iter().flatten();
    let status = node.status.clone().unwrap_or_default();
    let mut conditions = status.conditions.iter().flatten();
    spec.unschedulable != Some(true)
        && !taints.any(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"))
        && conditions.any(|one| one.type_ == "Ready" && one.status == "True")
}

fn amount(of: &BTreeMap<String, Quantity>, name: &str, scale: f64) -> u64 {
    of.get(name)
        .map_or(0, |quantity| scaled(&quantity.0, scale))
}

/// What a pod asks for, by the scheduler's own formula: its containers together with those
/// that run beside them from the start, or the largest of those that run before, whichever
/// is more, and the overhead of its runtime.
/// Source: the Kubernetes documentation, "Sidecar containers: resource sharing".
fn request(spec: &PodSpec) -> (u64, u64) {
    let mut beside = (0, 0);
    let mut first = (0, 0);
    for one in spec.init_containers.iter().flatten() {
        let asks = of_container(one);
        if one.restart_policy.as_deref() == Some("Always") {
            beside = (beside.0 + asks.0, beside.1 + asks.1);
            first = (first.0.max(beside.0), first.1.max(beside.1));
        } else {
            first = (
                first.0.max(beside.0 + asks.0),
                first.1.max(beside.1 + asks.1),
            );
        }
    }
    let mut all = beside;
    for one in &spec.containers {
        let asks = of_container(one);
        all = (all.0 + asks.0, all.1 + asks.1);
    }
    let overhead = spec.overhead.clone().unwrap_or_default();
    (
        all.0.max(first.0) + amount(&overhead, "cpu", 1000.0),
        all.1.max(first.1) + amount(&overhead, "memory", 1.0),
    )
}

fn of_container(one: &Container) -> (u64, u64) {
    let resources = one.resources.clone().unwrap_or_default();
    let limits = resources.limits.unwrap_or_default();
    let requests = resources.requests.unwrap_or_default();
    // What is limited and asks for nothing asks for its limit.
    let ask = |name: &str, scale: f64| {
        let from = if requests.contains_key(name) {
            &requests
        } else {
            &limits
        };
        amount(from, name, scale)
    };
    (ask("cpu", 1000.0), ask("memory", 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_are_less_what_others_ask_of_them() {
        let node = |name: &str, more: serde_json::Value| -> Node {
            let mut node = json!({
                "metadata": { "name": name },
                "spec": {},
                "status": {
                    "allocatable": { "cpu": "3920m", "memory": "8Gi", "pods": "110" },
                    "conditions": [{ "type": "Ready", "status": "True" }],
                },
            });
            if let Some(more) = more.as_object() {
                for (key, value) in more {
                    node[key] = value.clone();
                }
            }
            serde_json::from_value(node).expect("a node")
        };
        let tainted = json!({ "spec": { "taints": [{ "key": "a", "effect": "NoSchedule" }] } });
        let pod = |phase: &str| -> Pod {
            serde_json::from_value(json!({
                "spec": {
                    "nodeName": "a",
                    "initContainers": [
                        { "name": "mesh", "restartPolicy": "Always",
                          "resources": { "requests": { "cpu": "100m" } } },
                        { "name": "first", "resources": { "requests": { "cpu": "1" } } },
                    ],
                    "containers": [
                        { "name": "one", "resources": { "requests": { "cpu": "0.25", "memory": "64Mi" } } },
                        { "name": "two", "resources": { "limits": { "cpu": "500m" } } },
                    ],
                },
                "status": { "phase": phase },
            }))
            .expect("a pod")
        };
        let found = nodes(
            &[
                node("a", json!({})),
                node("b", tainted),
                node("c", json!({ "status": {} })),
            ],
            &[pod("Running")],
            &[pod("Running"), pod("Pending"), pod("Succeeded")],
        );
        // The one that runs first, beside the mesh's, asks for most.
        let own = cluster::Asked {
            cpu_milli: 1100,
            memory: 64 << 20,
            pods: 1,
        };
        let expected = cluster::Node {
            name: "a".to_owned(),
            cpu_milli: 3920,
            memory: 8 << 30,
            pods: 110,
            foreign: cluster::Asked {
                cpu_milli: 2200,
                memory: 128 << 20,
                pods: 2,
            },
            own,
            ..cluster::Node::default()
        };
        assert_eq!(found, [expected]);
    }
}
