//! Hooks on a real Docker Engine: a migration that passes, fails, hangs or is killed,
//! and what serves meanwhile.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::query_parameters::TagImageOptionsBuilder;
use support::Ran;
use support::TestStack;
use support::block_on;
use support::docker;
use support::eventually;

/// A service with hooks in the form of YAML flow mappings, by key.
fn file(version: u32, hooks: &[(&str, &str)]) -> String {
    let hooks: Vec<String> = hooks
        .iter()
        .map(|(key, command)| format!("{key}: {{ {command} }}"))
        .collect();
    format!(
        "services:\n  web:\n    build: app\n    environment: {{ VERSION: \"{version}\", GREETING: hello }}\n    stop_grace_period: 2s\n    deploy: {{ replicas: 2, update_config: {{ monitor: 0s }} }}\n    x-shop:\n      ready: {{ http: /readyz, port: 8000 }}\n      hooks: {{ {} }}\n",
        hooks.join(", ")
    )
}

fn replicas(stack: &TestStack) -> BTreeMap<String, String> {
    let mut all = stack.containers();
    all.retain(|name, _| name.contains("-web-1-") || name.contains("-web-2-"));
    all
}

/// What hooks said in a run, line by line.
fn said(ran: &Ran) -> Vec<String> {
    let events = ran.events();
    let lines = events
        .iter()
        .filter(|event| event["event"] == "step_progress")
        .filter_map(|event| event["text"].as_str());
    lines
        .filter(|line| line.starts_with("hook"))
        .map(ToOwned::to_owned)
        .collect()
}

/// No container of a hook is left.
#[track_caller]
fn assert_swept(stack: &TestStack) {
    let left: Vec<String> = stack.containers().into_keys().collect();
    let kinds = ["-deploy-", "-on-rollback-", "-pre-start-"];
    let hook = |name: &String| kinds.iter().any(|kind| name.contains(kind));
    assert!(!left.iter().any(hook), "{left:?}");
}

const PASSES: (&str, &str) = (
    "pre_deploy",
    "command: [/workload, task, say, hook migrates, env, GREETING, env, STAGE], environment: { STAGE: hook of one }",
);
const AFTER: (&str, &str) = ("post_deploy", "command: [/workload, task, say, hook warms]");

#[test]
#[ignore = "engine"]
fn a_migration_runs_once_for_each_new_revision() {
    let stack = TestStack::new(&file(1, &[PASSES, AFTER]));
    let plan = stack.ok(&["plan"]);
    for part in [
        "run pre_deploy of web: /workload task say",
        "hooks may take up to 10 min in all",
    ] {
        assert!(plan.stdout.contains(part), "{part}: {plan}");
    }
    let first = stack.ok(&["deploy", "-o", "json"]);
    assert_eq!(said(&first), ["hook migrates", "hook of one", "hook warms"]);
    assert_swept(&stack);
    let before = stack.containers();
    let again = stack.ok(&["deploy", "-o", "json"]);
    let last = again.events().pop().expect("an event");
    assert_eq!(last["outcome"], "nothing_to_do", "{again}");
    for arguments in [
        ["scale", "web=3"].as_slice(),
        &["restart"],
        &["scale", "web=2"],
    ] {
        let ran = stack.ok(arguments);
        assert!(!ran.stderr.contains("hook "), "{ran}");
    }
    assert_eq!(stack.containers().len(), before.len());

    stack.write("stack.yaml", &file(2, &[PASSES, AFTER]));
    stack.ok(&["plan", "--out", "plan.json"]);
    let reviewed = stack.ok(&["deploy", "--plan", "plan.json", "-o", "json"]);
    assert_eq!(said(&reviewed).len(), 3, "{reviewed}");
    stack.ok(&["status", "--check", "--drift"]);
}

