//! A gateway within the test, replicas on loopback addresses of their own,
//! and clients that see what goes over the wire.

pub(crate) mod client;
pub(crate) mod replica;

use std::collections::BTreeMap;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;
use shop_gateway::Event;
use shop_gateway::Gateway;
use shop_gateway::ListenSpec;
use shop_gateway::RunOptions;
use shop_gateway::protocol::Answer;
use shop_gateway::protocol::Applied;
use shop_gateway::protocol::Config;
use shop_gateway::protocol::Drained;
use shop_gateway::protocol::Fault;
use shop_gateway::protocol::Op;
use shop_gateway::protocol::Request;
use shop_gateway::protocol::Stats;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio::time::sleep;

use self::replica::PORT;

/// The one HTTP listener of most tests, and the TCP one.
pub(crate) const HTTP: &str = "127.0.0.1:8000/tcp";
pub(crate) const TCP: &str = "127.0.0.1:5432/tcp";

/// Long enough for anything that should happen at once, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A gateway with one HTTP and one TCP listener.
pub(crate) struct Rig {
    pub(crate) gateway: Gateway,
    pub(crate) control: Control,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    pub(crate) store: tempfile::TempDir,
    generation: u64,
}

impl Rig {
    pub(crate) fn start() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut RunOptions)) -> Self {
        Self::on(tempfile::tempdir().expect("a folder"), change)
    }

    pub(crate) fn on(store: tempfile::TempDir, change: impl FnOnce(&mut RunOptions)) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let mut options = RunOptions::new(unique_name(), store.path());
        options.threads = Some(2);
        options.listens = [HTTP, TCP]
            .map(|id| ListenSpec {
                id: id.to_owned(),
                address: Some([127, 0, 0, 1].into()),
                port: 0,
            })
            .into();
        let seen = Arc::clone(&events);
        options.report = Arc::new(move |event| seen.lock().expect("not poisoned").push(event));
        change(&mut options);
        let control = Control(options.name.clone());
        Self {
            gateway: Gateway::start(options).expect("the gateway starts"),
            control,
            events,
            store,
            generation: 0,
        }
    }

    /// Ends the gateway; the store stays.
    pub(crate) async fn end(self) -> tempfile::TempDir {
        self.gateway.stop().await;
        self.store
    }

    pub(crate) fn port(&self, listener: &str) -> u16 {
        let mut listens = self.gateway.listens().iter();
        listens
            .find(|listen| listen.id == listener)
            .expect("a listener")
            .port
    }

    pub(crate) fn http(&self) -> u16 {
        self.port(HTTP)
    }

    pub(crate) fn tcp(&self) -> u16 {
        self.port(TCP)
    }

    /// The next generation: both listeners lead to `order` at these hosts.
    pub(crate) async fn route(&mut self, hosts: &[String]) -> Applied {
        self.generation += 1;
        let config = config(1, self.generation, hosts);
        self.control.apply(&config).await.expect("applied")
    }

    pub(crate) async fn stats(&self) -> Stats {
        self.control.ask(Op::Stats).await.expect("stats")
    }
}

/// A configuration in which both listeners lead to `order` at these hosts.
pub(crate) fn config(lock: u64, generation: u64, hosts: &[String]) -> Config {
    let targets: Vec<Value> = hosts
        .iter()
        .map(|host| json!({"id": format!("i-{host}"), "host": host, "weight": 1}))
        .collect();
    serde_json::from_value(json!({
        "version": 1, "lock": lock, "generation": generation,
        "listeners": [
            {"id": HTTP, "protocol": "http", "routes": [{"service": "order", "port": PORT}]},
            {"id": TCP, "protocol": "tcp", "routes": [{"service": "order", "port": PORT}]},
        ],
        "services": {"order": {"targets": targets}},
    }))
    .expect("a configuration")
}

/// A gateway's control socket, one connection per request.
#[derive(Clone)]
pub(crate) struct Control(pub(crate) String);

impl Control {
    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
        let address = SocketAddr::from_abstract_name(format!("shopctl-{}", self.0))?;
        let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    }

    pub(crate) async fn ask<T: DeserializeOwned>(&self, op: Op) -> Result<T, Fault> {
        let mut stream = BufReader::new(self.connect().expect("the gateway is there"));
        let mut line = serde_json::to_string(&Request { id: 1, op }).expect("JSON");
        line.push('\n');
        stream.write_all(line.as_bytes()).await.expect("sent");
        line.clear();
        stream.read_line(&mut line).await.expect("an answer");
        let answer: Answer = serde_json::from_str(&line).expect("an answer");
        answer.decode()
    }

    pub(crate) async fn apply(&self, config: &Config) -> Result<Applied, Fault> {
        let config = config.clone();
        self.ask(Op::Apply { config }).await
    }

    pub(crate) async fn drain(&self, host: &str, deadline: Duration) -> u64 {
        let op = Op::Drain {
            target: format!("i-{host}"),
            deadline_ms: deadline.as_millis().try_into().expect("short enough"),
        };
        let drained: Drained = self.ask(op).await.expect("drained");
        drained.in_flight
    }
}

pub(crate) fn unique_name() -> String {
    format!("test-{:016x}", fastrand::u64(..))
}

/// Waits until something is true; says what was not, if it never is.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < SOON, "not within {SOON:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// How often each value occurs.
pub(crate) fn tally(values: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}
