//! No request is lost and none is done twice while a shop is rolled over, switched from
//! blue to green, scaled and taken back: 50,000 requests in an open loop through the gateway, at 500 a second,
//! with streams and switched protocols beside them. `benches/zero-loss.sh` is the same
//! with 1,000,000.
//!
//! The same rig must find a loss where a replica is stopped without being drained, be it
//! behind shopctl's back or because the file leaves it no time.

mod support;

use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use support::TestStack;
use support::block_on;
use support::docker;
use support::eventually;
use support::example;
use support::free_port;

/// Requests a second.
const RATE: u32 = 500;
/// Conversations that go on all the time.
const STREAMS: u32 = 8;

/// How a deploy of the rig goes.
const ROLLING: &str = "{}";
const BLUE_GREEN: &str = "{ strategy: blue-green, pause: 500ms, hold: 500ms }";

fn file(version: u32, port: u16, grace: &str, rollout: &str) -> String {
    format!(
        r#"
services:
  web:
    build: app
    environment: {{ VERSION: "{version}", START_MS: "200", DELAY_MS: "50", LEDGER: /ledger }}
    restart: unless-stopped
    stop_grace_period: {grace}
    volumes: ["./ledger:/ledger"]
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy: {{ replicas: 2, update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }}, rollout: {rollout} }}
"#
    )
}

/// A shop under load.
struct Rig {
    stack: TestStack,
    port: u16,
    /// How long a replica may take to stop, and so to be drained.
    grace: &'static str,
    load: Child,
    /// When traffic was switched, in milliseconds since the epoch.
    switches: Vec<u64>,
    /// All events of all changes.
    events: Vec<Value>,
}

impl Rig {
    fn start(count: u32, grace: &'static str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let port = free_port();
        let stack = TestStack::new(&file(1, port, grace, ROLLING));
        let ledger = stack.path().join("ledger");
        std::fs::create_dir(&ledger).expect("a folder");
        // The replicas are another user.
        std::fs::set_permissions(&ledger, std::fs::Permissions::from_mode(0o777))
            .expect("permissions");
        stack.ok(&["deploy", "--progress", "none"]);
        let load = Command::new(example("load"))
            .arg("run")
            .args([port.to_string(), RATE.to_string(), count.to_string()])
            .arg(STREAMS.to_string())
            .arg(stack.path().join("clients"))
            .stdin(Stdio::null())
            .spawn()
            .expect("the customers come");
        let rig = Self {
            stack,
            port,
            grace,
            load,
            switches: Vec::new(),
            events: Vec::new(),
        };
        eventually(Duration::from_secs(30), "requests are done", || {
            let ledgers = std::fs::read_dir(&ledger).ok()?;
            let size = |entry: std::io::Result<std::fs::DirEntry>| {
                Some(entry.ok()?.metadata().ok()?.len())
            };
            let written: u64 = ledgers.filter_map(size).sum();
            (written > 1000).then_some(())
        });
        rig
    }

    fn is_busy(&mut self) -> bool {
        self.load.try_wait().expect("the customers").is_none()
    }

    /// A change of the shop; when it switched traffic is kept.
    fn change(&mut self, arguments: &[&str]) {
        let ran = self.stack.ok(&[arguments, &["-o", "json"]].concat());
        let switched = |event: &Value| {
            let what = event["what"].as_str().unwrap_or_default();
            let begins = event["event"] == "step_started" && what.starts_with("drain ");
            let done = event["event"] == "step_finished";
            let joins = done && what.starts_with("route web");
            let turns = done && what.starts_with("send 100 % of web");
            (begins || joins || turns).then(|| event["at"].as_u64().expect("a time"))
        };
        let before = self.switches.len();
        let events = ran.events();
        self.switches.extend(events.iter().filter_map(switched));
        self.events.extend(events);
        assert!(self.switches.len() > before, "no switch: {ran}");
    }

    fn deploy(&mut self, version: u32, rollout: &str) {
        let file = file(version, self.port, self.grace, rollout);
        self.stack.write("stack.yaml", &file);
        self.change(&["deploy"]);
    }