#[test]
#[ignore = "engine"]
fn a_migration_that_fails_touches_no_replica() {
    let stack = TestStack::new(&file(1, &[]));
    stack.ok(&["deploy"]);
    let before = replicas(&stack);
    let fails = "command: [/workload, task, say, hook begins, warn, hook breaks, exit, \"7\"]";
    stack.write("stack.yaml", &file(2, &[("pre_deploy", fails)]));
    let failed = stack.code(50, &["deploy"]);
    for part in [
        "pre_deploy of web (/workload task say",
        "ended with exit code 7",
        "hook breaks",
        "release 1 serves",
    ] {
        assert!(failed.stderr.contains(part), "{part}: {failed}");
    }
    assert_eq!(replicas(&stack), before);
    assert_swept(&stack);

    let hangs = "command: [/workload, task, say, hook hangs, sleep, \"60000\"], timeout: 1s";
    stack.write("stack.yaml", &file(2, &[("pre_deploy", hangs)]));
    let late = stack.code(50, &["deploy"]);
    assert!(late.took < Duration::from_secs(20), "{late}");
    for part in ["was killed: it had not ended after 1 s", "hook hangs"] {
        assert!(late.stderr.contains(part), "{part}: {late}");
    }
    assert_eq!(replicas(&stack), before);
    assert_swept(&stack);

    // The time of the whole run ends a hook too.
    let hangs = "command: [/workload, task, sleep, \"60000\"]";
    stack.write("stack.yaml", &file(2, &[("pre_deploy", hangs)]));
    stack.code(53, &["deploy", "--timeout", "2s"]);
    assert_eq!(replicas(&stack), before);
    assert_swept(&stack);

    // Nothing to go back to: the next deploy with a mended hook just goes on.
    let missing = "command: [/no-such-program]";
    stack.write("stack.yaml", &file(2, &[("pre_deploy", missing)]));
    let missing = stack.code(52, &["deploy", "--no-rollback"]);
    assert!(missing.stderr.contains("could not be started"), "{missing}");
    stack.write("stack.yaml", &file(2, &[PASSES]));
    stack.ok(&["deploy"]);
    assert_ne!(replicas(&stack), before);
}

#[test]
#[ignore = "engine"]
fn a_first_deploy_whose_migration_fails_starts_no_replica() {
    let fails = "command: [/workload, task, exit, \"1\"]";
    let stack = TestStack::new(&file(1, &[("pre_deploy", fails)]));
    let failed = stack.code(52, &["deploy"]);
    assert!(failed.stderr.contains("nothing served"), "{failed}");
    assert!(replicas(&stack).is_empty());
    stack.write("stack.yaml", &file(1, &[PASSES]));
    stack.ok(&["deploy"]);
    assert_eq!(replicas(&stack).len(), 2);
}

