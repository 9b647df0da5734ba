//! A project that Docker Compose 2 started is taken over without stopping a container,
//! changed by shopctl, and taken down by Docker Compose.

mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use support::TestStack;
use support::compose::Compose;
use support::eventually;
use support::free_port;
use support::get;

/// One service from an image, two that are built, a port, a volume, a file of variables.
fn file(stack: &str, port: u16, greeting: &str) -> String {
    format!(
        r#"
services:
  db:
    image: {stack}-db:1
    volumes: ["data:/data"]
    stop_grace_period: 1s
  api:
    build: app
    env_file: api.env
    stop_grace_period: 1s
    scale: 2
  web:
    build: app
    stop_grace_period: 1s
    depends_on: [db, api]
    environment: {{ VERSION: "1", GREETING: "{greeting}" }}
    restart: unless-stopped
    ports: ["127.0.0.1:{port}:8000"]
    deploy: {{ resources: {{ limits: {{ memory: 64M }} }} }}
volumes:
  data:
"#
    )
}

/// Of each container its id, when it was started, and how often the engine restarted it.
fn lives(stack: &TestStack) -> BTreeMap<String, String> {
    let life = |name: &String| {
        let found = stack.inspect(name);
        let started = found.state.and_then(|state| state.started_at);
        let restarts = found.restart_count.unwrap_or_default();
        format!("{:?} {started:?} {restarts}", found.id)
    };
    let containers = stack.containers();
    containers
        .keys()
        .map(|name| (name.clone(), life(name)))
        .collect()
}

#[test]
#[ignore = "engine"]
fn a_project_of_docker_compose_is_taken_over_changed_and_taken_down_by_it() {
    let port = free_port();
    let stack = TestStack::new("");
    stack.write("stack.yaml", &file(&stack.name, port, "hello"));
    stack.write("api.env", "VERSION=7\n");
    let built = Command::new("docker")
        .args(["build", "-q", "-t", &format!("{}-db:1", stack.name), "app"])
        .current_dir(stack.path())
        .output()
        .expect("docker starts");
    assert!(built.status.success(), "{built:?}");
    let compose = Compose::find(&stack.name, &["db", "api", "web"]);
    assert!(!compose.is_old(), "Compose 1 labels otherwise");
    compose.ok_in(stack.path(), &["-f", "stack.yaml", "up", "-d"]);
    let answers = || get(port, "/").ok().filter(|(status, _)| *status == 200);
    eventually(Duration::from_secs(10), "web answers", answers);
    let before = lives(&stack);
    assert_eq!(before.len(), 4, "{before:?}");

    let planned = stack.ok(&["plan"]).stdout;
    for service in ["api", "db", "web"] {
        let words = format!("{service}: stays as Docker Compose made it");
        assert!(planned.contains(&words), "{planned}");
    }
    let deployed = stack.ok(&["deploy", "--progress", "plain"]);
    let mut after = lives(&stack);
    after.remove(&format!("{}-keeper", stack.name));
    assert_eq!(after, before, "{deployed}");
    let again = stack.ok(&["deploy", "-o", "json"]);
    assert!(again.stdout.contains("\"nothing_to_do\""), "{again}");
    let drift = stack.run(&["status", "--drift"]);
    assert_eq!(drift.code, 0, "{drift}");

    // Only what changes is replaced, and its port goes to the gateway.
    stack.write("stack.yaml", &file(&stack.name, port, "good day"));
    stack.ok(&["deploy", "--progress", "plain"]);
    let changed = lives(&stack);
    for (name, life) in &before {
        let is_web = name.contains("-web-");
        assert_eq!(
            changed.get(name) == Some(life),
            !is_web,
            "{name}: {changed:?}"
        );
    }
    eventually(Duration::from_secs(5), "web answers", answers);
    assert_eq!(stack.replicas("web").len(), 1);
    let again = stack.ok(&["deploy", "-o", "json"]);
    assert!(again.stdout.contains("\"nothing_to_do\""), "{again}");

    compose.ok(&["down"]);
    let store = format!("volume {}-shopctl", stack.name);
    let data = format!("volume {}_data", stack.name);
    let mut left = stack.leftovers();
    left.sort();
    assert_eq!(left, [store, data], "only what a `down` keeps");
}
