//! Releases on a real Docker Engine: a bad one takes itself back while customers are
//! served, an older one can be gone back to, and all of it is known to every machine
//! that reaches the engine.

mod support;

use support::TestStack;
use support::customer::Customer;
use support::free_port;
use support::get;

fn file(port: u16) -> String {
    format!(
        r#"
services:
  web:
    build: app
    environment: {{ VERSION: "${{VERSION:-1}}", EXIT_AFTER_MS: "${{EXIT_AFTER_MS:-}}", EXIT_CODE: "9" }}
    stop_grace_period: 2s
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    depends_on: [worker]
    deploy: {{ replicas: 2, update_config: {{ monitor: 1s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
  worker:
    build: app
    environment: {{ VERSION: "${{VERSION:-1}}" }}
    stop_grace_period: 2s
    deploy: {{ update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
"#
    )
}

fn version(port: u16) -> String {
    let (_, body) = get(port, "/").expect("the gateway answers");
    body.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
#[ignore = "engine"]
fn a_bad_release_takes_itself_back_and_an_older_one_can_be_gone_back_to() {
    let port = free_port();
    let stack = TestStack::new(&file(port));
    stack.ok(&["deploy"]);
    let first = (stack.containers(), version(port));

    // It crashes while it is watched; its neighbour was replaced already.
    let customer = Customer::of(port);
    let bad = stack.run_with(
        &["deploy", "-o", "json"],
        &[("VERSION", "2"), ("EXIT_AFTER_MS", "300")],
    );
    assert_eq!(bad.code, 50, "{bad}");
    customer.was_served();
    let names = |containers: &std::collections::BTreeMap<String, String>| {
        containers.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        names(&stack.containers()),
        names(&first.0),
        "all of it went back"
    );
    let last = bad.events().pop().expect("events");
    assert_eq!(last["outcome"], "rolled_back", "{bad}");
    let detail = last["detail"].as_str().expect("text");
    assert!(
        detail.contains("exit code 9") && detail.contains("release 1 serves"),
        "{detail}"
    );
    stack.ok(&["status", "--drift", "--check"]);

    // A good one, and back again.
    let customer = Customer::of(port);
    let good = stack.run_with(&["deploy"], &[("VERSION", "3")]);
    assert_eq!(good.code, 0, "{good}");
    assert_ne!(version(port), first.1);
    let back = stack.ok(&["rollback"]);
    customer.was_served();
    assert_eq!(version(port), first.1, "{back}");
    assert_eq!(names(&stack.containers()), names(&first.0));

    // Another checkout without the file, by the name alone.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let mut command = stack.command(&["history", "-o", "json"]);
    let output = command
        .current_dir(elsewhere.path())
        .output()
        .expect("it runs");
    let history: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("a JSON document");
    let outcomes: Vec<(u64, &str)> = history["releases"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            (
                one["number"].as_u64().unwrap_or(0),
                one["outcome"].as_str().unwrap_or(""),
            )
        })
        .collect();
    let wanted = [
        (4, "deployed"),
        (3, "deployed"),
        (2, "rolled_back"),
        (1, "deployed"),
    ];
    assert_eq!(outcomes, wanted);
}
