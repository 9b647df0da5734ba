//! What a deploy makes of a file, and that it knows when there is nothing to do.

use serde_json::json;

use super::support::DEPLOYMENT;
use super::support::PODS;
use super::support::Stack;
use super::support::order;

#[test]
#[ignore = "needs a cluster"]
fn a_second_deploy_changes_nothing() {
    let stack = Stack::new(
        "again",
        &order("shop/order:1", "    ports: [\"8000:8000\"]\n"),
    );
    let first = stack.run(&["plan"]).ends(0);
    assert!(
        first
            .out
            .contains("+ apply Deployment order with 2 replicas: missing"),
        "{}",
        first.out
    );
    stack.run(&["plan", "--check"]).ends(3);
    stack.run(&["deploy"]).ends(0);
    let before = stack.api().get(DEPLOYMENT);
    stack.run(&["plan", "--check"]).ends(0);
    let again = stack.run(&["deploy"]).ends(0);
    assert!(again.err.contains("nothing to do"), "{}", again.err);
    assert_eq!(
        stack.api().get(DEPLOYMENT)["metadata"]["resourceVersion"],
        before["metadata"]["resourceVersion"]
    );
    let status = stack
        .run(&["status", "--check", "-o", "json"])
        .ends(0)
        .json();
    assert_eq!(status["backend"], "kubernetes");
    assert_eq!(status["converged"], true);
    assert_eq!(status["release"], 1);
    assert_eq!(
        status["services"][0]["replicas"],
        json!({ "desired": 2, "running": 2, "ready": 2 })
    );
}

