//! The main job on a real Docker Engine: deploy, look, scale, change one
//! service, mend what broke, and take it down, leaving nothing behind.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::TestStack;
use support::eventually;
use support::free_port;
use support::get;

/// Two HTTP services, one of which needs the other.
fn two_services(port: u16) -> String {
    format!(
        r#"
services:
  goods:
    build: app
    environment: {{ VERSION: "1" }}
    stop_grace_period: 2s
    deploy: {{ resources: {{ reservations: {{ cpus: "0.05", memory: 16M }} }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
  order:
    build: app
    environment: {{ VERSION: "1" }}
    stop_grace_period: 2s
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    depends_on: {{ goods: {{ condition: service_healthy }} }}
    deploy: {{ resources: {{ reservations: {{ cpus: "0.05", memory: 16M }} }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
"#
    )
}

/// Bodies of new connections until `count` different ones were seen.
fn spread(port: u16, count: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let (status, body) = get(port, "/").expect("the gateway answers");
        assert_eq!(status, 200, "{body}");
        seen.insert(body);
        if seen.len() == count {
            break;
        }
    }
    seen
}

#[test]
#[ignore = "engine"]
fn a_stack_is_deployed_scaled_changed_and_taken_down() {
    let port = free_port();
    let stack = TestStack::new(&two_services(port));

    let deployed = stack.ok(&["deploy", "-o", "json"]);
    let events = deployed.events();
    let last = events.last().expect("events");
    assert_eq!(
        (&last["event"], &last["exit_code"]),
        (&"finished".into(), &0.into()),
        "{deployed}"
    );
    assert_eq!(spread(port, 1).len(), 1);

    // The dependency was ready before its dependent was started.
    let at = |event: &str, word: &str| {
        events
            .iter()
            .position(|it| {
                it["event"] == event && it["what"].as_str().is_some_and(|what| what.contains(word))
            })
            .unwrap_or_else(|| panic!("no {event} of {word}: {deployed}"))
    };
    assert!(
        at("step_finished", "start ")
            < at("step_started", &format!("start {}-order-1", stack.name)),
        "{deployed}"
    );

    // Nothing changed: nothing to do, quickly, and no new container.
    let before = stack.containers();
    let again = stack.ok(&["deploy"]);
    assert_eq!(before, stack.containers(), "{again}");
    stack.ok(&["plan", "--check"]);

    // Scaling moves only the scaled service.
    stack.ok(&["scale", "order=3"]);
    assert_eq!(stack.replicas("order").len(), 3);
    assert_eq!(spread(port, 3).len(), 3, "requests reach all replicas");
    let status = stack.ok(&["status", "-o", "json"]).json();
    assert_eq!(status["converged"], true, "{status}");
    let order = status["services"]
        .as_array()
        .expect("services")
        .iter()
        .find(|it| it["name"] == "order");
    assert_eq!(order.expect("order")["replicas"]["ready"], 3, "{status}");
    stack.ok(&["scale", "order=1"]);
    assert_eq!(stack.replicas("order").len(), 1);

    // One changed variable replaces that service's containers and no others.
    let goods = stack.replicas("goods");
    let order = stack.replicas("order");
    stack.write(
        "stack.yaml",
        &two_services(port).replacen("VERSION: \"1\"", "VERSION: \"2\"", 1),
    );
    let plan = stack.code(3, &["plan", "--check"]);
    assert!(
        plan.stdout.contains("environment"),
        "the plan says why: {plan}"
    );
    stack.ok(&["deploy", "--progress", "plain"]);
    assert_ne!(stack.replicas("goods"), goods);
    assert_eq!(stack.replicas("order"), order);

    // A killed container is mended by the next deploy.
    let victim = &order[0];
    support::block_on(async {
        let kill = bollard::query_parameters::KillContainerOptionsBuilder::default()
            .signal("SIGKILL")
            .build();
        support::docker()
            .kill_container(victim, Some(kill))
            .await
            .expect("it runs");
    });
    stack.code(3, &["status", "--check"]);
    stack.ok(&["deploy"]);
    assert_eq!(get(port, "/").expect("it serves").0, 200);
    stack.ok(&["status", "--check"]);

    stack.ok(&["down", "--volumes", "--yes"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}

#[test]
#[ignore = "engine"]
fn a_bad_revision_never_stops_the_good_one() {
    let port = free_port();
    let stack = TestStack::new(&two_services(port));
    stack.ok(&["deploy"]);
    let good = stack.replicas("order");

    let broken = two_services(port).replace("ports:", "command: [healthcheck]\n    ports:");
    stack.write("stack.yaml", &broken);
    let failed = stack.code(50, &["deploy", "--progress", "plain"]);
    assert!(failed.stderr.contains("order"), "{failed}");
    assert_eq!(
        stack.replicas("order"),
        good,
        "the new one is gone, the old one was never stopped"
    );
    assert_eq!(get(port, "/").expect("the old one serves").0, 200);

    stack.write("stack.yaml", &two_services(port));
    stack.ok(&["deploy"]);
    assert_eq!(stack.replicas("order"), good, "nothing was left to do");
}

#[test]
#[ignore = "engine"]
fn demand_beyond_capacity_changes_nothing() {
    let port = free_port();
    let file = two_services(port).replace("cpus: \"0.05\"", "cpus: \"400\"");
    let stack = TestStack::new(&file);
    let refused = stack.code(40, &["deploy", "--no-build"]);
    assert!(refused.stderr.contains("cpu"), "{refused}");
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}

#[test]
#[ignore = "engine"]
fn a_tcp_port_is_passed_through_and_spread_by_connection() {
    use std::io::BufRead as _;
    let port = free_port();
    let stack = TestStack::new(&format!(
        r#"
services:
  db:
    build: app
    environment: {{ MODE: tcp }}
    stop_grace_period: 1s
    ports: ["127.0.0.1:{port}:8000"]
    deploy: {{ replicas: 2 }}
    x-shop: {{ ready: {{ tcp: 8000 }} }}
"#
    ));
    stack.ok(&["deploy"]);
    let greeting = || {
        let stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut line = String::new();
        std::io::BufReader::new(stream).read_line(&mut line).ok()?;
        (!line.is_empty()).then_some(line)
    };
    let mut seen = BTreeSet::new();
    eventually(Duration::from_secs(20), "both replicas greet", || {
        seen.extend(greeting());
        (seen.len() == 2).then_some(())
    });
}
