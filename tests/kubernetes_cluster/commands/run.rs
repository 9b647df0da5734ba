//! Commands in pods of their own. Where nodes are pretended nothing runs in them, and nobody
//! can be attached: what is made, what becomes of it, and what is said when nothing comes of
//! it. The rest is proved by `tests/kubernetes_pods`.

use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use super::support::PODS;
use super::support::Server;
use super::support::Stack;
use super::support::order;
use super::support::said;

/// Names of the pods that commands have, as long as these are not on their way out.
fn commands(api: &Server) -> Vec<String> {
    api.names(&format!("{PODS}?labelSelector=shopctl.dev/run-of"))
}

/// Waits for what a test needs to go on.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs a cluster"]
fn a_command_has_a_pod_that_is_none_of_the_services() {
    let file = order(
        "shop/order:1",
        "    environment: { A: b }\n    expose: [\"8000\"]\n    configs: [page]\nconfigs: { page: { content: hello } }\n",
    );
    let stack = Stack::new("run", &file);
    let early = stack.run(&["run", "-d", "order"]).ends(125);
    let name = &stack.name;
    assert_eq!(
        early.err,
        format!("error: namespace {name} does not exist\nhint: shopctl deploy\n")
    );
    stack.run(&["deploy"]).ends(0);
    // What the file says since is not what was deployed.
    stack.write(&file.replace("A: b", "A: c"));
    let asked = "run -d -e MORE=much -u 1234 -w /tmp --entrypoint /bin/tool order -- migrate now";
    let made = stack.run(&asked.split(' ').collect::<Vec<_>>()).ends(0);
    stack.write(&file);
    let pod = made.out.trim();
    assert!(pod.starts_with("order-run-"), "{pod}");
    let api = stack.api();
    assert_eq!(commands(&api), [pod]);
    let found = api.get(&format!("{PODS}/{pod}"));
    let labels = json!({ "app.kubernetes.io/managed-by": "shopctl",
        "app.kubernetes.io/part-of": name, "network.shopctl.dev/default": "true",
        "shopctl.dev/run-of": "order" });
    assert_eq!(found["metadata"]["labels"], labels);
    let container = &found["spec"]["containers"][0];
    assert_eq!(container["image"], "shop/order:1");
    assert_eq!(container["command"], json!(["/bin/tool"]));
    assert_eq!(container["args"], json!(["migrate", "now"]));
    assert_eq!(container["workingDir"], "/tmp");
    let variables = json!([{ "name": "A", "value": "b" }, { "name": "MORE", "value": "much" }]);
    assert_eq!(container["env"], variables);
    assert_eq!(found["spec"]["securityContext"]["runAsUser"], 1234);
    assert_eq!(found["spec"]["restartPolicy"], "Never");
    // No request gets there.
    let behind = api.get("/api/v1/namespaces/NS/endpoints/order").to_string();
    assert!(
        behind.contains("targetRef") && !behind.contains(pod),
        "{behind}"
    );
    // It is no replica, and nothing to mend.
    let status = stack
        .run(&["status", "--check", "-o", "json"])
        .ends(0)
        .json();
    let replicas = &status["services"][0];
    assert_eq!(replicas["replicas"]["running"], 2);
    assert_eq!(replicas["instances"].as_array().map(Vec::len), Some(2));
    stack.run(&["plan", "--check"]).ends(0);
    // It ends, and nobody stayed to remove it.
    let over = json!({ "status": { "phase": "Succeeded" } });
    api.patch(&format!("{PODS}/{pod}/status"), &over);
    let plan = stack.run(&["plan", "--check"]).ends(3);
    assert!(
        plan.out.contains(&format!("delete Pod {pod}")),
        "{}",
        plan.out
    );
    stack.run(&["deploy"]).ends(0);
    assert_eq!(commands(&api), [""; 0]);
    stack.run(&["run", "-d", "order"]).ends(0);
    assert_eq!(commands(&api).len(), 1);
    stack.run(&["down"]).ends(0);
    assert_eq!(api.names(PODS), [""; 0]);
}

#[test]
#[ignore = "needs a cluster"]
fn what_cannot_run_is_one_error_and_leaves_no_pod() {
    let stack = Stack::new("norun", &order("shop/order:1", ""));
    stack.run(&["deploy"]).ends(0);
    let api = stack.api();
    let missing = stack.run(&["run", "ordr"]).ends(2);
    assert!(
        missing.err.contains("did you mean `order`?"),
        "{}",
        missing.err
    );
    let named = stack.run(&["run", "--user", "app", "order"]).ends(2);
    assert!(
        named.err.contains("by their numbers alone"),
        "{}",
        named.err
    );
    let forbidden = stack.run_as_viewer(&["run", "order"]).ends(125);
    for words in ["cannot", "viewer"] {
        assert!(forbidden.err.contains(words), "{words}: {}", forbidden.err);
    }
    assert_eq!(commands(&api), [""; 0]);
}

/// A node says so again and again, and may get it at last.
#[test]
#[ignore = "needs a cluster"]
fn an_image_that_cannot_be_had_is_not_waited_for_for_ever() {
    let stack = Stack::new("badrun", &order("shop/order:1", ""));
    stack.run(&["deploy"]).ends(0);
    stack.write(&format!(
        "{}  new:\n    image: shop/bad:1\n",
        order("shop/order:1", "")
    ));
    for asked in [&["run", "new"][..], &["run", "-d", "new"]] {
        let failed = stack.run(asked).ends(125);
        let (first, rest) = failed.err.split_once('\n').unwrap();
        assert!(
            first.starts_with("error: could not start pod new-run-"),
            "{first}"
        );
        assert_eq!(rest, "cause: image shop/bad:1 cannot be pulled: fake\n");
        assert_eq!(failed.out, "");
        let api = stack.api();
        eventually("the pod goes", || commands(&api).is_empty());
    }
}

#[test]
#[ignore = "needs a cluster"]
fn a_signal_takes_the_pod_away() {
    let slow = order(
        "shop/order:1",
        "    annotations: { fake/ready-delay: \"1\" }\n",
    );
    let stack = Stack::new("sigrun", &slow);
    stack.run(&["deploy"]).ends(0);
    let slower = slow.replace("delay: \"1\"", "delay: \"300\"");
    stack.write(&format!(
        "{slow}  new:\n{}",
        slower.split_once('\n').unwrap().1
    ));
    let api = stack.api();
    for (signal, code) in [
        (rustix::process::Signal::INT, 130),
        (rustix::process::Signal::TERM, 143),
    ] {
        let mut command = stack.command(&["run", "new"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = child.spawn().unwrap();
        eventually("the pod is there", || commands(&api).len() == 1);
        let pod = commands(&api).remove(0);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        let ended = said(child.wait_with_output().unwrap()).ends(code);
        assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
        let path = format!("{PODS}/{pod}");
        eventually("the pod goes", || !api.has(&path));
    }
}
