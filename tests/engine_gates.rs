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

/// Starts 5 times 20 replicas and returns the lateness of each gate, ordered.
fn lateness(service_lines: &str) -> Vec<u64> {
    let file = |replicas: u32, round: u32| {
        format!(
            "services:\n  app:\n    build: app\n    stop_signal: SIGKILL\n    environment: {{ READY_AFTER_MS: \"300\", VERSION: \"{round}\" }}\n    deploy: {{ replicas: {replicas}, resources: {{ reservations: {{ cpus: \"0.001\", memory: 4M }} }} }}\n{service_lines}"
        )
    };
    let stack = TestStack::new(&file(0, 0));
    let mut late = Vec::new();
    for round in 1..=5 {
        stack.write("stack.yaml", &file(20, round));
        let deployed = stack.ok(&["deploy", "-o", "json"]);
        for event in deployed.events() {
            let what = event["what"].as_str().unwrap_or_default();
            let Some(container) = what
                .strip_prefix("start ")
                .filter(|name| name.contains("-app-"))
            else {
                continue;
            };
            if event["event"] == "step_finished" {
                late.push(
                    event["at"]
                        .as_u64()
                        .expect("a time")
                        .saturating_sub(ready_at(container)),
                );
            }
        }
        stack.write("stack.yaml", &file(0, round));
        stack.ok(&["deploy"]);
    }
    late.sort_unstable();
    assert_eq!(late.len(), 100);
    late
}

#[test]
#[ignore = "engine"]
fn a_probed_gate_opens_within_50_ms_of_the_truth() {
    let late = lateness("    x-shop: { ready: { http: /readyz, port: 8000 } }\n");
    println!(
        "gate lateness in ms: p50 {} p95 {} max {}",
        late[49], late[94], late[99]
    );
    assert!(late[94] <= 50, "p95 {} ms of {late:?}", late[94]);
}
