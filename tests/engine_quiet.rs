//! What changes nothing changes nothing: a deploy with nothing to do, and every command
//! that only looks, counted at a proxy before the engine's socket.

mod support;

use std::time::Duration;
use std::time::Instant;

use support::TestStack;
use support::free_port;
use support::shim::Call;
use support::shim::Shim;

/// A debug build on two shared cores; the figure of a release build is in the README.
const LIMIT: Duration = Duration::from_millis(200);

fn file(port: u16) -> String {
    format!(
        r#"
services:
  web:
    build: app
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy: {{ replicas: 2 }}
    x-shop:
      ready: {{ http: /readyz, port: 8000 }}
      build: {{ prepare: [[touch, app/prepared]], inputs: [stack.yaml] }}
  worker:
    build: app
    depends_on: [web]
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
"#
    )
}

/// Runs shopctl behind the proxy; what it asked of the engine.
fn calls(stack: &TestStack, shim: &Shim, arguments: &[&str], code: i32) -> Vec<Call> {
    shim.reset(None);
    let ran = stack.run_with(arguments, &[("DOCKER_HOST", &shim.host())]);
    assert_eq!(ran.code, code, "{ran}");
    let calls = shim.calls();
    assert!(!calls.is_empty(), "{arguments:?} went past the proxy");
    calls.into_iter().filter(Call::mutates).collect()
}

#[test]
#[ignore = "engine"]
fn what_changes_nothing_makes_no_call_that_could() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let shim = Shim::start();
    let stack = TestStack::new(&file(free_port()));
    let looks: [&[&str]; 6] = [
        &["plan"],
        &["status"],
        &["status", "--drift"],
        &["capacity"],
        &["history"],
        &["doctor"],
    ];
    // Nothing is there yet.
    for look in looks {
        assert_eq!(calls(&stack, &shim, look, 0), [], "{look:?}");
    }
    assert!(
        !stack.path().join("app/prepared").exists(),
        "a look prepares nothing"
    );
    assert_eq!(stack.leftovers(), Vec::<String>::new());

    let made = calls(&stack, &shim, &["deploy"], 0);
    assert!(made.len() > 10, "a deploy is seen by the proxy: {made:?}");
    let history = || stack.ok(&["history", "-o", "json"]).json();
    let before = (stack.containers(), history());
    for look in looks {
        assert_eq!(calls(&stack, &shim, look, 0), [], "{look:?}");
    }
    assert_eq!(calls(&stack, &shim, &["deploy"], 0), [], "nothing to do");
    assert_eq!(
        (stack.containers(), history()),
        before,
        "no release, no new container"
    );

    let mut took: Vec<Duration> = (0..20)
        .map(|_| {
            let started = Instant::now();
            stack.ok(&["deploy"]);
            started.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[10] < LIMIT, "{took:?}");
}

/// Such commands are due at each deploy; whoever only looks cannot know the image.
#[test]
#[ignore = "engine"]
fn a_prepare_command_without_inputs_runs_at_each_deploy_and_at_no_look() {
    let file = file(free_port()).replace(", inputs: [stack.yaml]", "");
    let stack = TestStack::new(&file);
    let prepared = stack.path().join("app/prepared");
    let look = || {
        for command in [
            &["plan"][..],
            &["status"],
            &["config"],
            &["capacity"],
            &["deploy", "--dry-run"],
        ] {
            stack.ok(command);
            assert!(!prepared.exists(), "{command:?} ran the prepare command");
        }
    };
    look();
    assert_eq!(stack.images(), Vec::<String>::new());

    stack.ok(&["deploy"]);
    let before = (stack.containers(), stack.images());
    for _ in 0..2 {
        std::fs::remove_file(&prepared).expect("the deploy ran the prepare command");
        look();
        let again = stack.ok(&["deploy"]);
        assert!(again.stderr.contains("nothing to do"), "{again}");
        assert_eq!((stack.containers(), stack.images()), before, "{again}");
    }
}
