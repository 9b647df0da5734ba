//! What `init` writes deploys as it stands, answers, logs JSON, and goes away.

mod support;

#[path = "support/base.rs"]
mod base;

use support::Ran;
use support::TestStack;
use support::free_port;
use support::get;

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

    for line in run(&["logs"]).stdout.lines() {
        let (origin, line) = line.split_once(" | ").expect("an origin");
        assert!(origin.starts_with("web-"), "{origin}");
        let line: serde_json::Value = serde_json::from_str(line).expect("logs are JSON");
        assert!(line["message"].is_string(), "{line}");
    }

    // A drain is told, and ends well before the grace period.
    let replica = stack.replicas("web").pop().expect("a replica");
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
