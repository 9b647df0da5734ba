//! An engine that goes away, comes back, or has no room: a second one, with its own
//! data, socket and network namespace, so that the machine's own is left alone.

mod support;

use std::fs;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use support::TestStack;
use support::engine::Engine;
use support::eventually;

const PORT: u16 = 8000;

/// Containers of a stack, by what they are for.
const WHOLE: [&str; 3] = ["gateway-1", "web-1-", "web-2-"];

fn file(version: u32, ready_after: u32) -> String {
    format!(
        r#"
services:
  web:
    build: app
    environment: {{ VERSION: "{version}", READY_AFTER_MS: "{ready_after}" }}
    restart: unless-stopped
    stop_grace_period: 2s
    ports: [{{ target: 8000, published: "{PORT}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy: {{ replicas: 2, update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000, timeout: 20s }} }}
"#
    )
}

/// A shop on a second engine.
struct Shop {
    stack: TestStack,
    engine: Engine,
}

impl Shop {
    fn serving(mut engine: Engine) -> Self {
        engine.start();
        let shop = Self {
            stack: TestStack::new(&file(1, 0)),
            engine,
        };
        shop.must(0, &["deploy", "--progress", "plain"]);
        assert!(shop.ask().starts_with("1 "));
        shop
    }

    /// What the shop answers; empty when it does not.
    fn ask(&self) -> String {
        self.engine.ask_at(&format!("127.0.0.1:{PORT}"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.engine.shopctl(&self.stack, arguments)
    }

    #[track_caller]
    fn must(&self, code: i32, arguments: &[&str]) -> String {
        let ran = self.engine.run(&self.stack, arguments);
        assert_eq!(ran.code, code, "{ran}");
        format!("{}{}", ran.stdout, ran.stderr)
    }

    /// All containers of the stack, without what differs from run to run.
    fn containers(&self) -> Vec<String> {
        let filters = format!(
            "containers/json?all=1&filters=%7B%22label%22%3A%5B%22dev.shopctl.stack%3D{}%22%5D%7D",
            self.stack.name
        );
        let output = self.engine.docker(&[&filters]);
        let found: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("a list of containers");
        let start = format!("/{}-", self.stack.name);
        let name = |one: &serde_json::Value| {
            let name = one["Names"][0].as_str().unwrap_or_default();
            let state = one["State"].as_str().unwrap_or_default();
            format!("{} {state}", name.trim_start_matches(&start))
        };
        let mut names: Vec<String> = found.as_array().into_iter().flatten().map(name).collect();
        names.sort();
        names
    }

    /// The gateway's own address: what publishes its port is a part of the engine, and
    /// ends with it.
    fn gateway(&self) -> String {
        let path = format!("containers/{}-gateway-1/json", self.stack.name);
        let output = self.engine.docker(&[&path]);
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a gateway");
        let networks = found["NetworkSettings"]["Networks"].as_object();
        let address = networks
            .and_then(|all| all.values().next())
            .and_then(|network| network["IPAddress"].as_str());
        let ports = found["NetworkSettings"]["Ports"].as_object();
        let port = ports.and_then(|ports| ports.keys().next());
        let port = port.and_then(|port| port.split('/').next());
        format!("{}:{}", address.expect("an address"), port.expect("a port"))
    }

    /// One more deploy finishes the job, and leaves nothing else.
    fn converges(&self, version: u32) {
        let mended = ["deploy", "--progress", "plain", "--lock-wait", "20s"];
        self.must(0, &mended);
        let again = self.must(0, &["deploy", "-o", "json"]);
        assert!(again.contains("\"nothing_to_do\""), "{again}");
        eventually(Duration::from_secs(5), "exactly the shop", || {
            let found = self.containers();
            let is = |(found, want): (&String, &&str)| {
                found.starts_with(want) && found.ends_with(" running")
            };
            (found.len() == WHOLE.len() && found.iter().zip(&WHOLE).all(is)).then_some(())
        });
        let answer = self.ask();
        assert!(answer.starts_with(&format!("{version} ")), "{answer:?}");
    }

    /// Starts a deploy and returns when it has made a container.
    fn begin(&self, version: u32) -> Child {
        self.begin_with(version, &[])
    }

    fn begin_with(&self, version: u32, arguments: &[&str]) -> Child {
        let before = self.containers().len();
        self.stack.write("stack.yaml", &file(version, 3000));
        let run = self
            .command(&[&["deploy", "--progress", "plain"], arguments].concat())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.stack.path().join("said")).expect("a file"))
            .spawn()
            .expect("shopctl starts");
        eventually(Duration::from_secs(20), "a new replica", || {
            let now = self.containers();
            let new = now.iter().filter(|name| name.starts_with("web-")).count() > 2;
            (new && now.len() > before).then_some(())
        });
        run
    }
}

#[expect(clippy::print_stdout, reason = "how it ended is a finding")]
fn an_engine_ends_in_the_middle_of_a_deploy(signal: &str, live_restore: bool) {
    let mut shop = Shop::serving(Engine::new(live_restore));
    let mut run = shop.begin(2);
    let gateway = shop.gateway();
    let stopped = Instant::now();
    shop.engine.stop(signal);
    let took = stopped.elapsed();
    let served = shop.engine.ask_at(&gateway);
    shop.engine.start();
    let ended = eventually(Duration::from_secs(90), "the deploy ends", || {
        run.try_wait().expect("it can be asked")
    });
    let said = fs::read_to_string(shop.stack.path().join("said")).expect("its words");
    println!(
        "{signal}, live restore {live_restore}: stopped in {took:.1?}, answered {served:?} while it was away; the deploy {ended}\n{said}"
    );
    if live_restore {
        // Containers live on, and so must what leads to them.
        assert!(served.starts_with(['1', '2']), "{served:?}");
    }
    // It waits, takes its lock anew, and finishes.
    assert_eq!(ended.code(), Some(0), "{said}");
    assert!(said.contains("trying again"), "{said}");
    let again = shop.must(0, &["deploy", "-o", "json"]);
    assert!(again.contains("\"nothing_to_do\""), "{again}");
    shop.converges(2);
}

#[test]
#[ignore = "engine"]
fn an_engine_that_stays_away_is_told() {
    let mut shop = Shop::serving(Engine::new(false));
    let mut run = shop.begin_with(2, &["--timeout", "15s"]);
    shop.engine.stop("-KILL");
    let ended = eventually(Duration::from_secs(40), "the deploy ends", || {
        run.try_wait().expect("it can be asked")
    });
    let said = fs::read_to_string(shop.stack.path().join("said")).expect("its words");
    assert_eq!(ended.code(), Some(30), "{said}");
    shop.engine.start();
    shop.converges(2);
}

#[test]
#[ignore = "engine"]
fn an_engine_that_is_stopped_mid_deploy() {
    an_engine_ends_in_the_middle_of_a_deploy("-TERM", false);
}

#[test]
#[ignore = "engine"]
fn an_engine_that_is_killed_mid_deploy() {
    an_engine_ends_in_the_middle_of_a_deploy("-KILL", false);
}

#[test]
#[ignore = "engine"]
fn an_engine_that_is_killed_mid_deploy_with_live_restore() {
    an_engine_ends_in_the_middle_of_a_deploy("-KILL", true);
}

#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "how it ended is a finding")]
fn a_full_disk_stops_no_replica_that_serves() {
    let shop = Shop::serving(Engine::on_disk_of(1024));
    let before = shop.containers();
    let filler = shop.engine.path("data/filler");
    let fill = |count: &str| {
        let status = Command::new("dd")
            .args(["if=/dev/zero", "bs=1M", "conv=notrunc", "oflag=append"])
            .arg(format!("of={}", filler.display()))
            .args((!count.is_empty()).then(|| format!("count={count}")))
            .stderr(Stdio::null())
            .status();
        status.expect("dd runs").success()
    };
    shop.stack.write("stack.yaml", &file(2, 0));
    let stat = rustix::fs::statvfs(shop.engine.path("data")).expect("a file system");
    let free = (stat.f_bavail * stat.f_frsize) >> 20;
    assert!(fill(&(free - 32).to_string()), "it fills all but 32 MiB");
    let low = shop.must(41, &["deploy"]);
    assert!(low.contains("MiB free in"), "{low}");
    assert_eq!(shop.containers(), before);
    assert!(!fill(""), "the disk is full");
    let deploy = ["deploy", "--progress", "plain"];
    let ran = shop.engine.run(&shop.stack, &deploy);
    println!("{ran}");
    assert_eq!(ran.code, 41, "not even a lock can be made: {ran}");
    for words in ["no space is left on the engine's disk", "hint: "] {
        assert!(ran.stderr.contains(words), "{ran}");
    }
    assert!(shop.ask().starts_with("1 "), "the old one serves");
    let missing: Vec<&String> = before
        .iter()
        .filter(|name| !shop.containers().contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    fs::remove_file(filler).expect("room again");
    shop.converges(2);
}

/// What keeps the releases is used by a container that runs, so nothing of it is swept away.
#[test]
#[ignore = "engine"]
fn releases_survive_a_sweep_of_all_that_is_not_in_use() {
    let shop = Shop::serving(Engine::new(false));
    shop.stack.write("stack.yaml", &file(2, 0));
    shop.must(0, &["deploy", "--progress", "plain"]);
    let before = shop.must(0, &["history", "-o", "json"]);
    assert_eq!(before.matches("\"stable\": true").count(), 2, "{before}");
    let swept = Command::new("docker")
        .args(["--host", &shop.engine.host()])
        .args(["system", "prune", "--all", "--force", "--volumes"])
        .output()
        .expect("docker runs");
    assert!(swept.status.success(), "{swept:?}");
    assert_eq!(shop.must(0, &["history", "-o", "json"]), before);
    shop.must(0, &["status", "--drift", "--check"]);
    assert!(shop.must(0, &["deploy"]).contains("nothing to do"));
    shop.must(0, &["rollback", "--progress", "plain"]);
    assert!(shop.ask().starts_with("1 "));
}
