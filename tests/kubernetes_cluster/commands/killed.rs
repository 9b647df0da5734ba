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
