//! What goes wrong on real machines, one fault at a time: what shopctl says of it, how
//! it ends, and that a customer who asks all the while notices nothing he should not.

#[path = "../support/mod.rs"]
mod support;

mod drain;
mod network;
mod revision;
mod runs;

use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use support::TestStack;
use support::client::Client;
use support::eventually;
use support::free_port;
use support::get;

/// A shop of one service behind the gateway.
struct Shop {
    stack: TestStack,
    port: u16,
}

/// What differs between two revisions of the service.
#[derive(Clone, Copy)]
struct Revision {
    /// Entries of the environment.
    environment: &'static str,
    /// How long readiness may take.
    timeout: &'static str,
    /// How long a replica is watched after it became ready.
    monitor: &'static str,
    /// What replaces the build.
    image: &'static str,
    /// How long it may take to stop.
    grace: &'static str,
    replicas: u32,
    /// How much it may take; changed without a replacement.
    memory: &'static str,
}

const GOOD: Revision = Revision {
    environment: "VERSION: \"1\"",
    timeout: "30s",
    monitor: "0s",
    image: "build: app",
    grace: "2s",
    replicas: 1,
    memory: "24M",
};

impl Shop {
    /// A folder with a good revision; nothing is deployed.
    fn new() -> Self {
        let shop = Self {
            stack: TestStack::new(""),
            port: free_port(),
        };
        shop.write(GOOD);
        shop
    }

    /// With this revision deployed.
    fn serving(revision: Revision) -> Self {
        let shop = Self::new();
        shop.write(revision);
        shop.stack.ok(&["deploy", "--progress", "none"]);
        shop
    }

    fn write(&self, revision: Revision) {
        let Revision {
            environment,
            timeout,
            monitor,
            image,
            grace,
            replicas,
            memory,
        } = revision;
        let file = format!(
            r#"
services:
  web:
    {image}
    environment: {{ {environment} }}
    restart: unless-stopped
    stop_grace_period: {grace}
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy:
      replicas: {replicas}
      resources: {{ limits: {{ memory: {memory} }} }}
      update_config: {{ monitor: {monitor} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000, timeout: {timeout} }} }}
"#,
            port = self.port
        );
        self.stack.write("stack.yaml", &file);
    }

    /// Starts a deploy of this revision and waits until a new container is there.
    fn begin(&self, revision: Revision) -> Child {
        let before = self.stack.replicas("web");
        self.write(revision);
        let run = self.spawn(&["deploy", "--progress", "none"]);
        eventually(Duration::from_secs(30), "a new replica", || {
            let now = self.stack.replicas("web");
            now.iter().any(|name| !before.contains(name)).then_some(())
        });
        run
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        self.stack
            .command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("shopctl starts")
    }

    /// No run is left, and a deploy of what the file says ends with nothing to do.
    fn converges(&self) {
        self.stack.ok(&["deploy", "--lock-wait", "20s"]);
        let again = self.stack.ok(&["deploy", "-o", "json"]);
        assert!(again.stdout.contains("\"nothing_to_do\""), "{again}");
        assert_eq!(get(self.port, "/").expect("it serves").0, 200);
        let lock = format!("{}-lock", self.stack.name);
        eventually(Duration::from_secs(3), "the lock is gone", || {
            (!self.stack.all_containers().contains(&lock)).then_some(())
        });
    }
}

fn kill(signal: &str, process: i64) {
    let status = Command::new("kill")
        .args([signal, &process.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

/// A request that is on its way when this returns; its answer as it came.
fn ask(port: u16, path: &str) -> std::thread::JoinHandle<String> {
    use std::io::Read as _;
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it serves");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
    )
    .expect("it is sent");
    std::thread::spawn(move || {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    })
}

#[track_caller]
fn unhurt(client: &mut Client) {
    let seen = client.seen();
    assert!(seen.asked > 0);
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
}
