//! A client that dies at any moment leaves nothing that the next run does not finish.

use std::io::BufRead as _;
use std::io::BufReader;
use std::process::Stdio;

use super::support::PODS;
use super::support::Stack;
use super::support::order;

/// Kills a deploy when it has said so many lines; whether it got that far.
fn killed_after(stack: &Stack, lines: usize) -> bool {
    let mut command = stack.command(&["deploy", "--lock-wait", "2m"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let count = said.take(lines).count();
    let _ = child.kill();
    let _ = child.wait();
    count == lines
}

#[test]
#[ignore = "needs a cluster"]
fn a_run_that_was_killed_is_finished_by_the_next() {
    let file = |image: &str| {
        let services = order(image, "    ports: [\"8000:8000\"]\n    configs: [page]\n");
        format!("{services}configs: {{ page: {{ content: \"{image}\" }} }}\n")
    };
    let stack = Stack::new("killed", &file("shop/order:0"));
    let mut lines = 1;
    // Each run that is killed leaves its lock, which the next waits out.
    while killed_after(&stack, lines) {
        stack.run(&["deploy", "--lock-wait", "2m"]).ends(0);
        stack.run(&["plan", "--check"]).ends(0);
        let pods = stack.api().names(PODS);
        assert_eq!(pods.len(), 2, "{pods:?}");
        stack.write(&file(&format!("shop/order:{lines}")));
        lines += 2;
    }
    assert!(lines > 5, "{lines}");
    let history = stack.run(&["history", "-o", "json"]).ends(0).json();
    assert_eq!(history["releases"][0]["outcome"], "deployed");
}

/// Ctrl-C while pods get ready: the cluster goes on, and the next run finds the lock free.
#[test]
#[ignore = "needs a cluster"]
fn a_run_that_was_interrupted_frees_its_lock_and_is_finished_by_the_next() {
    let slow = order(
        "shop/order:1",
        "    annotations: { fake/ready-delay: \"4\" }\n",
    );
    let stack = Stack::new("interrupted", &slow);
    let mut child = stack
        .command(&["deploy"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("order: waiting for")));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let status = stack.run(&["status"]).ends(0);
    assert!(status.out.contains("interrupted"), "{}", status.out);
    stack.run(&["deploy"]).ends(0);
    stack.run(&["plan", "--check"]).ends(0);
}
