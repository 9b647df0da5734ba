//! How soon a gate opens after a service says it is ready: p95 of 100 starts.

mod support;

use support::TestStack;
use support::block_on;
use support::docker;

use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::TryStreamExt as _;

/// Milliseconds since the epoch at which the workload in a container became ready.
fn ready_at(container: &str) -> u64 {
    block_on(async {
        let options = LogsOptionsBuilder::default().stdout(true).build();
        let lines: Vec<_> = docker()
            .logs(container, Some(options))
            .try_collect()
            .await
            .expect("a log");
        let text: String = lines.iter().map(ToString::to_string).collect();
        let at = text
            .split("ready_at_ms=")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        at.and_then(|at| at.parse().ok())
            .unwrap_or_else(|| panic!("no time in {text:?}"))
    })
}

/// Starts 20 times 5 replicas and returns the lateness of each gate, ordered.
fn lateness(service_lines: &str) -> Vec<u64> {
    let file = |version: u32| {
        format!(
            "services:\n  app:\n    build: app\n    stop_signal: SIGKILL\n    environment: {{ READY_AFTER_MS: \"300\", VERSION: \"{version}\" }}\n    deploy: {{ replicas: 5, update_config: {{ parallelism: 0, monitor: 0s }} }}\n{service_lines}"
        )
    };
    let stack = TestStack::new(&file(0));
    let mut late = Vec::new();
    for round in 1..=20 {
        stack.write("stack.yaml", &file(round));
        for event in stack.ok(&["deploy", "-o", "json"]).events() {
            let what = event["what"].as_str().unwrap_or_default();
            let started = what
                .strip_prefix("start ")
                .filter(|name| name.contains("-app-"));
            if let (Some(container), "step_finished") =
                (started, event["event"].as_str().unwrap_or_default())
            {
                let opened = event["at"].as_u64().expect("a time");
                late.push(opened.saturating_sub(ready_at(container)));
            }
        }
    }
    late.sort_unstable();
    assert_eq!(late.len(), 100);
    late
}

#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "the figure is the point")]
fn a_probed_gate_opens_within_50_ms_of_the_truth() {
    let late = lateness("    x-shop: { ready: { http: /readyz, port: 8000 } }\n");
    println!(
        "gate lateness in ms: p50 {} p95 {} max {}",
        late[49], late[94], late[99]
    );
    assert!(late[94] <= 50, "p95 {} ms of {late:?}", late[94]);
}
