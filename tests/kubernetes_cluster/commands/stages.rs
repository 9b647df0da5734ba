//! A new revision that shows itself beside the old one, before it takes its place.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::io::BufReader;
use std::process::Child;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;

use super::support::DEPLOYMENT;
use super::support::PODS;
use super::support::Server;
use super::support::Stack;
use super::support::order;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/NS/deployments";
const ENDPOINTS: &str = "/api/v1/namespaces/NS/endpoints/order";

fn canary(image: &str, pause: &str) -> String {
    order(
        image,
        &format!(
            "    x-shop: {{ rollout: {{ strategy: canary, steps: [{{ weight: 10%, pause: {pause} }}, {{ weight: 50%, pause: 1s }}] }} }}\n"
        ),
    )
}

fn blue_green(image: &str) -> String {
    order(
        image,
        "    ports: [\"8000:8000\"]
    x-shop: { rollout: { strategy: blue-green, pause: 2s, hold: 2s } }\n",
    )
}

/// A deploy that has said something like this.
fn begun(stack: &Stack, words: &str) -> Child {
    begun_until(stack, words, 1)
}

/// A deploy that has said something like this so many times.
fn begun_until(stack: &Stack, words: &str, mut times: u32) -> Child {
    let mut child = stack
        .command(&["deploy", "--lock-wait", "2m"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut all = Vec::new();
    while times > 0
        && let Some(line) = said.next()
    {
        let line = line.unwrap();
        times -= u32::from(line.contains(words));
        all.push(line);
    }
    if times > 0 {
        let _ = child.wait();
        panic!("{words}: {all:?}");
    }
    // Somebody goes on listening, or it could not go on saying.
    std::thread::spawn(move || said.for_each(drop));
    child
}

fn images(api: &Server) -> Vec<String> {
    let pods = api.get(PODS);
    let items = pods["items"].as_array().unwrap().iter();
    let stays = items.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let image = |pod: &Value| {
        pod["spec"]["containers"][0]["image"]
            .as_str()
            .map(str::to_owned)
    };
    let mut all: Vec<String> = stays.filter_map(image).collect();
    all.sort();
    all
}

/// One workload, all of this image, and nothing left to do.
#[track_caller]
fn settled(stack: &Stack, image: &str) {
    let api = stack.api();
    assert_eq!(api.names(DEPLOYMENTS), ["order"]);
    assert_eq!(images(&api), [image, image]);
    let selector = api.get("/api/v1/namespaces/NS/services/order");
    assert!(
        selector["spec"]["selector"]["shopctl.dev/stage"].is_null(),
        "{selector}"
    );
    stack.run(&["plan", "--check"]).ends(0);
    let status = stack.run(&["status", "--check", "-o", "json"]);
    let status = status.ends(0).json();
    assert_eq!(
        status["services"][0]["replicas"],
        json!({ "desired": 2, "running": 2, "ready": 2 })
    );
}

#[test]
#[ignore = "needs a cluster"]
fn a_canary_goes_through_its_stages_and_leaves_one_workload() {
    let stack = Stack::new("canary", &canary("shop/order:1", "1s"));
    let first = stack.run(&["deploy"]).ends(0);
    assert!(!first.err.contains("order-next"), "{}", first.err);
    stack.write(&canary("shop/order:2", "1s"));
    let plan = stack.run(&["plan"]).ends(0);
    for line in [
        "~ apply Deployment order-next with 1 replicas, watched for 1 s: image shop/order:1 -> shop/order:2",
        "~ apply Deployment order-next with 2 replicas, watched for 1 s: image shop/order:1 -> shop/order:2",
        "~ apply Deployment order with 2 replicas: image shop/order:1 -> shop/order:2",
        "- delete Deployment order-next: replaced",
        "order: canary: 1 new beside 2 old (33 %), then 2 new beside 2 old (50 %)",
    ] {
        assert!(plan.out.contains(line), "{line}\n{}", plan.out);
    }
    let before = stack.api().names(PODS);
    let mut child = begun(&stack, "order-next with 2 replicas: done");
    // Nothing that served has been touched until here.
    let during = stack.api().names(PODS);
    assert!(before.iter().all(|pod| during.contains(pod)), "{during:?}");
    assert!(child.wait().unwrap().success());
    settled(&stack, "shop/order:2");
    // The way back needs no stages.
    let back = stack.run(&["rollback"]).ends(0);
    assert!(!back.err.contains("order-next"), "{}", back.err);
    assert_eq!(images(&stack.api()), ["shop/order:1"; 2]);
    assert_eq!(stack.api().names(DEPLOYMENTS), ["order"]);
}

#[test]
#[ignore = "needs a cluster"]
fn a_bad_canary_goes_and_the_old_pods_never_stop() {
    let stack = Stack::new("canary-bad", &canary("shop/order:1", "1s"));
    stack.run(&["deploy"]).ends(0);
    let before = stack.api().names(PODS);
    stack.write(&canary("shop/bad:2", "1s"));
    let said = stack.run(&["deploy"]).ends(50);
    let line = "Deployment order-next was not rolled out";
    assert!(said.err.contains(line), "{}", said.err);
    assert_eq!(stack.api().names(PODS), before);
    let main = stack.api().get(DEPLOYMENT);
    assert_eq!(main["metadata"]["generation"], 1, "it was never touched");
    stack.write(&canary("shop/order:1", "1s"));
    settled(&stack, "shop/order:1");
}

#[test]
#[ignore = "needs a cluster"]
fn a_container_that_ends_while_it_is_watched_is_a_verdict() {
    let stack = Stack::new("canary-ends", &canary("shop/order:1", "20s"));
    stack.run(&["deploy"]).ends(0);
    let api = stack.api();
    let before = api.names(PODS);
    stack.write(&canary("shop/order:2", "20s"));
    let mut child = begun(&stack, "ready, watched for 20 s");
    let new = api.names(PODS);
    let new = new.iter().find(|pod| !before.contains(pod)).unwrap();
    api.patch(
        &format!("{PODS}/{new}/status"),
        &json!({ "status": { "containerStatuses": [{ "name": "order", "restartCount": 1,
            "lastState": { "terminated": { "exitCode": 3 } } }] } }),
    );
    assert_eq!(child.wait().unwrap().code(), Some(50));
    assert_eq!(api.names(PODS), before);
    let history = stack.run(&["history", "-o", "json"]).ends(0).json();
    let reason = history["releases"][0].to_string();
    assert!(
        reason.contains("a container ended with exit code 3"),
        "{reason}"
    );
}

#[test]
#[ignore = "needs a cluster"]
fn a_canary_that_was_killed_is_finished_by_the_next_deploy() {
    let stack = Stack::new("canary-killed", &canary("shop/order:0", "1s"));
    stack.run(&["deploy"]).ends(0);
    let moments = [
        "order-next with 1 replicas",
        "ready, watched for 1 s",
        "order-next with 2 replicas: done",
        "order with 2 replicas: done",
    ];
    for (number, moment) in moments.into_iter().enumerate() {
        let image = format!("shop/order:{}", number + 1);
        stack.write(&canary(&image, "1s"));
        let mut child = begun(&stack, moment);
        child.kill().unwrap();
        child.wait().unwrap();
        let status = stack.run(&["status", "-o", "json"]).ends(0).json();
        let ready = &status["services"][0]["replicas"]["ready"];
        assert!(ready.as_u64() >= Some(2), "{moment}: {status}");
        stack.run(&["deploy", "--lock-wait", "2m"]).ends(0);
        settled(&stack, &image);
    }
}

#[test]
#[ignore = "needs a cluster"]
fn a_canary_that_is_not_wanted_any_more_goes() {
    let stack = Stack::new("canary-back", &canary("shop/order:1", "20s"));
    stack.run(&["deploy"]).ends(0);
    let before = stack.api().names(PODS);
    stack.write(&canary("shop/order:2", "20s"));
    interrupt(begun(&stack, "ready, watched for 20 s"));
    let counted = stack.run(&["status", "-o", "json"]).ends(0).json();
    assert_eq!(counted["services"][0]["replicas"]["running"], 3);
    stack.write(&canary("shop/order:1", "20s"));
    let plan = stack.run(&["plan"]).ends(0);
    let line = "- delete Deployment order-next: left over from an unfinished run";
    assert!(plan.out.contains(line), "{}", plan.out);
    stack.run(&["deploy"]).ends(0);
    assert_eq!(stack.api().names(PODS), before);
    settled(&stack, "shop/order:1");
    // And with the stack.
    stack.write(&canary("shop/order:3", "20s"));
    interrupt(begun(&stack, "ready, watched for 20 s"));
    stack.run(&["down"]).ends(0);
    assert_eq!(stack.api().names(DEPLOYMENTS), [""; 0]);
}

fn interrupt(mut child: Child) {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// Pods that the name of the service leads to.
fn led_to(api: &Server) -> BTreeSet<String> {
    let found = api.get(ENDPOINTS);
    let subsets = found["subsets"].as_array().into_iter().flatten();
    let addresses = subsets.flat_map(|one| one["addresses"].as_array().into_iter().flatten());
    addresses
        .map(|one| one["targetRef"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits for a deploy and looks all the time where requests would go: each choice of pods
/// once, in the order in which they came.
fn watched(child: &mut Child, api: &Server) -> Vec<BTreeSet<String>> {
    let mut seen: Vec<BTreeSet<String>> = Vec::new();
    loop {
        let ended = child.try_wait().unwrap();
        let now = led_to(api);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        if let Some(status) = ended {
            assert!(status.success(), "{status}");
            return seen;
        }
    }
}

#[test]
#[ignore = "needs a cluster"]
fn blue_green_switches_all_requests_at_once() {
    let stack = Stack::new("blue", &blue_green("shop/order:1"));
    stack.run(&["deploy"]).ends(0);
    let api = stack.api();
    let old: BTreeSet<String> = api.names(PODS).into_iter().collect();
    stack.write(&blue_green("shop/order:2"));
    let mut child = begun(&stack, "order-next with 2 replicas");
    let seen = watched(&mut child, &api);
    assert!(seen.iter().all(|pods| pods.len() >= 2), "{seen:?}");
    assert_eq!(seen[0], old, "{seen:?}");
    // From all old ones to all new ones, with nothing between.
    assert!(seen[1].is_disjoint(&old), "{seen:?}");
    assert_eq!(seen[1].len(), 2, "{seen:?}");
    let last: BTreeSet<String> = api.names(PODS).into_iter().collect();
    assert!(seen.last().unwrap().is_superset(&last), "{seen:?}");
    settled(&stack, "shop/order:2");
}

#[test]
#[ignore = "needs a cluster"]
fn blue_green_that_was_interrupted_goes_on_or_back_without_a_gap() {
    let stack = Stack::new("green", &blue_green("shop/order:1"));
    stack.run(&["deploy"]).ends(0);
    let api = stack.api();
    stack.write(&blue_green("shop/order:2"));
    interrupt(begun(&stack, "order-next with 2 replicas: done"));
    let mut child = begun(&stack, "order");
    let seen = watched(&mut child, &api);
    assert!(seen.iter().all(|pods| pods.len() >= 2), "{seen:?}");
    settled(&stack, "shop/order:2");
    // Killed while it is looked at, and when all requests go there; the file goes back.
    for (number, times) in [(3, 1), (4, 2)] {
        stack.write(&blue_green(&format!("shop/order:{number}")));
        let mut child = begun_until(&stack, "ready, watched for 2 s", times);
        child.kill().unwrap();
        child.wait().unwrap();
        stack.write(&blue_green("shop/order:2"));
        let mut child = begun(&stack, "order");
        let seen = watched(&mut child, &api);
        assert!(seen.iter().all(|pods| pods.len() >= 2), "{seen:?}");
        settled(&stack, "shop/order:2");
    }
}
