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

/// Whether a file system in memory is mounted for a volume at this moment.
fn is_in_memory(volume: &str) -> bool {
    let mounts = std::fs::read_to_string("/proc/mounts").expect("it is there");
    let place = format!("/{volume}/_data tmpfs ");
    mounts.lines().any(|line| line.contains(&place))
}

#[test]
#[ignore = "engine"]
fn secrets_in_memory_are_held_put_back_and_never_on_a_disk() {
    let port = free_port();
    let stack = TestStack::new(&format!("x-shop: {{ secrets: memory }}\n{}", file(port)));
    for (name, value) in [("settings", "s"), ("rest", "r"), ("key", "first-canary\n")] {
        stack.write(name, value);
    }
    stack.ok(&["deploy", "--progress", "none"]);
    assert_eq!(stack.run(&["plan", "--check"]).code, 0);
    let key = "/run/secrets/key";
    assert_eq!(shows(&stack, "web", key).trim(), "first-canary");
    let replicas = stack.replicas("web");
    assert_eq!(rights(&replicas[0], key), "-r--r----- 65532/1234");
    let holders = || -> Vec<String> {
        let names = stack.containers().into_keys();
        names.filter(|name| name.ends_with("-holder")).collect()
    };
    let first = holders();
    let [held] = &first[..] else {
        panic!("{first:?}");
    };
    assert!(is_in_memory(
        held.strip_suffix("-holder").expect("a volume")
    ));

    // A changed one is another volume; the one before is there for the way back.
    stack.write("key", "second-canary\n");
    stack.ok(&["deploy", "--progress", "none"]);
    assert_eq!(shows(&stack, "web", key).trim(), "second-canary");
    stack.ok(&["rollback", "--to", "1", "--progress", "none"]);
    assert_eq!(shows(&stack, "web", key).trim(), "first-canary");
    assert_eq!(holders().len(), 2);

    // What an engine does that starts again: nothing holds anything, and the replicas
    // come up without.
    let replicas = stack.replicas("web");
    for (verb, containers) in [
        ("kill", holders()),
        ("stop", replicas.clone()),
        ("start", replicas),
    ] {
        let done = Command::new("docker").arg(verb).args(containers).output();
        assert!(done.expect("docker runs").status.success(), "{verb}");
    }
    let gone = stack.run(&["exec", "web", "--", "/workload", "task", "show", key]);
    assert_ne!(gone.code, 0, "{gone}");
    stack.write("key", "first-canary\n");
    let status = stack.ok(&["status"]);
    assert!(
        status
            .stdout
            .contains("its secrets were in memory only and are lost"),
        "{status}"
    );
    let refused = stack.run(&["rollback", "--to", "2"]);
    assert_eq!(refused.code, 22, "{refused}");
    assert!(
        refused.stderr.contains("(in memory); nothing was changed"),
        "{refused}"
    );

    for (code, arguments) in [
        (41, ["scale", "web=3"].as_slice()),
        (41, &["restart", "web"]),
        (125, &["run", "web", "--", "task", "show", key]),
    ] {
        let refused = stack.code(code, arguments);
        for part in [
            "the secrets of web were in memory only and are lost",
            "hint: shopctl deploy",
        ] {
            assert!(refused.stderr.contains(part), "{part}: {refused}");
        }
    }
    assert_eq!(holders(), Vec::<String>::new(), "nothing was put there");
    let mut client = Client::start(port);
    let plan = stack.ok(&["plan"]);
    assert!(
        plan.stdout.contains("its secrets were lost from memory"),
        "{plan}"
    );
    assert!(!plan.stdout.contains("canary"), "{plan}");
    stack.ok(&["deploy", "--progress", "none"]);
    assert_eq!(shows(&stack, "web", key).trim(), "first-canary");
    assert_eq!(stack.run(&["plan", "--check"]).code, 0);
    let seen = client.seen();
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    stack.ok(&["down", "--volumes", "--yes"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}
