//! What others do on the same cluster, and what they may.

use serde_json::json;

use super::support::DEPLOYMENT;
use super::support::PODS;
use super::support::Stack;
use super::support::order;
use super::support::said;

#[test]
#[ignore = "needs a cluster"]
fn what_somebody_changed_by_hand_comes_back_and_what_they_added_stays() {
    let stack = Stack::new(
        "hand",
        &order("shop/order:1", "    environment: { A: b }\n"),
    );
    stack.run(&["deploy"]).ends(0);
    let api = stack.api();
    let change = json!({
        "metadata": { "annotations": { "team": "blue" } },
        "spec": { "replicas": 1, "template": { "spec": { "containers": [
            { "name": "order", "image": "shop/other:9" },
        ] } } },
    });
    api.patch(DEPLOYMENT, &change);
    let plan = stack.run(&["plan", "--check"]).ends(3);
    assert!(
        plan.out.contains("image shop/other:9 -> shop/order:1"),
        "{}",
        plan.out
    );
    assert!(plan.out.contains("replicas 1 -> 2"), "{}", plan.out);
    stack.run(&["deploy"]).ends(0);
    let found = api.get(DEPLOYMENT);
    assert_eq!(
        found["spec"]["template"]["spec"]["containers"][0]["image"],
        "shop/order:1"
    );
    assert_eq!(found["spec"]["replicas"], 2);
    assert_eq!(found["metadata"]["annotations"]["team"], "blue");
    stack.run(&["plan", "--check"]).ends(0);
}

#[test]
#[ignore = "needs a cluster"]
fn what_belongs_to_somebody_else_is_neither_changed_nor_removed() {
    let stack = Stack::new("foreign", &order("shop/order:1", ""));
    let api = stack.api();
    api.create(
        "/api/v1/namespaces",
        &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": stack.name } }),
    );
    let container = json!({ "name": "order", "image": "theirs:1" });
    api.create(
        "/apis/apps/v1/namespaces/NS/deployments",
        &json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "order" },
            "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": {
                "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [container] } } } }),
    );
    let refused = stack.run(&["deploy"]).ends(41);
    assert!(
        refused
            .err
            .contains("Deployment order is there and belongs to somebody else"),
        "{}",
        refused.err
    );
    stack.run(&["down", "--volumes"]).ends(0);
    let space = api.get("/api/v1/namespaces/NS");
    assert!(space["metadata"]["deletionTimestamp"].is_null(), "{space}");
    assert!(
        space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].is_null(),
        "{space}"
    );
    let found = api.get(DEPLOYMENT);
    assert_eq!(
        found["spec"]["template"]["spec"]["containers"][0]["image"],
        "theirs:1"
    );
    assert!(found["metadata"]["deletionTimestamp"].is_null());
}

#[test]
#[ignore = "needs a cluster"]
fn a_namespace_that_was_given_out_is_used_and_stays() {
    let stack = Stack::new("given", &order("shop/order:1", ""));
    let api = stack.api();
    api.create(
        "/api/v1/namespaces",
        &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": stack.name } }),
    );
    stack.run(&["deploy"]).ends(0);
    stack.run(&["plan", "--check"]).ends(0);
    stack.run(&["down", "--volumes"]).ends(0);
    assert!(!api.has(DEPLOYMENT));
    let space = api.get("/api/v1/namespaces/NS");
    assert!(space["metadata"]["deletionTimestamp"].is_null(), "{space}");
}

#[test]
#[ignore = "needs a cluster"]
fn another_kind_of_workload_takes_the_place_of_the_one_before() {
    let stack = Stack::new("kind", &order("shop/order:1", ""));
    stack.run(&["deploy"]).ends(0);
    stack.write(&order("shop/order:1", "    x-shop: { class: stateful }\n"));
    let said = stack.run(&["deploy"]).ends(0);
    let at = |text: &str| {
        said.err
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {}", said.err))
    };
    let deleted = at("delete Deployment order: done");
    assert!(
        deleted < at("order: apply StatefulSet order"),
        "{}",
        said.err
    );
    assert!(!stack.api().has(DEPLOYMENT));
    stack.run(&["plan", "--check"]).ends(0);
}

