//! Hooks as jobs. Pods of a pretended node never end by themselves: the tests say how.

use std::process::Child;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use super::support::DEPLOYMENT;
use super::support::PODS;
use super::support::Said;
use super::support::Stack;
use super::support::order;
use super::support::said;

const JOBS: &str = "/apis/batch/v1/namespaces/NS/jobs";

fn file(image: &str) -> String {
    let hooks = "    x-shop:
      hooks:
        pre_deploy: { command: [/order, migrate], timeout: 60s }
        post_deploy: { command: [/order, warm], timeout: 60s }
        on_rollback: { command: [/order, back], timeout: 60s }
    expose: [\"8000\"]
";
    order(image, hooks)
}

fn deploying(stack: &Stack) -> Child {
    let mut command = stack.command(&["deploy", "--lock-wait", "2m"]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn ended(child: Child) -> Said {
    said(child.wait_with_output().unwrap())
}

/// Waits for the pod of a hook that runs.
fn running(stack: &Stack, hook: &str) -> Value {
    let limit = Instant::now() + Duration::from_mins(1);
    loop {
        let pods = stack.api().get(PODS);
        let mut pods = pods["items"].as_array().unwrap().iter();
        let found = pods.find(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap();
            name.contains(hook) && pod["status"]["phase"] == "Running"
        });
        if let Some(found) = found {
            return found.clone();
        }
        assert!(Instant::now() < limit, "no pod of {hook} runs");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Lets the pod of a hook end so.
fn ends(stack: &Stack, hook: &str, phase: &str) {
    let pod = running(stack, hook);
    let name = pod["metadata"]["name"].as_str().unwrap();
    let code = i32::from(phase == "Failed");
    let container = pod["spec"]["containers"][0]["name"].clone();
    let state = json!({ "terminated": { "exitCode": code, "reason": phase } });
    let status = json!({ "status": {
        "phase": phase,
        "containerStatuses": [{ "name": container, "ready": false, "state": state }],
    } });
    stack.api().patch(&format!("{PODS}/{name}/status"), &status);
}

#[test]
#[ignore = "needs a cluster"]
fn hooks_run_once_around_a_new_revision() {
    let stack = Stack::new("hooks", &file("shop/order:1"));
    let child = deploying(&stack);
    let pod = running(&stack, "order-pre-deploy");
    assert!(!stack.api().has(DEPLOYMENT), "it comes before");
    assert_eq!(
        pod["spec"]["containers"][0]["command"],
        json!(["/order", "migrate"])
    );
    assert_eq!(
        pod["metadata"]["labels"]["app.kubernetes.io/name"],
        Value::Null
    );
    ends(&stack, "order-pre-deploy", "Succeeded");
    running(&stack, "order-post-deploy");
    let deployment = stack.api().get(DEPLOYMENT);
    assert_eq!(deployment["status"]["readyReplicas"], 2);
    ends(&stack, "order-post-deploy", "Succeeded");
    ended(child).ends(0);
    assert_eq!(stack.api().names(JOBS), [""; 0]);
    stack.run(&["plan", "--check"]).ends(0);
    let status = stack.run(&["status", "-o", "json"]).ends(0).json();
    assert_eq!(status["services"][0]["replicas"]["running"], 2);
    // Neither count nor restart is a new revision.
    stack.run(&["scale", "order=3"]).ends(0);
    stack.run(&["restart"]).ends(0);
    stack.run(&["plan", "--check"]).ends(0);
    stack.run(&["down"]).ends(0);
}

#[test]
#[ignore = "needs a cluster"]
fn a_hook_that_fails_leaves_what_serves_and_the_way_back_has_its_own() {
    let stack = Stack::new("hook-fails", &file("shop/order:1"));
    let child = deploying(&stack);
    ends(&stack, "order-pre-deploy", "Succeeded");
    ends(&stack, "order-post-deploy", "Succeeded");
    ended(child).ends(0);
    let before = stack.api().get(DEPLOYMENT);
    stack.write(&file("shop/order:2"));
    let child = deploying(&stack);
    ends(&stack, "order-pre-deploy", "Failed");
    ends(&stack, "order-on-rollback", "Succeeded");
    let failed = ended(child).ends(50);
    // The pod is named, since its words are the reason.
    let words = failed.err.lines().find(|line| line.starts_with("error:"));
    let words = words.unwrap_or_else(|| panic!("{}", failed.err));
    let pod = words.matches("order-pre-deploy-").count();
    assert!(pod >= 2, "{}", failed.err);
    let after = stack.api().get(DEPLOYMENT);
    assert_eq!(
        after["metadata"]["generation"],
        before["metadata"]["generation"]
    );
    assert_eq!(stack.api().names(JOBS), [""; 0]);
}

/// What was asked for serves, and is recorded so, whatever becomes of the hook after it.
#[test]
#[ignore = "needs a cluster"]
fn a_way_back_whose_hook_fails_has_gone_back() {
    let stack = Stack::new("hook-back", &file("shop/order:1"));
    for image in ["shop/order:1", "shop/order:2"] {
        stack.write(&file(image));
        let child = deploying(&stack);
        ends(&stack, "order-pre-deploy", "Succeeded");
        ends(&stack, "order-post-deploy", "Succeeded");
        ended(child).ends(0);
    }
    let mut command = stack.command(&["rollback"]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    ends(&stack, "order-on-rollback", "Failed");
    let failed = ended(child).ends(51);
    assert!(failed.err.contains("order-on-rollback-"), "{}", failed.err);
    stack.write(&file("shop/order:1"));
    let status = stack.run(&["status", "-o", "json"]).ends(0).json();
    assert_eq!(status["release"], 3, "{status}");
    assert!(status["deployment"].is_null(), "{status}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_hook_of_a_killed_run_runs_anew() {
    let stack = Stack::new("hook-killed", &file("shop/order:1"));
    let mut child = deploying(&stack);
    let first = running(&stack, "order-pre-deploy");
    child.kill().unwrap();
    child.wait().unwrap();
    let child = deploying(&stack);
    let uid = first["metadata"]["uid"].clone();
    let limit = Instant::now() + Duration::from_mins(2);
    while running(&stack, "order-pre-deploy")["metadata"]["uid"] == uid {
        assert!(Instant::now() < limit, "the first is still there");
        std::thread::sleep(Duration::from_millis(200));
    }
    ends(&stack, "order-pre-deploy", "Succeeded");
    ends(&stack, "order-post-deploy", "Succeeded");
    ended(child).ends(0);
    assert_eq!(stack.api().names(JOBS), [""; 0]);
}
