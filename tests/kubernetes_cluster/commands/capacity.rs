//! R = M / C on nodes.

use super::support::Stack;
use super::support::order;

#[test]
#[ignore = "needs a cluster"]
fn demand_that_the_nodes_do_not_have_is_refused_and_nothing_is_made() {
    let services = order("shop/order:1", "").replace(
        "replicas: 2,",
        "replicas: 2, resources: { reservations: { cpus: \"500\" } },",
    );
    let stack = Stack::new("much", &services);
    let refused = stack.run(&["deploy"]).ends(40);
    assert!(refused.err.contains('R'), "{}", refused.err);
    assert!(!stack.api().has(super::support::DEPLOYMENT));
}

#[test]
#[ignore = "needs a cluster"]
fn the_ratio_is_that_of_the_nodes() {
    let services = order("shop/order:1", "").replace(
        "replicas: 2,",
        "replicas: 2, resources: { reservations: { cpus: \"1\", memory: 1G } },",
    );
    let stack = Stack::new("ratio", &services);
    let found = stack.run(&["capacity", "-o", "json"]).ends(0).json();
    assert_eq!(found["cpu"]["demand"], 2.0);
    let capacity = found["cpu"]["capacity"].as_f64().unwrap();
    let ratio = found["cpu"]["ratio"].as_f64().unwrap();
    assert!((ratio - 2.0 / capacity).abs() < 0.01, "{found}");
}

#[test]
#[ignore = "needs a cluster"]
fn each_node_has_a_ratio_of_what_runs_on_it() {
    let services = order("shop/order:1", "").replace(
        "replicas: 2,",
        "replicas: 2, resources: { reservations: { cpus: \"1\", memory: 1G } },",
    );
    let stack = Stack::new("nodes", &services);
    let nodes = || {
        let found = stack.run(&["capacity", "-o", "json"]).ends(0).json();
        found["nodes"].as_array().expect("nodes").clone()
    };
    let sum = |nodes: &[serde_json::Value], what: &str| {
        nodes
            .iter()
            .filter_map(|node| node[what].as_f64())
            .sum::<f64>()
    };
    let before = nodes();
    assert!(!before.is_empty());
    assert!(sum(&before, "pods").abs() < 0.01, "{before:?}");
    stack.run(&["deploy"]).ends(0);
    let after = nodes();
    assert!((sum(&after, "pods") - 2.0).abs() < 0.01, "{after:?}");
    assert!((sum(&after, "cpu_demand") - 2.0).abs() < 0.01, "{after:?}");
    let fullest = &after[0];
    let (demand, capacity) = (
        fullest["cpu_demand"].as_f64().unwrap(),
        fullest["cpu_capacity"].as_f64().unwrap(),
    );
    let ratio = fullest["ratio"]["cpu"].as_f64().unwrap();
    assert!(
        ratio > 0.0 && (ratio - demand / capacity).abs() < 0.01,
        "{fullest}"
    );
    let shown = stack.run(&["capacity"]).ends(0);
    let name = fullest["name"].as_str().unwrap();
    assert!(
        shown.out.contains("NODE") && shown.out.contains(name),
        "{}",
        shown.out
    );
}
