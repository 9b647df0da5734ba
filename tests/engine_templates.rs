//! What `init` writes deploys as it stands, also by its CI steps, runs without rights,
//! answers, logs JSON, drains, and goes away.

mod support;

#[path = "support/base.rs"]
mod base;

use support::Ran;
use support::TestStack;
use support::free_port;
use support::get;

/// The commands of every job of a CI file, run as the CI would, in their order.
#[track_caller]
fn runs_in_ci(stack: &TestStack, file: &str, variables: &[(&str, &str)]) {
    let folder = stack.path().join("web");
    let text = std::fs::read_to_string(folder.join(file)).expect("init writes it");
    let parsed: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
    let commands: Vec<String> = match parsed.get("jobs") {
        // GitHub: jobs of steps; `uses` fetches what is here already.
        Some(jobs) => ["plan", "deploy"]
            .iter()
            .flat_map(|job| jobs[job]["steps"].as_array().expect("steps"))
            .filter_map(|step| Some(step.get("run")?.as_str()?.to_owned()))
            .collect(),
        None => ["plan", "deploy"]
            .iter()
            .flat_map(|job| parsed[job]["script"].as_array().expect("a script"))
            .map(|line| line.as_str().expect("a command").to_owned())
            .collect(),
    };
    assert!(commands.len() >= 4, "{file}: {commands:?}");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_shopctl"));
    let path = format!(
        "{}:{}",
        binary.parent().expect("a folder").display(),
        std::env::var("PATH").expect("a PATH")
    );
    let own = stack.command(&[]);
    let own: Vec<_> = own
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let summary = stack.path().join("summary.md");
    for command in commands {
        let output = std::process::Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", &command])
            .current_dir(&folder)
            .envs(own.iter().copied())
            .env("PATH", &path)
            .env("COMPOSE_PROJECT_NAME", &stack.name)
            .env("GITHUB_STEP_SUMMARY", &summary)
            .envs(variables.iter().copied())
            .output()
            .expect("bash runs");
        assert!(output.status.success(), "{file}: {command}: {output:?}");
    }
}

/// Not root, nothing writable, no capability and none to be had.
#[track_caller]
fn has_no_rights(stack: &TestStack, replica: &str) {
    let found = stack.inspect(replica);
    let user = found.config.and_then(|config| config.user);
    let host = found.host_config.expect("settings");
    assert_eq!(
        (
            user.as_deref(),
            host.readonly_rootfs,
            host.cap_drop,
            host.security_opt,
            host.privileged,
        ),
        (
            Some("65532:65532"),
            Some(true),
            Some(vec!["ALL".to_owned()]),
            Some(vec!["no-new-privileges:true".to_owned()]),
            Some(false),
        )
    );
}

#[track_caller]
fn deploys(template: &str, base: &str) {
    let stack = TestStack::new("");
    stack.ok(&["init", "web", "--template", template]);
    let port = free_port();
    let run = |arguments: &[&str]| -> Ran {
        let all = [&["-f", "web/stack.yaml"], arguments].concat();
        stack.run_with(&all, &[("PORT", &port.to_string()), ("BASE", base)])
    };
    let deployed = run(&["deploy", "--progress", "plain"]);
    assert_eq!(deployed.code, 0, "{deployed}");

    let (status, body) = get(port, "/").expect("it answers");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("greeting"), "{body}");
    assert_eq!(
        run(&["plan", "--check"]).code,
        0,
        "a second deploy has nothing to do"
    );

    for file in [".github/workflows/deploy.yml", ".gitlab-ci.yml"] {
        runs_in_ci(&stack, file, &[("PORT", &port.to_string()), ("BASE", base)]);
    }
    let replica = stack.replicas("web").pop().expect("a replica");
    has_no_rights(&stack, &replica);

    for line in run(&["logs"]).stdout.lines() {
        let (origin, line) = line.split_once(" | ").expect("an origin");
        assert!(origin.starts_with("web-"), "{origin}");
        let line: serde_json::Value = serde_json::from_str(line).expect("logs are JSON");
        assert!(line["message"].is_string(), "{line}");
    }

    // A drain is told, and ends well before the grace period.
    let stopped = std::time::Instant::now();
    support::block_on(async {
        let options = bollard::query_parameters::StopContainerOptionsBuilder::default().build();
        let docker = support::docker();
        docker
            .stop_container(&replica, Some(options))
            .await
            .expect("it stops");
    });
    assert!(
        stopped.elapsed().as_secs() < 8,
        "it drained in {:?}",
        stopped.elapsed()
    );
    let state = stack.inspect(&replica).state.expect("a state");
    assert_eq!(state.exit_code, Some(0), "it ended by itself");

    let down = run(&["down", "--volumes", "--yes"]);
    assert_eq!(down.code, 0, "{down}");
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}

#[test]
#[ignore = "engine"]
fn the_axum_template_deploys() {
    deploys("axum", "");
}

#[test]
#[ignore = "engine"]
fn the_flask_template_deploys() {
    let base = base::debian_image("shopctl-test-flask", "python3-flask");
    deploys("flask", &base);
}
