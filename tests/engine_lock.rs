//! One writer at a time, and no lock outlives its run.

mod support;

use std::time::Duration;

use support::TestStack;
use support::eventually;
use support::free_port;
use support::get;

const SLOW: &str = "\
services:
  app:
    build: app
    stop_grace_period: 1s
    environment: { READY_AFTER_MS: \"3600000\" }
    x-shop: { ready: { http: /readyz, port: 8000, timeout: 120s } }
";

/// Starts a deploy that will not become ready, and waits until it holds the lock.
fn holder(stack: &TestStack) -> std::process::Child {
    let child = stack
        .command(&["deploy", "--progress", "none"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("shopctl starts");
    let app = format!("{}-app-1-", stack.name);
    eventually(Duration::from_mins(1), "the app was started", || {
        stack
            .containers()
            .into_iter()
            .find(|(name, state)| name.starts_with(&app) && state.ends_with("running"))
    });
    child
}

#[test]
#[ignore = "engine"]
fn a_second_deploy_is_told_who_holds_the_lock() {
    let stack = TestStack::new(SLOW);
    let mut first = holder(&stack);
    stack.write(
        "stack.yaml",
        &SLOW.replace("environment: {", "environment: { VERSION: \"2\","),
    );
    let second = stack.code(60, &["deploy"]);
    assert!(
        second.stderr.contains("hint") && second.stderr.contains("--lock-wait"),
        "{second}"
    );

    // kill -9: the lock frees itself, and the next run takes over.
    first.kill().expect("it runs");
    first.wait().expect("it ends");
    stack.write("stack.yaml", &SLOW.replace("3600000", "0"));
    stack.ok(&["deploy", "--lock-wait", "10s"]);
    stack.ok(&["status", "--check"]);
    assert_eq!(stack.replicas("app").len(), 1);
}

#[test]
#[ignore = "engine"]
fn ctrl_c_stops_at_a_safe_point_and_frees_the_lock() {
    let stack = TestStack::new(SLOW);
    let mut first = holder(&stack);
    let interrupted = std::process::Command::new("kill")
        .args(["-INT", &first.id().to_string()])
        .status();
    assert!(interrupted.expect("kill runs").success());
    let ended = first.wait().expect("it ends");
    assert_eq!(ended.code(), Some(130));
    let lock = format!("{}-lock", stack.name);
    eventually(Duration::from_secs(5), "the lock is gone", || {
        (!stack.all_containers().contains(&lock)).then_some(())
    });
    stack.ok(&["down", "--volumes", "--yes"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}

/// The engine's clock was set back by an hour: what the gateway has was written by a lock
/// of the future.
#[test]
#[ignore = "engine"]
fn routes_that_a_lock_of_the_future_wrote_are_written_on() {
    let port = free_port();
    let file = format!(
        r#"
services:
  app:
    build: app
    environment: {{ VERSION: "${{VERSION:-1}}" }}
    stop_grace_period: 1s
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy: {{ update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
"#
    );
    let stack = TestStack::new(&file);
    stack.ok(&["deploy"]);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_millis();
    let future = now + 3_600_000;
    let config =
        format!(r#"{{"version":1,"lock":{future},"generation":1,"listeners":[],"services":{{}}}}"#);
    let line = format!(r#"{{"id":1,"op":"apply","config":{config}}}"#);
    let gateway = format!("{}-gateway-1", stack.name);
    let talk = "printf '%s\n' \"$1\" | timeout 10 docker exec -i \"$0\" /shopctl gateway control --name \"$0\"";
    let said = std::process::Command::new("sh")
        .args(["-c", talk, &gateway, &line])
        .output()
        .expect("docker runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("\"generation\":1"), "{said}");
    let ran = stack.run_with(&["deploy"], &[("VERSION", "2")]);
    assert_eq!(ran.code, 0, "{ran}");
    let (_, body) = get(port, "/").expect("the gateway answers");
    assert!(body.starts_with("2 "), "{body}");
    stack.run_with(&["status", "--check"], &[("VERSION", "2")]);
}
