//! A shop under load whose ledgers tell whether anything was lost.

use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::Ran;
use super::TestStack;
use super::eventually;
use super::example;
use super::free_port;
use super::shopctl;

/// Requests a second.
pub const RATE: u32 = 500;
/// Conversations that go on all the time.
const STREAMS: u32 = 8;

/// How a deploy of the rig goes.
pub const ROLLING: &str = "{}";
pub const BLUE_GREEN: &str = "{ strategy: blue-green, pause: 500ms, hold: 500ms }";

/// Requests take long enough that some are under way at each switch, also where the customers
/// themselves wait for a processor now and then.
fn file(version: u32, port: u16, grace: &str, rollout: &str) -> String {
    format!(
        r#"
services:
  web:
    build: app
    environment: {{ VERSION: "{version}", START_MS: "200", DELAY_MS: "100", LEDGER: /ledger }}
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
pub struct Rig {
    /// The shop.
    pub stack: TestStack,
    /// Where it is published.
    pub port: u16,
    /// How long a replica may take to stop, and so to be drained.
    grace: &'static str,
    load: Child,
    /// When traffic was switched, in milliseconds since the epoch.
    pub switches: Vec<u64>,
    /// All events of all changes.
    pub events: Vec<Value>,
}

impl Rig {
    /// A shop, and so many requests to it.
    pub fn start(count: u32, grace: &'static str) -> Self {
        Self::start_by(&shopctl(), count, grace)
    }

    /// The same, deployed by another shopctl.
    pub fn start_by(program: &Path, count: u32, grace: &'static str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let port = free_port();
        let stack = TestStack::new(&file(1, port, grace, ROLLING));
        let ledger = stack.path().join("ledger");
        std::fs::create_dir(&ledger).expect("a folder");
        // The replicas are another user.
        std::fs::set_permissions(&ledger, std::fs::Permissions::from_mode(0o777))
            .expect("permissions");
        let mut deploy = stack.command_of(program, &["deploy", "--progress", "none"]);
        let ran = Ran::of(&["deploy"], &mut deploy);
        assert_eq!(ran.code, 0, "{ran}");
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

    /// Whether there are customers.
    pub fn is_busy(&mut self) -> bool {
        self.load.try_wait().expect("the customers").is_none()
    }

    /// A change of the shop; when it switched traffic is kept.
    pub fn change(&mut self, arguments: &[&str]) {
        self.change_by(&shopctl(), arguments);
    }

    /// The same by another shopctl.
    pub fn change_by(&mut self, program: &Path, arguments: &[&str]) {
        let arguments = [arguments, &["-o", "json"]].concat();
        let mut command = self.stack.command_of(program, &arguments);
        let ran = Ran::of(&arguments, &mut command);
        assert_eq!(ran.code, 0, "{ran}");
        let switched = |event: &Value| {
            let what = event["what"].as_str().unwrap_or_default();
            let begins = event["event"] == "step_started"
                && (what.starts_with("drain ") || what.starts_with("upgrade "));
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

    /// Another version of the shop.
    pub fn deploy(&mut self, version: u32, rollout: &str) {
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

    /// Waits for the customers, who must have lost nothing and had nothing done twice.
    #[expect(clippy::print_stdout, reason = "the figures are the proof")]
    pub fn prove(&mut self, changes: &str, count: u32) -> Value {
        let (code, found) = self.check();
        println!("{changes}: {found}");
        for lost in found["examples"].as_array().into_iter().flatten() {
            println!("lost: {lost}");
            self.print_around(lost.as_str().unwrap_or_default());
        }
        assert_eq!(code, 0, "{found}");
        assert_eq!(found["requests"], count, "{found}");
        found
    }

    /// Waits for the customers; what their ledger and the replicas' have in common.
    pub fn check(&mut self) -> (i32, Value) {
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
