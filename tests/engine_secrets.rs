//! A value of a secret is nowhere but in its volume (invariant I15): a canary is looked
//! for in all that shopctl says, writes and makes.

mod support;

use std::process::Command;

use support::Ran;
use support::TestStack;

const FILE: &str = r#"
services:
  web:
    build: app
    command: [task, show, /run/secrets/key, show, /flag/go, sleep, "3600000"]
    secrets: [key]
    environment: { RELEASE: "${RELEASE:-1}" }
    volumes: ["./flag:/flag:ro"]
    stop_grace_period: 0s
    restart: "no"
    deploy: { update_config: { monitor: 1s } }
secrets: { key: { file: key } }
"#;

#[track_caller]
fn silent(text: &str) {
    assert!(!text.contains("canary"), "{text}");
}

#[track_caller]
fn says_nothing(ran: &Ran) {
    silent(&format!("{ran}{}", ran.stdout));
}

/// Everything that the engine tells of what a stack is made of, labels and arguments
/// of programs included.
fn inspected(stack: &TestStack) -> String {
    let list = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output();
        let output = output.expect("docker runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let filter = format!("label=com.docker.compose.project={}", stack.name);
    let mut all = stack.all_containers();
    all.retain(|name| name.starts_with(&stack.name));
    all.extend(stack.images());
    for kind in ["volume", "network"] {
        let names = list(&[kind, "ls", "-q", "--filter", &filter]);
        all.extend(names.lines().map(str::to_owned));
    }
    assert!(all.len() > 3, "{all:?}");
    let mut arguments = vec!["inspect"];
    arguments.extend(all.iter().map(String::as_str));
    list(&arguments)
}

#[test]
#[ignore = "engine"]
fn a_canary_is_in_nothing_that_is_said_written_or_made() {
    let stack = TestStack::new(FILE);
    std::fs::create_dir(stack.path().join("flag")).expect("a folder");
    stack.write("flag/go", "on");
    stack.write("key", "canary-of-one\nand-a-canary-line\n");
    says_nothing(&stack.ok(&["plan", "-o", "json", "--out", "plan.json"]));
    let plan_file = std::fs::read_to_string(stack.path().join("plan.json"));
    silent(&plan_file.expect("a plan file"));
    says_nothing(&stack.ok(&["deploy", "--plan", "plan.json", "-o", "json", "-v"]));
    silent(&inspected(&stack));

    stack.write("key", "canary-of-two");
    let second = stack.run_with(&["deploy"], &[("RELEASE", "2")]);
    assert_eq!(second.code, 0, "{second}");
    says_nothing(&second);

    // From now on whatever starts says its key and fails.
    std::fs::remove_file(stack.path().join("flag/go")).expect("it is there");
    let failed = stack.run_with(&["deploy", "-o", "json"], &[("RELEASE", "3")]);
    assert!(matches!(failed.code, 50..=52), "{failed}");
    assert!(failed.stdout.contains("****"), "{failed}{}", failed.stdout);
    says_nothing(&failed);
    let back = stack.run(&["rollback", "--to", "1", "-o", "json", "--progress", "plain"]);
    assert_eq!(back.code, 51, "{back}");
    assert!(back.stdout.contains("****"), "{back}{}", back.stdout);
    says_nothing(&back);
    for command in [
        &["history", "-o", "json"][..],
        &["history"],
        &["status", "--drift", "-o", "json"],
        &["plan"],
        &["doctor"],
    ] {
        says_nothing(&stack.run(command));
    }
    silent(&inspected(&stack));
}