#[test]
#[ignore = "engine"]
fn a_killed_run_leaves_a_migration_that_the_next_one_runs_anew() {
    let stack = TestStack::new(&file(1, &[]));
    stack.ok(&["deploy"]);
    let before = replicas(&stack);
    let slow = "command: [/workload, task, say, hook begins, sleep, \"4000\", say, hook ends]";
    stack.write("stack.yaml", &file(2, &[("pre_deploy", slow)]));
    let mut deploy = stack.command(&["deploy"]);
    let deploy = deploy.stderr(std::process::Stdio::null());
    let mut deploy = deploy.spawn().expect("shopctl starts");
    let task = eventually(Duration::from_secs(30), "the hook runs", || {
        let all = stack.containers();
        let found = all
            .iter()
            .find(|(name, state)| name.contains("-pre-deploy-") && state.ends_with("running"));
        found.map(|(name, state)| (name.clone(), state.clone()))
    });
    deploy.kill().expect("it can be killed");
    deploy.wait().expect("it ends");
    assert_eq!(replicas(&stack), before);
    let status = stack.ok(&["status", "--drift", "-o", "json"]).json();
    assert_eq!(status["services"][0]["replicas"]["running"], 2);
    assert_eq!(
        status["services"][0]["instances"].as_array().map(Vec::len),
        Some(2)
    );
    let drift = status["drift"].to_string();
    assert!(!drift.contains("deploy"), "{drift}");
    assert_eq!(
        stack.containers().get(&task.0),
        Some(&task.1),
        "it is left over"
    );

    let next = stack.ok(&["deploy", "-o", "json"]);
    assert_eq!(said(&next), ["hook begins", "hook ends"]);
    assert!(
        next.stdout.contains(&format!("remove {}", task.0)),
        "{next}"
    );
    assert_swept(&stack);
    assert_ne!(replicas(&stack), before);
    stack.ok(&["status", "--check"]);
    stack.ok(&["down", "--volumes"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}

#[test]
#[ignore = "engine"]
fn on_the_way_back_a_hook_runs_with_the_revision_that_serves_again() {
    let back = (
        "on_rollback",
        "command: [/workload, task, say, hook goes back, env, VERSION]",
    );
    let stack = TestStack::new(&file(1, &[PASSES, back]));
    stack.ok(&["deploy"]);
    let fails = ("post_deploy", "command: [/workload, task, exit, \"3\"]");
    stack.write("stack.yaml", &file(2, &[fails, back]));
    let failed = stack.run(&["deploy", "-o", "json"]);
    assert_eq!(failed.code, 50, "{failed}");
    assert_eq!(said(&failed), ["hook goes back"]);
    let version = |ran: &Ran| {
        let events = ran.events();
        let texts: Vec<&str> = events
            .iter()
            .filter_map(|event| event["text"].as_str())
            .collect();
        texts.contains(&"1")
    };
    assert!(version(&failed), "{failed}");
    stack.ok(&["status", "--drift"]);

    // Asked for; and its own failure changes nothing that serves.
    stack.write("stack.yaml", &file(3, &[back]));
    stack.ok(&["deploy"]);
    let asked = stack.ok(&["rollback", "-o", "json"]);
    assert_eq!(said(&asked), ["hook goes back"]);
    assert!(version(&asked), "{asked}");
    let breaks = ("on_rollback", "command: [/workload, task, exit, \"4\"]");
    stack.write("stack.yaml", &file(4, &[breaks]));
    stack.ok(&["deploy"]);
    let good = replicas(&stack);
    stack.write("stack.yaml", &file(5, &[breaks, PASSES]));
    stack.ok(&["deploy"]);
    let asked = stack.code(51, &["rollback"]);
    assert!(asked.stderr.contains("ended with exit code 4"), "{asked}");
    let names = |all: &BTreeMap<String, String>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&replicas(&stack)), names(&good));
    stack.ok(&["status", "--drift"]);
    stack.write("stack.yaml", &file(6, &[fails]));
    let stranded = stack.code(51, &["deploy"]);
    assert!(
        stranded.stderr.contains("ended with exit code 4"),
        "{stranded}"
    );
    assert_eq!(names(&replicas(&stack)), names(&good));
    assert_swept(&stack);
}

#[test]
#[ignore = "engine"]
fn hooks_of_the_stack_frame_those_of_its_services() {
    let hook = |key: &str, word: &str| {
        format!("{key}: {{ command: [/workload, task, say, hook {word}] }}")
    };
    let both = |owner: &str| {
        let hooks =
            ["pre_deploy", "post_deploy"].map(|key| hook(key, &format!("{key} of {owner}")));
        hooks.join(", ")
    };
    let file = |version: u32| {
        format!(
            "services:\n  web:\n    build: app\n    environment: {{ VERSION: \"{version}\" }}\n    depends_on: [data]\n    deploy: {{ update_config: {{ monitor: 0s }} }}\n    x-shop: {{ ready: {{ http: /readyz, port: 8000 }}, hooks: {{ {} }} }}\n  data:\n    build: app\n    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}\nx-shop: {{ hooks: {{ service: data, {} }} }}\n",
            both("web"),
            both("the stack")
        )
    };
    let order = [
        "hook pre_deploy of the stack",
        "hook pre_deploy of web",
        "hook post_deploy of web",
        "hook post_deploy of the stack",
    ];
    let stack = TestStack::new(&file(1));
    assert_eq!(said(&stack.ok(&["deploy", "-o", "json"])), order);
    // The service whose image they run with is none of those that change.
    stack.write("stack.yaml", &file(2));
    assert_eq!(said(&stack.ok(&["deploy", "-o", "json"])), order);
    stack.ok(&["deploy", "data"]);
    assert_swept(&stack);
    stack.ok(&["status", "--check"]);
}

