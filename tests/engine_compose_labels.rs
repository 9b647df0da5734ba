//! What Docker Compose can do with a stack that shopctl deployed: see it, read its
//! logs, run a command in a replica, and take it down without a file.

mod support;

use std::collections::BTreeSet;

use support::TestStack;
use support::compose::Compose;
use support::free_port;
use support::get;

/// The service that Compose sees the gateway as.
const GATEWAY: &str = "shopctl-gateway";

fn stack_file(port: u16) -> String {
    format!(
        r#"
services:
  web:
    build: app
    stop_grace_period: 1s
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy: {{ replicas: 2 }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
  worker:
    build: app
    stop_grace_period: 1s
"#
    )
}

#[test]
#[ignore = "engine"]
#[expect(
    clippy::print_stdout,
    reason = "which one it was matters to the reader"
)]
fn docker_compose_sees_reads_enters_and_removes_what_shopctl_deployed() {
    let port = free_port();
    let stack = TestStack::new(&stack_file(port));
    stack.ok(&["deploy"]);
    assert_eq!(get(port, "/").expect("the gateway answers").0, 200);
    let compose = Compose::find(&stack.name, &["web", "worker", GATEWAY]);
    println!("Docker Compose {}", compose.version);

    // Every container of the stack and no other.
    let all = stack.containers();
    let listed = compose.ok(&["ps"]);
    let listed: BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.starts_with(&stack.name))
        .collect();
    assert_eq!(listed, all.keys().map(String::as_str).collect());
    let what = "two of web, a worker, a gateway of the ports and one of the names";
    assert_eq!(all.len(), 5, "{what}: {all:?}");

    // A line of each replica, of the right service.
    let logs = compose.ok(&["logs", "--no-color", "web"]);
    for replica in stack.replicas("web") {
        let says = |line: &&str| line.contains(&replica) && line.contains("listening version=1");
        assert_eq!(logs.lines().filter(says).count(), 1, "{replica}: {logs}");
    }
    let gateway = compose.ok(&["logs", "--no-color", GATEWAY]);
    assert!(gateway.contains("\"event\":\"started\""), "{gateway}");

    // A command in each replica, found by its number.
    for number in ["1", "2"] {
        let index = format!("--index={number}");
        compose.ok(&["exec", "-T", &index, "web", "/workload", "healthcheck"]);
    }

    // Compose 1 has to be told that what its file does not name goes too.
    if compose.is_old() {
        compose.ok(&["down", "--remove-orphans"]);
    } else {
        compose.ok(&["down"]);
    }
    let store = format!("volume {}-shopctl", stack.name);
    assert_eq!(
        stack.leftovers(),
        [store],
        "only the store, as after `shopctl down`"
    );

    // The store was left, so the next deploy goes on from there.
    stack.ok(&["deploy"]);
    let status = stack.ok(&["status", "-o", "json"]).json();
    assert_eq!(status["release"], 2, "{status}");
    stack.ok(&["down", "--volumes", "--yes"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}
