//! Keys of the specification from the file to `docker inspect`, and that a second look
//! finds nothing to do.

mod support;

use support::Ran;
use support::TestStack;

/// What is written, with the limit of memory and swap together.
fn file(swap: &str) -> String {
    format!(
        r#"
services:
  app:
    build: app
    mem_limit: 64m
    memswap_limit: {swap}
    annotations: {{ team: a }}
    volumes_from: ["data:ro"]
    pid: "service:data"
    networks:
      default:
      front: {{ priority: 5, mac_address: "02:42:ac:11:65:47", link_local_ips: [169.254.8.9], gw_priority: 3 }}
    deploy:
      mode: global
      update_config: {{ monitor: 0s }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
  data:
    build: app
    volumes: [/lent]
    deploy:
      update_config: {{ monitor: 0s }}
      rollback_config: {{ order: stop-first, monitor: 0s }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
networks: {{ front: {{}} }}
"#
    )
}

/// Whether the old container of `data` stops before the new one starts.
fn stops_first(ran: &Ran) -> bool {
    let at = |what: &str| ran.stderr.find(what).expect("the step");
    at("data: stop ") < at("data: start ")
}

#[test]
#[ignore = "engine"]
fn what_is_written_is_what_the_engine_has() {
    let stack = TestStack::new(&file("128m"));
    let plan = stack.ok(&["plan"]);
    let named = ["annotations", "networks.front.gw_priority"];
    for key in named {
        // Only where the engine of this machine is too old for it.
        let old = plan
            .stdout
            .contains(&format!("{key} has no effect: the engine speaks API"));
        let new = !plan.stdout.contains(key);
        assert!(old || new, "{key}: {plan}");
    }
    stack.ok(&["deploy"]);
    let replicas = stack.replicas("app");
    assert_eq!(replicas.len(), 1, "{replicas:?}");
    let found = stack.inspect(&replicas[0]);
    let host = found.host_config.expect("a host configuration");
    assert_eq!(
        (host.memory, host.memory_swap),
        (Some(64 << 20), Some(128 << 20))
    );
    let lender = &stack.replicas("data")[0];
    assert_eq!(host.volumes_from, Some(vec![format!("{lender}:ro")]));
    // The engine keeps the name as an id.
    let id = stack.inspect(lender).id.expect("an id");
    assert_eq!(host.pid_mode, Some(format!("container:{id}")));
    let mounts = found.mounts.expect("mounts");
    let targets: Vec<_> = mounts
        .iter()
        .map(|one| one.destination.as_deref())
        .collect();
    assert_eq!(targets, [Some("/lent")]);
    let networks = found.network_settings.and_then(|all| all.networks);
    let front = &networks.expect("networks")[&format!("{}_front", stack.name)];
    assert_eq!(front.mac_address.as_deref(), Some("02:42:ac:11:65:47"));
    assert_eq!(host.network_mode, Some(format!("{}_front", stack.name)));
    stack.ok(&["plan", "--check"]);
    stack.ok(&["status", "--check", "--drift"]);

    // The same container with other limits.
    stack.write("stack.yaml", &file("-1"));
    let changed = stack.code(3, &["plan", "--check"]);
    let line = "app/1 update: memory and swap 128M -> without a limit";
    assert!(changed.stdout.contains(line), "{changed}");
    stack.ok(&["deploy"]);
    assert_eq!(stack.replicas("app"), replicas);
    let host = stack.inspect(&replicas[0]).host_config.expect("as before");
    assert_eq!(host.memory_swap, Some(-1));
    stack.ok(&["plan", "--check"]);

    // What was lent comes anew with its container, and the way back has its own pace.
    let next = file("-1").replace("volumes: [/lent]", "volumes: [/lent]\n    labels: { a: b }");
    stack.write("stack.yaml", &next);
    let forth = stack.ok(&["deploy"]);
    assert_ne!(stack.replicas("app"), replicas);
    assert!(!stops_first(&forth), "{forth}");
    let back = stack.ok(&["rollback", "--yes"]);
    assert!(stops_first(&back), "{back}");
    let after = stack.ok(&["status", "--drift"]);
    assert!(after.stdout.contains("no drift"), "{after}");
    stack.ok(&["down", "--volumes", "--yes"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}
