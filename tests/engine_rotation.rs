//! Configs and secrets that change: their consumers are replaced under load and no others,
//! without a lost request, and a file has the owner and the rights that were asked for.

mod support;

use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use support::TestStack;
use support::client::Client;
use support::free_port;

fn file(port: u16) -> String {
    format!(
        r#"
services:
  web:
    build: app
    restart: unless-stopped
    stop_grace_period: 2s
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    configs: [{{ source: settings, target: /settings }}]
    secrets: [{{ source: key, uid: "65532", gid: "1234", mode: 0440 }}]
    deploy: {{ replicas: 2, update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
  other:
    build: app
    restart: unless-stopped
    stop_grace_period: 2s
    configs: [{{ source: rest, target: /rest }}]
    deploy: {{ update_config: {{ monitor: 0s }} }}
configs: {{ settings: {{ file: settings }}, rest: {{ file: rest }} }}
secrets: {{ key: {{ file: key }} }}
"#
    )
}

/// What a replica reads in a file.
fn shows(stack: &TestStack, service: &str, path: &str) -> String {
    let arguments = ["exec", service, "--", "/workload", "task", "show", path];
    stack.ok(&arguments).stdout
}

/// Rights, owner and group of a file in a container, as tar lists them.
fn rights(container: &str, path: &str) -> String {
    let mut copy = Command::new("docker")
        .args(["cp", &format!("{container}:{path}"), "-"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("docker runs");
    let listed = Command::new("tar")
        .args(["--numeric-owner", "-tvf", "-"])
        .stdin(copy.stdout.take().expect("a pipe"))
        .output()
        .expect("tar runs");
    assert!(copy.wait().expect("it ends").success());
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let words: Vec<&str> = listed.split_whitespace().take(2).collect();
    words.join(" ")
}

#[test]
#[ignore = "engine"]
fn a_changed_config_or_secret_replaces_its_consumers_and_loses_nothing() {
    let port = free_port();
    let stack = TestStack::new(&file(port));
    stack.write("settings", "first\n");
    stack.write("rest", "rest\n");
    stack.write("key", "first-canary\n");
    stack.ok(&["deploy", "--progress", "none"]);
    let other = stack.replicas("other");
    let mut web = stack.replicas("web");
    assert_eq!(rights(&web[0], "/run/secrets/key"), "-r--r----- 65532/1234");
    let mut client = Client::start(port);

    for (name, path, value, cause) in [
        ("settings", "/settings", "second\n", "settings"),
        (
            "key",
            "/run/secrets/key",
            "second-canary\n",
            "files changed (web-secrets)",
        ),
    ] {
        stack.write(name, value);
        let plan = stack.ok(&["plan"]);
        assert!(plan.stdout.contains(cause), "{plan}");
        assert!(!plan.stdout.contains("canary"), "{plan}");
        stack.ok(&["deploy", "--progress", "none"]);
        assert_eq!(shows(&stack, "web", path).trim(), value.trim());
        let now = stack.replicas("web");
        assert!(now.iter().all(|one| !web.contains(one)), "{now:?}");
        assert_eq!(now.len(), 2);
        web = now;
        assert_eq!(stack.replicas("other"), other, "it reads neither");
        assert_eq!(stack.run(&["plan", "--check"]).code, 0);
    }
    assert_eq!(rights(&web[0], "/run/secrets/key"), "-r--r----- 65532/1234");
    std::thread::sleep(Duration::from_millis(200));
    let seen = client.seen();
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    assert!(seen.asked > 50, "{}", seen.asked);

    // The way back brings the old values along.
    stack.ok(&["rollback", "--to", "1", "--progress", "none"]);
    assert_eq!(shows(&stack, "web", "/settings").trim(), "first");
    assert_eq!(
        shows(&stack, "web", "/run/secrets/key").trim(),
        "first-canary"
    );
    stack.ok(&["down", "--volumes", "--yes"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}
