//! The gateway in containers, as shopctl runs it: from scratch, not root,
//! read-only, with the network's DNS. Needs a Docker Engine and its client:
//! `cargo test -p shop-gateway --test engine -- --ignored`.
//!
//! The replicas are gateways too: one with a route but no target answers 503,
//! one without a route 404, which tells them apart.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

/// Everything of one test carries its label, and is removed with it.
struct World {
    name: String,
    label: String,
}

impl World {
    fn new() -> Self {
        let name = format!("t-{:08x}", fastrand::u32(..));
        let label = format!("dev.shopctl.test={name}");
        let world = Self { name, label };
        let context = tempfile::tempdir().expect("a folder");
        fs::copy(
            env!("CARGO_BIN_EXE_shop-gateway"),
            context.path().join("shopctl"),
        )
        .expect("copied");
        fs::write(context.path().join("keep"), "").expect("written");
        // A label of its own comes first: layers that tests have in common would go with
        // the first image that is removed.
        let label = &world.label;
        let dockerfile = format!(
            "FROM scratch\nLABEL {label}\nCOPY shopctl /shopctl\n\
             COPY --chown=65532:65532 keep /run/shopctl/\n\
             USER 65532\nENTRYPOINT [\"/shopctl\"]\n"
        );
        fs::write(context.path().join("Dockerfile"), dockerfile).expect("written");
        let path = context.path().to_str().expect("text");
        docker(&[
            "build",
            "-q",
            "--label",
            &world.label,
            "-t",
            &world.name,
            path,
        ]);
        docker(&["network", "create", "--label", &world.label, &world.name]);
        world
    }

    fn start(&self, container: &str, options: &[&str], command: &[&str]) {
        let name = self.container(container);
        let fixed = [
            "run",
            "-d",
            "--name",
            &name,
            "--label",
            &self.label,
            "--network",
            &self.name,
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--tmpfs",
            "/run/shopctl:uid=65532",
            "--network-alias",
            container,
        ];
        docker(&[&fixed, options, &[self.name.as_str()], command].concat());
    }

    fn start_gateway(&self, container: &str, options: &[&str]) {
        let command = [
            "run",
            "--name",
            container,
            "--dir",
            "/run/shopctl",
            "--listen",
            "x=8000",
        ];
        self.start(container, options, &command);
    }

    fn container(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// One request over an exec, as shopctl makes it.
    fn ask(&self, container: &str, request: &Value) -> Value {
        let name = self.container(container);
        let mut child = Command::new("docker")
            .args([
                "exec", "-i", &name, "/shopctl", "control", "--name", container,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stdin = child.stdin.take().expect("a pipe");
        writeln!(stdin, "{request}").expect("sent");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)
            .expect("an answer");
        drop(stdin);
        assert!(child.wait().expect("waited").success());
        serde_json::from_str(&line).expect("JSON")
    }

    /// Routes everything to these hosts.
    fn route(&self, container: &str, hosts: &[&str]) {
        let targets: Vec<Value> = hosts
            .iter()
            .map(|host| json!({"id": host, "host": host}))
            .collect();
        let config = json!({
            "version": 1, "lock": 1, "generation": 1,
            "listeners": [{"id": "x", "protocol": "http",
                           "routes": [{"service": "order", "port": 8000}]}],
            "services": {"order": {"targets": targets}},
        });
        let answer = self.ask(
            container,
            &json!({"id": 1, "op": "apply", "config": config}),
        );
        assert_eq!(answer["ok"]["generation"], 1, "{answer}");
    }

    fn address(&self, container: &str) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        docker(&["inspect", "-f", format, &self.container(container)])
    }

    /// The status of a request to a container from the host.
    fn status(&self, container: &str) -> u16 {
        let address = self.address(container);
        let mut stream = std::net::TcpStream::connect((address.as_str(), 8000)).expect("connected");
        write!(stream, "GET / HTTP/1.0\r\n\r\n").expect("sent");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line)
            .expect("an answer");
        line.split(' ')
            .nth(1)
            .expect("a status")
            .parse()
            .expect("a status")
    }
}

impl Drop for World {
    /// Removes what it can, also when a test has failed: no panic in here.
    fn drop(&mut self) {
        let filter = format!("label={}", self.label);
        let containers = run(&["ps", "-aq", "--filter", &filter]).unwrap_or_default();
        for id in containers.lines() {
            let _ = run(&["rm", "-f", "-v", id]);
        }
        let _ = run(&["network", "rm", &self.name]);
        let _ = run(&["rmi", "-f", &self.name]);
    }
}

fn docker(arguments: &[&str]) -> String {
    run(arguments).unwrap_or_else(|error| panic!("docker {arguments:?}: {error}"))
}

fn run(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(arguments).output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < SOON, "not within {SOON:?}: {what}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "engine"]
fn a_replica_that_comes_back_elsewhere_is_found_and_its_old_address_not_used() {
    let world = World::new();
    world.start_gateway("replica", &[]);
    world.route("replica", &[]);
    world.start_gateway("gateway", &[]);
    world.route("gateway", &["replica"]);
    assert_eq!(world.status("gateway"), 503);
    let address = world.address("replica");

    docker(&["stop", &world.container("replica")]);
    world.start_gateway("foreign", &[]);
    assert_eq!(
        world.address("foreign"),
        address,
        "the address was not reused"
    );
    // It answers here once its ports are open.
    world.ask("foreign", &json!({"id": 1, "op": "hello"}));
    assert_eq!(world.status("foreign"), 404);
    assert_eq!(world.status("gateway"), 502);

    // Its routes were on a tmpfs: it has to be told again what makes it answer 503.
    docker(&["start", &world.container("replica")]);
    assert_ne!(world.address("replica"), address);
    world.route("replica", &[]);
    until("the replica is found", || {
        let status = world.status("gateway");
        assert_ne!(status, 404, "a request reached the wrong container");
        status == 503
    });
}

#[test]
#[ignore = "engine"]
fn a_probe_sees_what_clients_see_and_a_signal_ends_a_gateway_at_once() {
    let world = World::new();
    world.start_gateway("gateway", &[]);
    let probe = json!({"id": 1, "op": "probe", "target": "late", "port": 8000,
                       "deadline_ms": 20_000});
    std::thread::scope(|scope| {
        let probing = scope.spawn(|| world.ask("gateway", &probe));
        sleep(Duration::from_millis(300));
        world.start_gateway("late", &[]);
        let probed = probing.join().expect("joined");
        assert!(probed["ok"]["attempts"].as_u64() > Some(1), "{probed}");
    });
    let started = Instant::now();
    docker(&["stop", &world.container("gateway")]);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
#[ignore = "engine"]
fn the_keeper_lives_in_six_mebibytes() {
    let world = World::new();
    let limits = ["--memory", "6m", "--memory-swap", "6m"];
    world.start("keeper", &limits, &["keep"]);
    let name = world.container("keeper");
    let state = || {
        docker(&[
            "inspect",
            "-f",
            "{{.State.Status}} {{.State.OOMKilled}}",
            &name,
        ])
    };
    until("it runs", || state() == "running false");
    docker(&["stop", &name]);
    let code = docker(&["inspect", "-f", "{{.State.ExitCode}}", &name]);
    assert_eq!(code, "0", "it was not killed");
}
