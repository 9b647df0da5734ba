//! What happens on the cluster, as whole commands tell it.

use std::io::BufRead as _;
use std::io::BufReader;
use std::process::Child;
use std::process::Stdio;

use serde_json::Value;

use super::support::Stack;
use super::support::order;

/// One that follows; it ends with the test, also where that has failed.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs a cluster"]
fn what_a_deploy_makes_of_the_stack_is_told() {
    let stack = Stack::new("events", &order("shop/order:1", ""));
    stack.run(&["deploy"]).ends(0);
    let asked = ["events", "--since", "1h", "--until", "0s", "-o", "json"];
    let said = stack.run(&asked).ends(0);
    assert_eq!(said.err, "");
    let lines: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let count = |kind: &str, action: &str| {
        let object = |line: &Value| line["object"].as_str().unwrap().starts_with(kind);
        let all = lines.iter();
        all.filter(|line| line["action"] == action && object(line))
            .count()
    };
    assert_eq!(
        count("Deployment order", "ScalingReplicaSet"),
        1,
        "{}",
        said.out
    );
    assert_eq!(
        count("ReplicaSet order-", "SuccessfulCreate"),
        2,
        "{}",
        said.out
    );
    assert_eq!(count("Pod order-", "Scheduled"), 2, "{}", said.out);
    assert!(
        lines.iter().all(|line| line["service"] == "order"),
        "{}",
        said.out
    );
    let times: Vec<u64> = lines.iter().map(|it| it["at"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let text = stack.run(&["events", "--until", "0s", "order"]).ends(0).out;
    let line = text.lines().find(|line| line.contains("ScalingReplicaSet"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    let (_, line) = line.split_once(' ').unwrap();
    assert!(
        line.starts_with("order Deployment order: ScalingReplicaSet: Scaled up replica set order-"),
        "{line}"
    );
}

#[test]
#[ignore = "needs a cluster"]
fn what_happens_is_followed_until_ctrl_c() {
    let stack = Stack::new("follows", &order("shop/order:1", ""));
    stack.run(&["deploy"]).ends(0);
    let mut command = stack.command(&["events", "--since", "1h"]);
    let mut child = Following(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut until = |words: &str| {
        let found = lines.find(|line| line.as_ref().unwrap().contains(words));
        found.unwrap().unwrap()
    };
    until("Scheduled");
    stack.run(&["scale", "order=3"]).ends(0);
    let line = until(" to 3");
    assert!(
        line.contains(" order Deployment order: ScalingReplicaSet"),
        "{line}"
    );
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
}
