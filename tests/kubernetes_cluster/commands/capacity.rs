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