/// A service whose replicas run commands inside themselves when they start and stop.
fn inside(version: u32, started: &str, stops: &str) -> String {
    format!(
        r#"
services:
  web:
    build: app
    environment: {{ VERSION: "{version}", GREETING: hello }}
    stop_grace_period: 2s
    restart: unless-stopped
    post_start: [{{ command: [/workload, task, say, hook begins] }}, {{ command: [/workload, task, {started}], environment: {{ GREETING: hook greets }} }}]
    pre_stop: [{{ command: [/workload, task, {stops}] }}]
    deploy: {{ replicas: 2, update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
"#
    )
}

#[test]
#[ignore = "engine"]
fn commands_run_inside_each_replica_when_it_starts_and_before_it_stops() {
    let file = |version| inside(version, "env, GREETING", "say, hook ends");
    let stack = TestStack::new(&file(1));
    let first = stack.ok(&["deploy", "-o", "json"]);
    let mut begun = said(&first);
    begun.sort();
    assert_eq!(
        begun,
        ["hook begins", "hook begins", "hook greets", "hook greets"]
    );
    assert!(!first.stderr.contains("no effect"), "{first}");
    // One is not ready before they have ended.
    let events = first.events();
    let at = |event: &str, what: &str| {
        let is = |one: &serde_json::Value| {
            let text = [&one["text"], &one["what"]].map(|it| it.as_str().unwrap_or_default());
            one["event"] == event && text.iter().any(|it| it.starts_with(what))
        };
        events.iter().rposition(is).expect(what)
    };
    assert!(at("step_progress", "hook greets") < at("step_finished", "start "));

    stack.write("stack.yaml", &file(2));
    let replaced = said(&stack.ok(&["deploy", "-o", "json"]));
    let ends = |lines: &[String]| lines.iter().filter(|line| *line == "hook ends").count();
    assert_eq!((replaced.len(), ends(&replaced)), (6, 2), "{replaced:?}");
    let restarted = said(&stack.ok(&["restart", "-o", "json"]));
    assert!(ends(&restarted) >= 2, "{restarted:?}");
    let fewer = said(&stack.ok(&["scale", "web=1", "-o", "json"]));
    assert_eq!(fewer, ["hook ends"]);
    let down = said(&stack.ok(&["down", "--volumes", "--yes", "-o", "json"]));
    assert_eq!(down, ["hook ends"]);
}

#[test]
#[ignore = "engine"]
fn a_command_inside_that_fails_fails_the_start_and_never_the_stop() {
    let stack = TestStack::new(&inside(
        1,
        "say, hook well",
        "warn, hook breaks, exit, \"7\"",
    ));
    stack.ok(&["deploy"]);
    let before = replicas(&stack);
    stack.write(
        "stack.yaml",
        &inside(2, "warn, hook breaks, exit, \"3\"", "say, hook ends"),
    );
    let failed = stack.code(50, &["deploy"]);
    for part in [
        "post_start in ",
        "ended with exit code 3",
        "hook breaks",
        "release 1 serves",
    ] {
        assert!(failed.stderr.contains(part), "{part}: {failed}");
    }
    assert_eq!(replicas(&stack), before);
    stack.write(
        "stack.yaml",
        &inside(3, "say, hook well", "warn, hook breaks, exit, \"7\""),
    );
    let replaced = stack.ok(&["deploy"]);
    for part in [
        "pre_stop in ",
        "ended with exit code 7",
        "it is stopped all the same",
    ] {
        assert!(replaced.stderr.contains(part), "{part}: {replaced}");
    }
}

/// A service that needs another one, with a volume for all of its replicas and one for each.
fn prepared(version: u32, pre_start: &str) -> String {
    format!(
        r#"
services:
  web:
    build: app
    environment: {{ VERSION: "{version}", GREETING: hook of the service }}
    depends_on: {{ data: {{ condition: service_healthy }} }}
    volumes: ["notes:/notes", /own]
    stop_grace_period: 2s
    pre_start: [{pre_start}]
    post_start: [{{ command: [/workload, task, show, /own/note] }}]
    deploy: {{ replicas: 2, update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }}, volumes: {{ notes: {{ access: shared }} }} }}
  data:
    build: app
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
volumes: {{ notes: {{}} }}
"#
    )
}

const NOTES: &str = r#"{ command: [task, add, /notes/all, hook migrated], user: "0:0" }"#;
const SHOWS: &str = "{ command: [task, show, /notes/all, env, GREETING, env, STAGE], environment: { STAGE: hook of its own } }";
const EACH: &str = r#"{ command: [task, add, /own/note, hook kept, say, hook warms], user: "0:0", per_replica: true }"#;