    /// What happened in the seconds around a lost request.
    #[expect(clippy::print_stdout, reason = "what a failure is understood by")]
    fn print_around(&self, lost: &str) {
        let at = lost.split(' ').nth(2).and_then(|time| time.parse().ok());
        let at: u64 = at.unwrap_or_default();
        for event in &self.events {
            let time = event["at"].as_u64().unwrap_or_default();
            if time.abs_diff(at) < 3000 {
                let after = i128::from(time) - i128::from(at);
                println!("  {after:+} ms {} {}", event["event"], event["what"]);
            }
        }
    }

    /// Waits for the customers; what their ledger and the replicas' have in common.
    fn check(&mut self) -> (i32, Value) {
        self.load.wait().expect("the customers");
        let path = |name: &str| -> PathBuf { self.stack.path().join(name) };
        let switches: Vec<String> = self.switches.iter().map(u64::to_string).collect();
        self.stack.write("switches", &switches.join("\n"));
        let output = Command::new(example("load"))
            .arg("check")
            .args([path("clients"), path("ledger"), path("switches")])
            .output()
            .expect("the check runs");
        let found = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code().unwrap_or(-1), found)
    }
}

#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "the figures are the proof")]
fn a_shop_that_is_changed_all_the_time_loses_and_repeats_nothing() {
    let count = 50_000;
    let mut rig = Rig::start(count, "2s");
    let mut version = 1;
    let mut changes = 0;
    while rig.is_busy() {
        version += 1;
        match changes % 5 {
            0 => rig.deploy(version, ROLLING),
            1 => rig.change(&["scale", "web=4"]),
            2 => rig.deploy(version, BLUE_GREEN),
            3 => rig.change(&["scale", "web=2"]),
            _ => rig.change(&["rollback"]),
        }
        changes += 1;
    }
    let (code, found) = rig.check();
    println!("{changes} changes: {found}");
    for lost in found["examples"].as_array().into_iter().flatten() {
        println!("lost: {lost}");
        rig.print_around(lost.as_str().unwrap_or_default());
    }
    assert_eq!(code, 0, "{found}");
    assert_eq!(found["requests"], count, "{found}");
    let turns = rig.events.iter().filter(|event| {
        let what = event["what"].as_str().unwrap_or_default();
        event["event"] == "step_finished" && what.starts_with("send 100 % of web")
    });
    assert!(turns.count() >= 1, "blue became green");
    assert!(changes >= 5, "every kind of change was made: {changes}");
    let rate = found["rate"].as_f64().expect("a rate");
    assert!(rate >= 0.95 * f64::from(RATE), "the rate was held: {found}");
}

/// The negative control: without a drain the rig must see the loss.
#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "the figures are the proof")]
fn a_replica_that_is_stopped_without_a_drain_is_found_out() {
    let mut rig = Rig::start(5_000, "2s");
    let victim = rig.stack.replicas("web").remove(0);
    rig.switches.push(block_on(async {
        let kill = bollard::query_parameters::KillContainerOptionsBuilder::default()
            .signal("SIGTERM")
            .build();
        let at = std::time::SystemTime::now();
        docker()
            .kill_container(&victim, Some(kill))
            .await
            .expect("it runs");
        let since = at
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        u64::try_from(since.as_millis()).expect("a time")
    }));
    let (code, found) = rig.check();
    println!("{found}");
    assert_eq!(code, 1, "{found}");
    assert!(found["lost"].as_u64().expect("a number") > 0, "{found}");
}

/// The other control: the same deploys, with no time to drain.
#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "the figures are the proof")]
fn deploys_that_leave_no_time_to_drain_are_found_out() {
    let mut rig = Rig::start(5_000, "0s");
    let mut version = 1;
    while rig.is_busy() {
        version += 1;
        rig.deploy(version, ROLLING);
    }
    let (code, found) = rig.check();
    println!("{found}");
    assert_eq!(code, 1, "{found}");
    assert!(found["lost"].as_u64().expect("a number") > 0, "{found}");
}