#[test]
#[ignore = "needs a cluster"]
fn a_change_is_planned_by_what_the_server_would_make_of_it() {
    let stack = Stack::new(
        "change",
        &order("shop/order:1", "    environment: { TOKEN: hush }\n"),
    );
    stack.run(&["deploy"]).ends(0);
    stack.write(&order(
        "shop/order:2",
        "    environment: { TOKEN: louder }\n",
    ));
    let plan = stack.run(&["plan"]).ends(0);
    let line = "~ apply Deployment order with 2 replicas: environment changed (TOKEN), image shop/order:1 -> shop/order:2";
    assert!(plan.out.contains(line), "{}", plan.out);
    assert!(!plan.out.contains("louder"), "{}", plan.out);
    stack.run(&["deploy"]).ends(0);
    stack.run(&["plan", "--check"]).ends(0);
    let pods = stack.api().get(PODS);
    let images: Vec<&str> = pods["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap())
        .collect();
    assert_eq!(images, ["shop/order:2", "shop/order:2"]);
}

#[test]
#[ignore = "needs a cluster"]
fn services_come_in_the_order_of_their_needs() {
    let stack = Stack::new(
        "needs",
        &format!(
            "{}  db:
    image: shop/db:1
    healthcheck: {{ test: [CMD, ok] }}
    deploy: {{ update_config: {{ monitor: 0s }} }}
",
            order(
                "shop/order:1",
                "    depends_on: { db: { condition: service_healthy } }\n"
            )
        ),
    );
    let said = stack.run(&["deploy"]).ends(0);
    let at = |text: &str| {
        said.err
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {}", said.err))
    };
    assert!(at("apply Deployment db with 1 replicas: done") < at("order: apply Deployment order"));
}

#[test]
#[ignore = "needs a cluster"]
fn a_count_that_was_asked_for_holds_until_the_file_changes() {
    let stack = Stack::new("count", &order("shop/order:1", ""));
    stack.run(&["deploy"]).ends(0);
    stack.run(&["scale", "order=3"]).ends(0);
    let count = || stack.api().get(DEPLOYMENT)["spec"]["replicas"].as_u64();
    assert_eq!(count(), Some(3));
    stack.write(&order("shop/order:2", ""));
    stack.run(&["deploy"]).ends(0);
    assert_eq!(count(), Some(3));
    stack.write(&order("shop/order:2", "").replace("replicas: 2", "replicas: 1"));
    stack.run(&["deploy"]).ends(0);
    assert_eq!(count(), Some(1));
    stack.run(&["plan", "--check"]).ends(0);
}

#[test]
#[ignore = "needs a cluster"]
fn a_restart_replaces_all_pods_and_leaves_nothing_to_do() {
    let stack = Stack::new("restart", &order("shop/order:1", ""));
    stack.run(&["deploy"]).ends(0);
    let api = stack.api();
    let before = api.names(PODS);
    stack.run(&["restart", "order"]).ends(0);
    let after = api.names(PODS);
    assert!(
        before.iter().all(|pod| !after.contains(pod)),
        "{before:?} {after:?}"
    );
    stack.run(&["plan", "--check"]).ends(0);
}

#[test]
#[ignore = "needs a cluster"]
fn down_leaves_the_history_and_down_with_volumes_nothing() {
    let stack = Stack::new(
        "down",
        &order("shop/order:1", "    ports: [\"8000:8000\"]\n"),
    );
    stack.run(&["deploy"]).ends(0);
    stack.run(&["down"]).ends(0);
    let api = stack.api();
    assert!(api.names(PODS).is_empty());
    assert_eq!(
        api.names("/apis/networking.k8s.io/v1/namespaces/NS/networkpolicies"),
        [""; 0]
    );
    let history = stack.run(&["history", "-o", "json"]).ends(0).json();
    assert_eq!(history["releases"][0]["outcome"], "deployed");
    stack.run(&["deploy"]).ends(0);
    stack.run(&["down", "--volumes"]).ends(0);
    // The namespace may take a moment to end, and nobody waits for that but the next.
    stack.run(&["deploy"]).ends(0);
    let history = stack.run(&["history", "-o", "json"]).ends(0).json();
    assert_eq!(history["releases"].as_array().map(Vec::len), Some(1));
}

#[test]
#[ignore = "needs a cluster"]
fn what_left_the_file_goes_where_that_is_allowed() {
    let db = "  db:\n    image: shop/db:1\n    deploy: { update_config: { monitor: 0s } }\n";
    let stack = Stack::new("prune", &format!("{}{db}", order("shop/order:1", "")));
    stack.run(&["deploy"]).ends(0);
    stack.write(&order("shop/order:1", ""));
    let plan = stack.run(&["plan"]).ends(0);
    assert!(
        plan.out.contains("db: is no longer in the file"),
        "{}",
        plan.out
    );
    stack.run(&["deploy"]).ends(0);
    let deployments = "/apis/apps/v1/namespaces/NS/deployments";
    assert_eq!(stack.api().names(deployments), ["db", "order"]);
    stack.run(&["deploy", "--prune"]).ends(0);
    assert_eq!(stack.api().names(deployments), ["order"]);
    assert_eq!(
        stack.api().names("/api/v1/namespaces/NS/services"),
        ["order"]
    );
}

#[test]
#[ignore = "needs a cluster"]
fn a_file_that_names_its_backend_needs_no_flag() {
    let stack = Stack::new("file", &order("shop/order:1", ""));
    let path = stack.dir.path().join("stack.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("x-shop: {{ backend: kubernetes }}\n{text}")).unwrap();
    let mut plain = std::process::Command::new(env!("CARGO_BIN_EXE_shopctl"));
    plain
        .args(["deploy", "--progress", "plain"])
        .current_dir(stack.dir.path())
        .env("KUBECONFIG", crate::kubeconfig());
    super::support::said(plain.output().unwrap()).ends(0);
    assert!(stack.api().has(DEPLOYMENT));
}

/// What is made before an image has its name is no obstacle to a plan.
#[test]
#[ignore = "needs a cluster"]
fn an_image_that_has_no_name_yet_is_planned() {
    let build = "    build: { context: . }
    deploy: { update_config: { monitor: 0s } }
    x-shop: { build: { prepare: [[touch, made]], inputs: [stack.yaml] } }
";
    let stack = Stack::new("unnamed", &format!("  order:\n{build}"));
    std::fs::write(
        stack.dir.path().join("Dockerfile"),
        "FROM scratch\nCOPY made /\n",
    )
    .unwrap();
    let plan = stack.run(&["plan"]).ends(0);
    let line = "build image of order (tag known at deploy)";
    assert!(plan.out.contains(line), "{}", plan.out);
    assert!(
        !stack.dir.path().join("made").exists(),
        "a plan runs nothing"
    );
}
