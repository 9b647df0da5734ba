//! Bad input on a real engine: each ends with its own message, hint and exit
//! code, and never with half a stack that the next run cannot deal with.

mod support;

use std::time::Duration;

use support::Ran;
use support::TestStack;
use support::free_port;

/// One service from the workload with these further lines.
fn service(lines: &str) -> String {
    format!("services:\n  app:\n    build: app\n    stop_grace_period: 1s\n{lines}")
}

#[track_caller]
fn says(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is missing: {ran}");
    }
}

#[test]
#[ignore = "engine"]
fn a_failing_build_shows_its_output_and_changes_nothing() {
    let stack = TestStack::new(&service(""));
    stack.write("app/Dockerfile", "FROM scratch\nCOPY absent /absent\n");
    let ran = stack.code(21, &["deploy", "--progress", "plain"]);
    says(
        &ran,
        &[
            "app:   [1/1] COPY absent /absent",
            "the build of",
            "\"/absent\" not found",
            "hint: mend the build, then: shopctl deploy",
        ],
    );
    assert_eq!(stack.replicas("app"), Vec::<String>::new());
}

#[test]
#[ignore = "engine"]
fn a_failing_prepare_command_is_shown_and_changes_nothing() {
    let stack = TestStack::new(&service(
        "    x-shop: { build: { prepare: [[sh, -c, \"echo from-prepare; exit 7\"]] } }\n",
    ));
    let ran = stack.code(21, &["deploy", "--progress", "plain"]);
    let command = "sh -c 'echo from-prepare; exit 7'";
    says(
        &ran,
        &[
            &format!(
                "the prepare command of app failed: {command} (exit code 7)\n  from-prepare\n"
            ),
            &format!("hint: run it by hand: {command}"),
        ],
    );
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}

