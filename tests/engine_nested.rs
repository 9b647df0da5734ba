//! An engine that goes away, comes back, or has no room: a second one, with its own
//! data, socket and network namespace, so that the machine's own is left alone.
//!
//! Needs root, `dockerd`, `unshare` and `nsenter`; without them the tests fail, since a
//! proof that was skipped is none.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use support::TestStack;
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

/// A second engine; gone with all it made when dropped.
struct Engine {
    folder: tempfile::TempDir,
    /// Keeps the network namespace while the engine is down.
    holder: Child,
    /// Runs the containers, and outlives the engine, as where an init starts both.
    containerd: Child,
    daemon: Option<Child>,
    live_restore: bool,
    /// The data lie on a file system of their own.
    mounted: bool,
}

impl Engine {
    fn new(live_restore: bool) -> Self {
        let holder = Command::new("unshare")
            .args(["--net", "sh", "-c"])
            .arg("ip link set lo up && exec sleep infinity")
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare runs");
        let own = format!("/proc/{}/ns/net", holder.id());
        eventually(Duration::from_secs(5), "a network of its own", || {
            let ours = fs::read_link("/proc/self/ns/net").ok()?;
            (fs::read_link(&own).ok()? != ours).then_some(())
        });
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("data")).expect("a folder");
        fs::write(path("daemon.json"), "{}").expect("a file");
        let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        fs::write(path("containerd.toml"), config).expect("a file");
        let containerd = Command::new("nsenter")
            .args([&format!("--net={own}"), "containerd", "--config"])
            .arg(path("containerd.toml"))
            .arg("--root")
            .arg(path("containerd"))
            .arg("--state")
            .arg(path("exec/containerd"))
            .arg("--address")
            .arg(path("containerd.sock"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsenter runs");
        eventually(Duration::from_secs(20), "containerd is there", || {
            path("containerd.sock").exists().then_some(())
        });
        Self {
            folder,
            holder,
            containerd,
            daemon: None,
            live_restore,
            mounted: false,
        }
    }

    /// With its data on a file system of this many megabytes.
    fn on_disk_of(megabytes: u32) -> Self {
        let mut engine = Self::new(false);
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "none"])
            .arg(engine.path("data"))
            .status();
        assert!(mounted.expect("mount runs").success());
        engine.mounted = true;
        engine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn host(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    /// Something run in the engine's network.
    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.holder.id()))
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    fn start(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log");
        let mut command = self.inside("dockerd");
        command
            .arg("--config-file")
            .arg(self.path("daemon.json"))
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("exec"))
            .arg("--pidfile")
            .arg(self.path("pid"))
            .arg("--containerd")
            .arg(self.path("containerd.sock"))
            .args(["--host", &self.host()])
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .arg("--storage-driver=fuse-overlayfs")
            .stdout(Stdio::null())
            .stderr(log);
        if self.live_restore {
            command.arg("--live-restore");
        }
        self.daemon = Some(command.spawn().expect("nsenter runs"));
        eventually(Duration::from_mins(1), "the engine answers", || {
            self.docker(&["version"]).status.success().then_some(())
        });
    }

    fn docker(&self, arguments: &[&str]) -> Output {
        Command::new("curl")
            .args(["-sS", "--fail", "--max-time", "20", "--unix-socket"])
            .arg(self.path("socket"))
            .arg(format!("http://engine/{}", arguments.join("/")))
            .output()
            .expect("curl runs")
    }

    /// Ends the engine with a signal; it is gone on return.
    fn stop(&mut self, signal: &str) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        let sent = Command::new("kill")
            .args([signal, &daemon.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
        daemon.wait().expect("it ends");
    }

    /// What the shop answers; empty when it does not.
    fn ask(&self) -> String {
        self.ask_at(&format!("127.0.0.1:{PORT}"))
    }

    fn ask_at(&self, address: &str) -> String {
        let asked = self
            .inside("curl")
            .args(["-sS", "--max-time", "5"])
            .arg(format!("http://{address}/"))
            .output();
        String::from_utf8_lossy(&asked.expect("nsenter runs").stdout).into_owned()
    }

    /// Processes that serve this engine, by what they were started with.
    fn processes(&self) -> Vec<String> {
        let mark = self.path("containerd.sock").display().to_string();
        let of = |entry: fs::DirEntry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(&mark)
                .then(|| entry.file_name().to_string_lossy().into_owned())
        };
        let all = fs::read_dir("/proc").expect("processes").flatten();
        all.filter_map(of).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            let _ = std::io::Write::write_all(&mut std::io::stderr(), tail.join("\n").as_bytes());
        }
        if let Some(mut daemon) = self.daemon.take() {
            let _ = Command::new("kill").arg(daemon.id().to_string()).status();
            let _ = daemon.wait();
        }
        let _ = self.containerd.kill();
        let _ = self.containerd.wait();
        for process in self.processes() {
            let _ = Command::new("kill").args(["-KILL", &process]).status();
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let here = self.folder.path().display().to_string();
        let under = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let mut under: Vec<&str> = under.filter(|path| path.starts_with(&here)).collect();
        // What was mounted last lies on top.
        under.reverse();
        for path in under {
            let _ = Command::new("umount").args(["-l", path]).status();
        }
    }
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
        assert!(shop.engine.ask().starts_with("1 "));
        shop
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.stack.command(arguments);
        command.env("DOCKER_HOST", self.engine.host());
        command
    }

    #[track_caller]
    fn must(&self, code: i32, arguments: &[&str]) -> String {
        let host = self.engine.host();
        let ran = self.stack.run_with(arguments, &[("DOCKER_HOST", &host)]);
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
        let answer = self.engine.ask();
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
    let full = Command::new("dd")
        .args([
            "if=/dev/zero",
            "bs=64k",
            &format!("of={}", filler.display()),
        ])
        .stderr(Stdio::null())
        .status();
    assert!(!full.expect("dd runs").success(), "the disk is full");
    shop.stack.write("stack.yaml", &file(2, 0));
    let ran = shop.stack.run_with(
        &["deploy", "--progress", "plain"],
        &[("DOCKER_HOST", &shop.engine.host())],
    );
    println!("{ran}");
    assert!(matches!(ran.code, 30 | 41 | 50 | 52), "{ran}");
    assert!(shop.engine.ask().starts_with("1 "), "the old one serves");
    let missing: Vec<&String> = before
        .iter()
        .filter(|name| !shop.containers().contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    fs::remove_file(filler).expect("room again");
    shop.converges(2);
}