#[test]
#[ignore = "needs a cluster"]
fn a_workload_that_is_on_its_way_out_is_waited_for_and_made_anew() {
    let stack = Stack::new("leaving", &order("shop/order:1", ""));
    stack.run(&["deploy"]).ends(0);
    let api = stack.api();
    let kept = serde_json::json!({ "metadata": { "finalizers": ["example.com/keeps"] } });
    api.patch(DEPLOYMENT, &kept);
    let before = api.get(DEPLOYMENT);
    api.delete(DEPLOYMENT);
    stack.write(&order("shop/order:2", ""));
    let mut deploy = stack.command(&["deploy"]);
    let deploy = deploy.stderr(std::process::Stdio::piped()).spawn().unwrap();
    // It takes what it is told while it goes.
    let image = |live: &serde_json::Value| {
        live["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while image(&api.get(DEPLOYMENT)) != "shop/order:2" {
        assert!(std::time::Instant::now() < limit, "it is applied");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let free = serde_json::json!({ "metadata": { "finalizers": null } });
    api.patch(DEPLOYMENT, &free);
    super::support::said(deploy.wait_with_output().unwrap()).ends(0);
    let after = api.get(DEPLOYMENT);
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    stack.run(&["plan", "--check"]).ends(0);
}

#[test]
#[ignore = "needs a cluster"]
fn who_may_not_is_told_what_is_missing() {
    let stack = Stack::new("viewer", &order("shop/order:1", ""));
    let refused = stack.run_as_viewer(&["deploy"]).ends(41);
    for words in ["cannot", "viewer", stack.name.as_str()] {
        assert!(refused.err.contains(words), "{words}: {}", refused.err);
    }
}

#[test]
#[ignore = "needs a cluster"]
fn two_deploys_do_not_meet() {
    let slow = order(
        "shop/order:1",
        "    annotations: { fake/ready-delay: \"3\" }\n",
    );
    let stack = Stack::new("two", &slow);
    let mut first = stack.command(&["deploy"]);
    let mut first = first.spawn().unwrap();
    let api = stack.api();
    let lease = "/apis/coordination.k8s.io/v1/namespaces/NS/leases/shopctl";
    while !api.has(lease) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    stack.run(&["deploy"]).ends(60);
    let waits = stack.run(&["deploy", "--lock-wait", "1m"]).ends(0);
    assert!(waits.err.contains("nothing to do"), "{}", waits.err);
    assert!(first.wait().unwrap().success());
    assert_eq!(api.names(PODS).len(), 2);
}

#[test]
#[ignore = "needs a cluster"]
fn a_cluster_that_is_not_there_is_told_with_the_way_to_mend_it() {
    let stack = Stack::new("away", &order("shop/order:1", ""));
    let run = |args: &[&str], kubeconfig: &str| {
        let mut command = stack.command(args);
        said(command.env("KUBECONFIG", kubeconfig).output().unwrap()).ends(30)
    };
    let missing = run(&["plan"], "/nowhere/kubeconfig");
    assert!(
        missing.err.contains("/nowhere/kubeconfig is not there"),
        "{}",
        missing.err
    );
    let known = crate::kubeconfig().display().to_string();
    let unknown = run(&["plan", "--context", "elsewhere"], &known);
    assert!(unknown.err.contains("elsewhere"), "{}", unknown.err);
    let text = std::fs::read_to_string(&known).unwrap();
    let away = stack.dir.path().join("kubeconfig");
    // Nobody listens on port 1.
    let at = text.find("https://").unwrap();
    let end = at + text[at..].find('"').unwrap();
    std::fs::write(
        &away,
        format!("{}https://127.0.0.1:1{}", &text[..at], &text[end..]),
    )
    .unwrap();
    let silent = run(&["deploy"], away.to_str().unwrap());
    for words in ["cannot reach https://127.0.0.1:1", "hint: check KUBECONFIG"] {
        assert!(silent.err.contains(words), "{words}: {}", silent.err);
    }
}