#[test]
#[ignore = "engine"]
fn a_context_that_cannot_be_read_whole_is_named_and_nothing_is_sent() {
    let stack = TestStack::new(&service(""));
    std::fs::remove_file(stack.path().join("app/Dockerfile")).expect("removed");
    std::os::unix::fs::symlink("nowhere", stack.path().join("app/Dockerfile")).expect("a link");
    let ran = stack.code(21, &["deploy", "--progress", "plain"]);
    says(&ran, &["Dockerfile", "hint"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}

#[test]
#[ignore = "engine"]
fn an_image_that_cannot_be_pulled_is_named_before_anything_is_changed() {
    let stack = TestStack::new("services:\n  app:\n    image: registry.invalid/nothing:1\n");
    let ran = stack.code(22, &["deploy", "--progress", "plain"]);
    says(&ran, &["registry.invalid/nothing:1", "hint"]);
    assert_eq!(stack.replicas("app"), Vec::<String>::new());
}

#[test]
#[ignore = "engine"]
fn a_container_that_exits_at_once_is_reported_with_its_log() {
    let stack = TestStack::new(&service(
        "    environment: { EXIT_AFTER_MS: \"1\", EXIT_CODE: \"3\" }\n",
    ));
    let ran = stack.code(52, &["deploy", "--progress", "plain"]);
    says(&ran, &["exit code 3", "leaving by EXIT_AFTER_MS"]);
    // What is left is for `logs`; the next deploy of a good file mends it.
    assert_eq!(stack.replicas("app").len(), 1);
    stack.write("stack.yaml", &service(""));
    stack.ok(&["deploy"]);
    assert_eq!(stack.replicas("app").len(), 1);
    stack.ok(&["down", "--volumes", "--yes"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}

#[test]
#[ignore = "engine"]
fn a_container_that_never_gets_ready_ends_at_its_deadline() {
    let stack = TestStack::new(&service(
        "    environment: { READY_AFTER_MS: \"3600000\" }\n    x-shop: { ready: { http: /readyz, port: 8000, timeout: 2s } }\n",
    ));
    let ran = stack.code(52, &["deploy", "--progress", "plain"]);
    says(&ran, &["app", "not ready after 2 s", "503"]);
    assert!(ran.took < Duration::from_secs(30), "{ran}");
}

#[test]
#[ignore = "engine"]
fn a_deadline_that_passes_says_so_and_the_next_deploy_goes_on() {
    let file = |version: &str| {
        service(&format!(
            "    environment: {{ VERSION: \"{version}\", READY_AFTER_MS: \"3000\" }}\n    x-shop: {{ ready: {{ http: /readyz, port: 8000, timeout: 30s }} }}\n"
        ))
    };
    let stack = TestStack::new(&file("1"));
    stack.ok(&["deploy"]);
    let old = stack.replicas("app");
    stack.write("stack.yaml", &file("2"));
    let ran = stack.code(53, &["deploy", "--timeout", "1s"]);
    says(
        &ran,
        &["the time limit passed with", "run the same command again"],
    );
    assert!(ran.took < Duration::from_secs(20), "{ran}");
    let now = stack.replicas("app");
    assert!(now.contains(&old[0]), "what served serves: {now:?}");
    stack.ok(&["deploy"]);
    let now = stack.replicas("app");
    assert!(now.len() == 1 && now != old, "{now:?} after {old:?}");
    assert_eq!(stack.run(&["plan", "--check"]).code, 0);
}

#[test]
#[ignore = "engine"]
fn a_taken_host_port_is_found_before_anything_is_changed() {
    let port = free_port();
    let file = service(&format!("    ports: [\"127.0.0.1:{port}:8000\"]\n"));
    let first = TestStack::new(&file);
    first.ok(&["deploy"]);
    let second = TestStack::new(&file);
    let ran = second.code(41, &["deploy"]);
    says(&ran, &[&port.to_string(), "stack.yaml"]);
    assert_eq!(second.leftovers(), Vec::<String>::new());
}

#[test]
#[ignore = "engine"]
fn an_engine_that_is_down_is_named() {
    let stack = TestStack::new(&service(""));
    let output = stack
        .command(&["status"])
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .output()
        .expect("shopctl starts");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(30), "{words}");
    assert!(
        words.contains("/nowhere/docker.sock") && words.contains("hint"),
        "{words}"
    );
}

#[test]
#[ignore = "engine"]
fn broken_stack_files_name_the_place_and_change_nothing() {
    let cases = [
        ("services:\n  app:\n    imagee: x\n", "stack.yaml:3:5"),
        (
            "services:\n  app:\n    image: x\n    depends_on: [db]\n",
            "db",
        ),
        (
            "services:\n  a: { image: x, depends_on: [b] }\n  b: { image: x, depends_on: [a] }\n",
            "wait for each other",
        ),
        ("services:\n\tapp: {}\n", "stack.yaml:2"),
        ("services: [a]\n", "stack.yaml:1"),
        (
            "services:\n  app:\n    image: x\n    deploy: { replicas: many }\n",
            "stack.yaml:4",
        ),
        ("services:\n  app: {}\n", "image"),
        (
            "services:\n  a: { image: x, ports: [\"8000:1\"] }\n  b: { image: x, ports: [\"8000:2\"] }\n",
            "8000",
        ),
        (
            "services:\n  app: { image: \"${UNSET:?set it}\" }\n",
            "set it",
        ),
        (
            "services:\n  app: { image: x, networks: [nowhere] }\n",
            "nowhere",
        ),
    ];
    let stack = TestStack::new("");
    for (file, word) in cases {
        stack.write("stack.yaml", file);
        let ran = stack.code(20, &["deploy"]);
        says(&ran, &[word, "stack.yaml"]);
    }
    // The file is right, what it names is not there: the build's own code.
    stack.write("stack.yaml", "services:\n  app: { build: ./absent }\n");
    says(&stack.code(21, &["deploy"]), &["absent", "hint"]);
    std::fs::remove_file(stack.path().join("stack.yaml")).expect("removed");
    let ran = stack.code(20, &["deploy"]);
    says(&ran, &["hint"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}
