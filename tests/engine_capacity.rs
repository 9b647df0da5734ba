//! What capacity means on a real engine: weights and reservations follow from
//! the file, limits are only what it declares, and live changes stay live.

mod support;

use support::TestStack;

fn file(resources: &str) -> String {
    format!(
        "services:\n  app:\n    build: app\n    stop_grace_period: 1s\n    deploy: {{ resources: {{ {resources} }} }}\n"
    )
}

#[test]
#[ignore = "engine"]
fn weights_and_reservations_are_set_and_changed_live() {
    let stack = TestStack::new(&file("reservations: { cpus: \"0.25\", memory: 64M }"));
    stack.ok(&["deploy"]);
    let before = stack.replicas("app");
    let host = stack
        .inspect(&before[0])
        .host_config
        .expect("a host config");
    assert_eq!(
        (host.cpu_shares, host.memory_reservation),
        (Some(256), Some(64 << 20))
    );
    assert_eq!(
        (host.memory.unwrap_or(0), host.nano_cpus.unwrap_or(0)),
        (0, 0),
        "no limit was declared"
    );

    stack.write(
        "stack.yaml",
        &file("reservations: { cpus: \"0.5\", memory: 96M }"),
    );
    let plan = stack.code(3, &["plan", "--check"]);
    assert!(
        plan.stdout
            .contains("~ app/1 update: cpu weight 256 -> 512"),
        "{plan}"
    );
    stack.ok(&["deploy"]);
    assert_eq!(stack.replicas("app"), before, "changed while it ran");
    let host = stack
        .inspect(&before[0])
        .host_config
        .expect("a host config");
    assert_eq!(
        (host.cpu_shares, host.memory_reservation),
        (Some(512), Some(96 << 20))
    );
    stack.ok(&["plan", "--check"]);

    // A limit can be raised live, but neither set below what may be in use nor
    // removed: those are replacements.
    let limited = |limit: &str| {
        file(&format!(
            "limits: {{ memory: {limit} }}, reservations: {{ cpus: \"0.5\", memory: 96M }}"
        ))
    };
    stack.write("stack.yaml", &limited("128M"));
    stack.ok(&["deploy"]);
    let before = stack.replicas("app");
    stack.write("stack.yaml", &limited("192M"));
    stack.ok(&["deploy"]);
    assert_eq!(stack.replicas("app"), before, "raised while it ran");
    let host = stack
        .inspect(&before[0])
        .host_config
        .expect("a host config");
    assert_eq!(host.memory, Some(192 << 20));
    stack.write(
        "stack.yaml",
        &file("reservations: { cpus: \"0.5\", memory: 96M }"),
    );
    stack.ok(&["deploy"]);
    let after = stack.inspect(&stack.replicas("app")[0]);
    assert_eq!(
        after
            .host_config
            .expect("a host config")
            .memory
            .unwrap_or(0),
        0,
        "the limit is gone"
    );
    stack.ok(&["plan", "--check"]);
}

#[test]
#[ignore = "engine"]
fn only_declared_demand_refuses() {
    let stack = TestStack::new(&file("limits: { memory: 900G }"));
    // Planned only: a container with such a limit would count against the
    // stacks of other tests.
    let ran = stack.ok(&["plan"]);
    assert!(
        ran.stdout.contains("warning: memory demand"),
        "a limit beyond the machine is a warning: {ran}"
    );

    stack.write("stack.yaml", &file("reservations: { memory: 900G }"));
    let before = stack.containers();
    let refused = stack.code(40, &["deploy"]);
    assert!(
        refused.stderr.contains("R =") && refused.stderr.contains("app"),
        "{refused}"
    );
    assert_eq!(before, stack.containers(), "nothing was changed");
    let report = stack.run(&["capacity", "-o", "json"]).json();
    assert!(
        report["memory"]["ratio"]
            .as_f64()
            .is_some_and(|ratio| ratio > 1.0),
        "{report}"
    );
}