#[test]
#[ignore = "engine"]
fn what_comes_before_a_start_runs_once_for_a_revision_or_for_each_replica() {
    let all = [NOTES, SHOWS, EACH].join(", ");
    let stack = TestStack::new(&prepared(1, &all));
    let plan = stack.ok(&["plan"]);
    for part in [
        r#"run pre_start of web: task add /notes/all "hook migrated" (at most 10 min)"#,
        r#"run pre_start of web: task add /own/note "hook kept" say "hook warms" (at most 10 min): needed by the start of web/2"#,
    ] {
        assert!(plan.stdout.contains(part), "{part}: {plan}");
    }
    let first = stack.ok(&["deploy", "-o", "json"]);
    let mut begun = said(&first);
    // Of the replicas either may be the first.
    begun[3..].sort();
    assert_eq!(
        begun,
        [
            "hook migrated",
            "hook of the service",
            "hook of its own",
            "hook kept",
            "hook kept",
            "hook warms",
            "hook warms",
        ]
    );
    assert_swept(&stack);
    let steps: Vec<String> = first
        .events()
        .iter()
        .filter(|event| event["event"] == "step_finished")
        .filter_map(|event| event["what"].as_str().map(ToOwned::to_owned))
        .collect();
    let at = |part: &str| {
        let found = steps.iter().position(|what| what.contains(part));
        found.unwrap_or_else(|| panic!("{part}: {steps:#?}"))
    };
    let order = [
        at("-data-1-"),
        at("task add /notes"),
        at("task show"),
        at("task add /own"),
    ];
    assert!(order.is_sorted(), "{order:?}: {steps:#?}");
    let started = steps
        .iter()
        .position(|what| what.starts_with("start ") && what.contains("-web-"));
    assert!(
        at("task add /own") < started.expect("a start"),
        "{steps:#?}"
    );

    let again = stack.ok(&["deploy", "-o", "json"]);
    let last = again.events().pop().expect("an event");
    assert_eq!(last["outcome"], "nothing_to_do", "{again}");
    let mut more = said(&stack.ok(&["scale", "web=3", "-o", "json"]));
    more.sort();
    assert_eq!(more, ["hook kept", "hook warms"]);
    let restarted = said(&stack.ok(&["restart", "-o", "json"]));
    assert!(
        !restarted.contains(&"hook migrated".to_owned()),
        "{restarted:?}"
    );
    stack.ok(&["scale", "web=2"]);

    // Another image: that of a replica, under a name that nothing else uses.
    let image = stack
        .inspect(&stack.replicas("web")[0])
        .image
        .expect("an id");
    let tool = format!("{}-tool", stack.name);
    block_on(async {
        let options = TagImageOptionsBuilder::default()
            .repo(&tool)
            .tag("1")
            .build();
        let tagged = docker().tag_image(&image, Some(options)).await;
        tagged.expect("the image has another name");
    });
    let other = format!(r#"{{ image: "{tool}:1", command: [task, say, hook of a tool] }}"#);
    stack.write(
        "stack.yaml",
        &prepared(2, &[NOTES, &other, EACH].join(", ")),
    );
    let replaced = said(&stack.ok(&["deploy", "-o", "json"]));
    assert_eq!(replaced[0], "hook of a tool");
    stack.ok(&["status", "--check", "--drift"]);
    assert_swept(&stack);
    stack.ok(&["down", "--volumes", "--yes"]);
}

#[test]
#[ignore = "engine"]
fn what_fails_before_a_start_leaves_what_serves() {
    let fails = |more: &str| {
        format!(r#"{EACH}, {{ command: [task, warn, hook breaks, exit, "7"]{more} }}"#)
    };
    let stack = TestStack::new(&prepared(1, &fails("")));
    let first = stack.code(52, &["deploy"]);
    assert!(first.stderr.contains("ended with exit code 7"), "{first}");
    assert_eq!(stack.replicas("web"), Vec::<String>::new());
    stack.write("stack.yaml", &prepared(1, EACH));
    stack.ok(&["deploy"]);
    let before = replicas(&stack);
    for (version, more) in [(2, ""), (3, ", per_replica: true")] {
        stack.write("stack.yaml", &prepared(version, &fails(more)));
        let failed = stack.code(50, &["deploy"]);
        for part in [
            r#"pre_start of web (task warn "hook breaks" exit 7) ended with exit code 7"#,
            "release 2 serves",
        ] {
            assert!(failed.stderr.contains(part), "{part}: {failed}");
        }
        assert_eq!(replicas(&stack), before);
        assert_swept(&stack);
    }
}
