//! `shopctl events` on a real Docker Engine: what becomes of containers, as it happens and
//! afterwards, and none of the commands of health checks.

mod support;

use std::io::BufRead as _;
use std::io::BufReader;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use support::TestStack;

const FILE: &str = "
services:
  web:
    build: app
    deploy: { update_config: { monitor: 0s } }
    healthcheck: { test: [CMD, /workload, task, say, well], interval: 200ms }
";

/// One that follows, and its lines as they come.
struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    fn start(stack: &TestStack, arguments: &[&str]) -> Self {
        let mut command = stack.command(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let output = child.stdout.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    fn next(&self) -> String {
        let line = self.lines.recv_timeout(Duration::from_secs(20));
        line.expect("a line in time")
    }

    /// Ctrl-C; the exit code.
    fn interrupt(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status();
        assert!(sent.expect("kill runs").success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Follower {
    /// Also where the test has failed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a line says, but for when and of which container.
fn said(line: &str) -> Value {
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(line["version"], "1");
    json!([
        line["service"],
        line["replica"],
        line["action"],
        line["details"]
    ])
}

#[test]
#[ignore = "engine"]
fn what_becomes_of_containers_is_told_until_ctrl_c() {
    let stack = TestStack::new(FILE);
    stack.ok(&["deploy"]);
    let replica = stack.replicas("web").pop().expect("a replica");
    let image = stack.images().pop().expect("an image");
    // What is past too, so that it is known to follow.
    let asked = ["events", "web", "-o", "json", "--since", "1h"];
    let follower = Follower::start(&stack, &asked);
    let create = |replica: Value| json!(["web", replica, "create", { "image": image }]);
    let healthy = json!(["web", 1, "health_status: healthy", {}]);
    let mut lines = vec![follower.next(), follower.next(), follower.next()];
    stack.code(7, &["run", "web", "--", "task", "exit", "7"]);
    lines.extend((0..4).map(|_| follower.next()));
    let found: Vec<Value> = lines.iter().map(|line| said(line)).collect();
    let want = [
        create(json!(1)),
        json!(["web", 1, "start", {}]),
        healthy,
        create(Value::Null),
        json!(["web", null, "start", {}]),
        json!(["web", null, "die", { "exit_code": "7" }]),
        json!(["web", null, "destroy", {}]),
    ];
    assert_eq!(found, want);
    assert_eq!(follower.interrupt(), Some(130));

    // The same of what is past, which ends by itself.
    let past = stack.ok(&["events", "web", "-o", "json", "--until", "0s"]);
    assert_eq!(past.stdout.lines().collect::<Vec<_>>(), lines);
    let text = stack.ok(&["events", "web", "--until", "0s"]);
    let ended = format!(" web-1 {replica}: health_status: healthy");
    let line = text.stdout.lines().nth(2).expect("a third line");
    assert!(line.ends_with(&ended), "{text}");
    // What is the stack's own is told where all is asked for.
    let all = stack.ok(&["events", "--until", "0s"]);
    assert!(all.stdout.lines().count() >= lines.len(), "{all}");
    let foreign = TestStack::new(FILE);
    assert_eq!(foreign.ok(&["events", "--until", "0s"]).stdout, "");
}
