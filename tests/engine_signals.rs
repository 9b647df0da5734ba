//! Runs that are stopped or interrupted from outside: a holder of the lock that was
//! stopped and wakes up too late, and a user who does not want to wait.

mod support;

use std::io::BufRead as _;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use support::Ran;
use support::TestStack;
use support::eventually;
use support::free_port;
use support::get;
use support::shim::Call;
use support::shim::Shim;

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

/// A service whose second version takes 20 s to get ready, and how long that is
/// waited for, which is no part of the container.
fn slow(port: u16, version: u32, timeout: &str) -> String {
    let after = if version == 1 { 0 } else { 20_000 };
    format!(
        r#"
services:
  app:
    build: app
    restart: unless-stopped
    stop_grace_period: 1s
    environment: {{ VERSION: "{version}", READY_AFTER_MS: "{after}" }}
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy: {{ update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000, timeout: {timeout} }} }}
"#
    )
}

/// The holder is stopped while it waits for its new replica, and another run takes
/// over and finishes that very replica. To the holder, waking up, the replica looks
/// as if it never got ready; it must not take it back.
#[test]
#[ignore = "engine"]
fn a_stopped_holder_loses_the_lock_and_does_not_go_on_when_it_wakes() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let shim = runtime.block_on(async { Shim::start() });
    let port = free_port();
    let stack = TestStack::new(&slow(port, 1, "60s"));
    stack.ok(&["deploy"]);
    let old = stack.replicas("app");

    stack.write("stack.yaml", &slow(port, 2, "8s"));
    let holder = stack
        .command(&["deploy", "--progress", "plain"])
        .env("DOCKER_HOST", shim.host())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("shopctl starts");
    eventually(Duration::from_mins(1), "the new replica runs", || {
        let new = stack
            .replicas("app")
            .into_iter()
            .find(|name| !old.contains(name))?;
        let state = stack.containers().remove(&new)?;
        state.ends_with("running").then_some(())
    });
    signal(&holder, "STOP");
    let stopped = Instant::now();

    // The engine keeps the lock until the holder was silent for 15 s.
    let lock = format!("{}-lock", stack.name);
    stack.write("stack.yaml", &slow(port, 2, "60s"));
    let refused = stack.code(60, &["deploy"]);
    assert!(refused.stderr.contains("holds the lock"), "{refused}");
    let taken = stack.ok(&["deploy", "--lock-wait", "40s", "--progress", "plain"]);
    let silence = stopped.elapsed();
    assert!(
        silence > Duration::from_secs(10) && silence < Duration::from_mins(1),
        "taken over after {silence:?}: {taken}"
    );
    eventually(Duration::from_secs(30), "the second version serves", || {
        get(port, "/")
            .is_ok_and(|(status, body)| status == 200 && body.starts_with("2 "))
            .then_some(())
    });
    let after = stack.containers();
    assert!(!after.contains_key(&old[0]), "{after:?}");
    assert!(
        !stack.all_containers().contains(&lock),
        "{lock} is still there"
    );

    shim.reset(None);
    signal(&holder, "CONT");
    let woken = Instant::now();
    let output = holder.wait_with_output().expect("it ends");
    let ran = Ran::new(&["deploy (woken)"], &output, woken.elapsed());
    assert_eq!(ran.code, 60, "{ran}");
    assert!(
        ran.stderr.contains("the lock of this stack was lost"),
        "{ran}"
    );
    assert!(ran.took < Duration::from_secs(10), "{ran}");
    // It waits for its own lock to be gone, which is asked for by POST and changes nothing.
    let mut mutating = shim.mutating();
    mutating.retain(|call| !call.path.ends_with("/wait?condition=removed"));
    assert_eq!(mutating, Vec::<Call>::new(), "{ran}");
    assert_eq!(stack.containers(), after, "{ran}");
    assert_eq!(get(port, "/").expect("it serves").0, 200);
    stack.ok(&["status", "--check"]);
    drop(runtime);
}

#[test]
#[ignore = "engine"]
fn a_second_ctrl_c_ends_at_once() {
    // It does not end at this signal, so the engine's stop takes the whole minute.
    let stack = TestStack::new(
        "services:\n  app:\n    build: app\n    stop_signal: SIGURG\n    stop_grace_period: 60s\n",
    );
    stack.ok(&["deploy"]);
    let app = stack.replicas("app").remove(0);
    let mut down = stack
        .command(&["down", "--yes", "--progress", "plain"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("shopctl starts");
    let (sender, lines) = mpsc::channel();
    let errors = std::io::BufReader::new(down.stderr.take().expect("piped"));
    std::thread::spawn(move || {
        for line in errors.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut said = Vec::new();
    let mut until = |word: &str| loop {
        match lines.recv_timeout(Duration::from_secs(20)) {
            Ok(line) => {
                said.push(line.clone());
                if line.contains(word) {
                    break;
                }
            }
            Err(error) => panic!("`{word}` was not said ({error}): {said:#?}"),
        }
    };
    until(&format!("stop {app}"));
    signal(&down, "INT");
    until("once more stops at once");
    // The stop is under way, so this is no safe point.
    assert_eq!(down.try_wait().expect("it can be asked"), None);
    signal(&down, "INT");
    let second = Instant::now();
    let ended = down.wait().expect("it ends");
    let took = second.elapsed();
    assert_eq!(ended.code(), Some(130));
    assert!(took < Duration::from_secs(3), "{took:?}");
    until("hint: run the same command again");

    // The lock goes with its holder, and the same command finishes the work.
    let lock = format!("{}-lock", stack.name);
    eventually(Duration::from_secs(10), "the lock is gone", || {
        (!stack.all_containers().contains(&lock)).then_some(())
    });
    support::block_on(async {
        let options = bollard::query_parameters::KillContainerOptionsBuilder::default()
            .signal("SIGKILL")
            .build();
        let killed = support::docker().kill_container(&app, Some(options)).await;
        killed.expect("it runs still");
    });
    stack.ok(&["down", "--volumes", "--yes"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}
