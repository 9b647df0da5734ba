//! Canary and blue-green on a real Docker Engine: shares by the gateway, the verdict by
//! its numbers, and the way back by one switch.

mod support;

use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use support::TestStack;
use support::customer::Customer;
use support::eventually;
use support::free_port;
use support::get;
use support::get_from;

/// Long enough for anything on a busy machine.
const SOON: Duration = Duration::from_mins(1);

fn file(port: u16, rollout: &str) -> String {
    format!(
        r#"
services:
  web:
    build: app
    environment: {{ VERSION: "${{VERSION:-1}}", FAILS: "${{FAILS:-0}}" }}
    stop_grace_period: 2s
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy: {{ replicas: 2, update_config: {{ monitor: 0s }} }}
    x-shop:
      ready: {{ http: /readyz, port: 8000 }}
      rollout: {rollout}
"#
    )
}

fn version(port: u16) -> String {
    let (_, page) = get(port, "/").expect("the gateway answers");
    let version = page.split_whitespace().next();
    version.unwrap_or_default().to_owned()
}

/// `new revision: 0 of 55 failed, p95 1 ms; old: 0 of 222 failed, …` as requests of the
/// new and of the old revision, for each stage.
fn stages(events: &[serde_json::Value]) -> Vec<(u64, u64)> {
    let number = |text: &str| -> u64 {
        let (_, rest) = text.split_once(" of ").expect("a count");
        let word = rest.split_whitespace().next().unwrap_or_default();
        word.parse().expect("a number")
    };
    events
        .iter()
        .filter_map(|event| event["text"].as_str()?.strip_prefix("new revision: "))
        .filter_map(|text| text.split_once("; old: "))
        .map(|(new, old)| (number(new), number(old)))
        .collect()
}

#[test]
#[ignore = "engine"]
fn a_canary_gets_its_share_and_a_bad_one_is_taken_back_by_the_gateways_numbers() {
    let port = free_port();
    let steps =
        "{ strategy: canary, steps: [{ weight: 20%, pause: 3s }, { weight: 60%, pause: 3s }] }";
    let stack = TestStack::new(&file(port, steps));
    stack.ok(&["deploy"]);
    let customer = Customer::of(port);
    let good = stack.run_with(&["deploy", "-o", "json"], &[("VERSION", "2")]);
    assert_eq!(good.code, 0, "{good}");
    customer.was_served();
    assert_eq!(version(port), "2");
    let shares: Vec<u64> = stages(&good.events())
        .into_iter()
        .map(|(new, old)| {
            assert!(new + old >= 100, "{new} and {old} requests tell nothing");
            (new * 100 + 50) / (new + old)
        })
        .collect();
    assert!(
        matches!(shares[..], [18..=22, 58..=62]),
        "{shares:?} percent, not 20 and 60"
    );
    let again = stack.run_with(&["plan", "--check"], &[("VERSION", "2")]);
    assert_eq!(again.code, 0, "{again}");
    let before: Vec<String> = stack.containers().into_keys().collect();

    // One of three requests fails at the new revision: never more than its share of all.
    let customer = Customer::of(port);
    let bad = stack.run_with(
        &["deploy", "-o", "json"],
        &[("VERSION", "3"), ("FAILS", "3")],
    );
    assert_eq!(bad.code, 50, "{bad}");
    let seen = customer.end();
    let last = bad.events().pop().expect("events");
    let detail = last["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("failed its verdict"), "{detail}");
    let all = seen.failures + seen.answers.values().sum::<u64>();
    assert!(seen.failures >= 3 && seen.failures * 10 < all, "{seen:?}");
    assert!(!seen.answers.contains_key("1"), "{seen:?}");
    assert_eq!(version(port), "2");
    assert_eq!(stack.containers().into_keys().collect::<Vec<_>>(), before);
    let status = stack.run_with(&["status", "--drift", "--check"], &[("VERSION", "2")]);
    assert_eq!(status.code, 0, "{status}");
}

#[test]
#[ignore = "engine"]
fn blue_green_shows_the_new_revision_first_and_goes_back_by_one_switch() {
    let port = free_port();
    let rollout = "{ strategy: blue-green, pause: 3s, hold: 40s, preview: next.shop.local }";
    let stack = TestStack::new(&file(port, rollout));
    stack.ok(&["deploy"]);
    let first: Vec<String> = stack.containers().into_keys().collect();
    let customer = Customer::of(port);
    let child = stack
        .command(&["deploy", "--progress", "plain"])
        .env("VERSION", "2")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("shopctl starts");
    let page = eventually(SOON, "the preview leads to the new revision", || {
        let (status, page) = get_from("next.shop.local", port, "/").ok()?;
        (status == 200 && page.starts_with("2 ")).then_some(page)
    });
    assert!(page.starts_with("2 "));
    assert_eq!(version(port), "1", "customers do not see it yet");
    eventually(SOON, "the switch", || (version(port) == "2").then_some(()));
    for _ in 0..20 {
        assert_eq!(version(port), "2", "the switch is whole");
    }
    // While the old replicas are held, somebody stops the rollout and goes back.
    let id = child.id().to_string();
    let told = Command::new("kill").args(["-INT", &id]).status();
    assert!(told.expect("kill runs").success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_eq!(version(port), "2");
    let back = stack.ok(&["rollback", "-o", "json"]);
    assert_eq!(version(port), "1");
    customer.was_served();
    let created = back
        .events()
        .iter()
        .filter(|event| {
            event["what"]
                .as_str()
                .is_some_and(|what| what.starts_with("create"))
        })
        .count();
    assert_eq!(created, 0, "going back needs no container: {back}");
    assert_eq!(stack.containers().into_keys().collect::<Vec<_>>(), first);
    let gone = get_from("next.shop.local", port, "/").expect("an answer");
    assert!(gone.1.starts_with("1 "), "the preview is over: {gone:?}");
}
