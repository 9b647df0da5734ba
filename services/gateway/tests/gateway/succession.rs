//! Another program takes a gateway's place: nothing is refused and nothing lost.
//!
//! The programs are copies of this one under other names, in real processes.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use sha2::Digest as _;
use sha2::Sha256;
use shop_gateway::protocol::Config;
use shop_gateway::protocol::Fault;
use shop_gateway::protocol::Hello;
use shop_gateway::protocol::Op;
use shop_gateway::protocol::Stats;
use shop_gateway::protocol::Upgraded;
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::Control;
use crate::support::HTTP;
use crate::support::SOON;
use crate::support::client::Client;
use crate::support::client::Got;
use crate::support::client::full;
use crate::support::client::get;
use crate::support::client::request;
use crate::support::config;
use crate::support::replica::Replica;
use crate::support::unique_name;
use crate::support::until;

/// A gateway as in a container: a first process, a store, and what takes over.
struct Life {
    store: tempfile::TempDir,
    control: Control,
    first: Child,
}

impl Life {
    /// Starts it on a port that is free now, with more options.
    async fn start(options: &[&str]) -> Self {
        let store = tempfile::tempdir().expect("a folder");
        for folder in ["live", "bin"] {
            fs::create_dir(store.path().join(folder)).expect("a folder");
        }
        let control = Control(unique_name());
        let first = process(store.path(), &control.0, options);
        let life = Self {
            store,
            control,
            first,
        };
        life.comes_up().await;
        life
    }

    async fn comes_up(&self) {
        until("it answers", async || self.control.connect().is_ok()).await;
    }

    /// The first process again, after an end of all.
    async fn start_again(&mut self, options: &[&str]) {
        self.first = process(self.store.path(), &self.control.0, options);
        self.comes_up().await;
    }

    async fn hello(&self) -> Hello {
        self.control.ask(Op::Hello).await.expect("hello")
    }

    async fn program(&self) -> String {
        self.hello().await.program.expect("a program")
    }

    async fn port(&self) -> u16 {
        self.hello().await.listens[0].port
    }

    /// Puts a program into the store.
    fn put(&self, name: &str, content: &[u8]) {
        let path = self.store.path().join("bin").join(name);
        let mut digest = String::new();
        for byte in Sha256::digest(content) {
            write!(digest, "{byte:02x}").expect("written");
        }
        fs::write(path.with_extension("sha256"), digest).expect("written");
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).expect("set");
    }

    /// Puts this program into the store under another name.
    fn put_this(&self, name: &str) {
        let content = fs::read(env!("CARGO_BIN_EXE_shop-gateway")).expect("read");
        self.put(name, &content);
    }

    async fn upgrade(&self, program: &str, deadline: Duration) -> Result<u64, Fault> {
        upgrade(&self.control, program, deadline).await
    }

    /// Ends all processes at once, like the end of a container.
    async fn crash(&mut self) {
        self.kill();
        self.first.wait().await.expect("waited");
        until("all are gone", async || self.control.connect().is_err()).await;
    }

    fn kill(&self) {
        for pid in self.processes() {
            // One may have ended by itself meanwhile.
            let _ = std::process::Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status();
        }
    }

    /// The first process and all that came from it.
    fn processes(&self) -> Vec<u32> {
        let mut found: Vec<u32> = self.first.id().into_iter().collect();
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            // Each thread knows its own.
            for thread in fs::read_dir(format!("/proc/{pid}/task"))
                .into_iter()
                .flatten()
            {
                let path = thread.expect("a thread").path().join("children");
                let children = fs::read_to_string(path).unwrap_or_default();
                let pids = children.split_whitespace();
                found.extend(pids.filter_map(|pid| pid.parse::<u32>().ok()));
            }
            next += 1;
        }
        found
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn upgrade(control: &Control, program: &str, deadline: Duration) -> Result<u64, Fault> {
    let op = Op::Upgrade {
        program: program.to_owned(),
        deadline_ms: deadline.as_millis().try_into().expect("short enough"),
    };
    let upgraded: Upgraded = control.ask(op).await?;
    Ok(upgraded.cut)
}

fn process(store: &Path, name: &str, options: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_shop-gateway"))
        .args(["run", "--name", name, "--dir"])
        .arg(store.join("live"))
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("started")
}

async fn signal(pid: u32, signal: &str) {
    let pid = pid.to_string();
    let sent = Command::new("kill").args([signal, &pid]).status().await;
    assert!(sent.expect("started").success(), "{signal} {pid}");
}

/// One port that is free now.
const ONE: [&str; 2] = ["--listen", "127.0.0.1:8000/tcp=127.0.0.1:0"];

/// Asks on new connections and on lasting ones until it is told to stop, and says how
/// often, and what went wrong.
fn customers(port: u16, lasting: bool) -> (Arc<AtomicBool>, JoinHandle<(usize, Vec<String>)>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let asking = tokio::spawn(async move {
        let (mut asked, mut wrong) = (0, Vec::new());
        let mut client: Option<Client> = None;
        while !stopped.load(SeqCst) {
            let mut open = match client.take() {
                Some(client) => client,
                None => Client::connect(port).await,
            };
            asked += 1;
            match open.get("/").await {
                Ok(got) if got.status == 200 => {
                    let closes = got
                        .headers
                        .get("connection")
                        .is_some_and(|it| it == "close");
                    client = (lasting && !closes).then_some(open);
                }
                Ok(got) => wrong.push(format!("{} {}", got.status, got.text())),
                Err(error) => wrong.push(format!("{error:?}")),
            }
        }
        (asked, wrong)
    });
    (stop, asking)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_refused_or_lost_while_one_program_after_another_takes_over() {
    let (mut life, replica) = serving().await;
    let port = life.port().await;
    assert_eq!(life.program().await, "shop-gateway");
    let customers = [
        customers(port, false),
        customers(port, true),
        customers(port, true),
    ];
    for name in ["b1", "b2", "b3"] {
        life.put_this(name);
        let mut slow = Client::connect(port).await;
        let held = replica.requests();
        let answer = tokio::spawn(async move {
            let response = slow.send(request("GET", "/held", full(""))).await?;
            Got::read(response).await
        });
        until("it is under way", async || {
            replica.requests() > held && stats(&life.control).await.services["order"].in_flight > 0
        })
        .await;
        let control = life.control.clone();
        let upgrading = tokio::spawn(async move { upgrade(&control, name, SOON).await });
        until("it serves", async || {
            life.control.connect().is_ok() && life.program().await == name
        })
        .await;
        assert!(!upgrading.is_finished(), "it waits for what is under way");
        replica.seen.permits.add_permits(1);
        let got = answer.await.expect("joined").expect("an answer");
        assert_eq!(got.status, 200);
        assert_eq!(upgrading.await.expect("joined"), Ok(0));
        assert_eq!(
            life.hello().await.generation,
            1,
            "the routes are those of before"
        );
        assert_eq!(written(&life).program.as_deref(), Some(name));
        // The one before is gone, but for the first, which minds the others.
        until("two are left", async || life.processes().len() == 2).await;
    }
    for (stop, asking) in customers {
        stop.store(true, SeqCst);
        let (asked, wrong) = asking.await.expect("joined");
        assert!(wrong.is_empty(), "{wrong:?} of {asked}");
        assert!(asked > 50, "{asked}");
    }
    signal(life.first.id().expect("it runs"), "-15").await;
    let status = life.first.wait().await.expect("waited");
    assert!(status.success(), "{status}");
    assert!(life.control.connect().is_err(), "they have ended with it");
}

#[tokio::test]
async fn what_is_under_way_at_the_deadline_is_ended() {
    let (life, replica) = serving().await;
    let port = life.port().await;
    let mut client = Client::connect(port).await;
    let answer = tokio::spawn(async move { client.get("/held").await });
    until("it is under way", async || replica.requests() == 1).await;
    life.put_this("b1");
    let started = Instant::now();
    let cut = life.upgrade("b1", Duration::from_millis(300)).await;
    let took = started.elapsed();
    assert_eq!(cut, Ok(1));
    assert!(took >= Duration::from_millis(300), "{took:?}");
    let got = answer.await.expect("joined");
    assert!(got.is_err() || got.is_ok_and(|got| got.status == 504));
    assert_eq!(get(port, "/").await.text(), replica.host());
}

#[tokio::test]
async fn a_program_that_cannot_take_over_changes_nothing() {
    let (life, replica) = serving().await;
    let port = life.port().await;
    // One that is not there, one that is torn, one that ends at once.
    life.put_this("torn");
    let torn = life.store.path().join("bin/torn");
    fs::remove_file(&torn).expect("removed");
    fs::write(&torn, "not the same").expect("written");
    life.put("ends", b"#!/bin/sh\nexit 3\n");
    for (program, why) in [
        ("absent", "No such file"),
        ("torn", "is not whole"),
        ("ends", "it ended with exit code 3"),
    ] {
        let fault = life.upgrade(program, SOON).await.expect_err("refused");
        assert!(fault.message.contains(why), "{program}: {fault:?}");
        assert_eq!(life.program().await, "shop-gateway");
        assert_eq!(get(port, "/").await.text(), replica.host());
    }
    assert_eq!(life.processes().len(), 1, "none is left");
    life.put_this("b1");
    assert_eq!(life.upgrade("b1", SOON).await, Ok(0));
    assert_eq!(life.program().await, "b1");
}

#[tokio::test]
async fn a_container_that_starts_again_goes_on_with_the_newest_program() {
    let (mut life, replica) = serving().await;
    for name in ["b1", "b2"] {
        life.put_this(name);
        assert_eq!(life.upgrade(name, SOON).await, Ok(0));
    }
    life.crash().await;
    life.start_again(&ONE).await;
    assert_eq!(life.program().await, "b2");
    assert_eq!(life.processes().len(), 1, "it became that");
    assert_eq!(get(life.port().await, "/").await.text(), replica.host());
    // Its successor belongs to the same container.
    life.put_this("b3");
    assert_eq!(life.upgrade("b3", SOON).await, Ok(0));
    life.crash().await;
    life.start_again(&ONE).await;
    assert_eq!(life.program().await, "b3");
    // Better an older one than none.
    life.crash().await;
    let newest = life.store.path().join("bin/b3");
    fs::remove_file(&newest).expect("removed");
    life.start_again(&ONE).await;
    assert_eq!(life.program().await, "shop-gateway");
}

#[tokio::test]
async fn a_program_that_dies_ends_the_container() {
    let mut life = Life::start(&ONE).await;
    life.put_this("b1");
    assert_eq!(life.upgrade("b1", SOON).await, Ok(0));
    let processes = life.processes();
    assert_eq!(processes.len(), 2);
    signal(processes[1], "-9").await;
    let status = life.first.wait().await.expect("waited");
    assert_eq!(status.code(), Some(1));
}

/// A request that is under way in the program that lets go, and who waits for its answer.
async fn held(life: &Life, replica: &Replica) -> JoinHandle<hyper::Result<Got>> {
    let mut client = Client::connect(life.port().await).await;
    let before = replica.requests();
    let answer = tokio::spawn(async move { client.get("/held").await });
    until("it is under way", async || replica.requests() > before).await;
    answer
}

#[tokio::test]
async fn a_program_that_dies_while_the_one_before_lets_go_ends_the_container_at_once() {
    let (mut life, replica) = serving().await;
    // Of one that has taken over itself, so that the first hears of it from that.
    for (name, processes) in [("b1", 2), ("b2", 3)] {
        life.put_this(name);
        let answer = held(&life, &replica).await;
        let control = life.control.clone();
        let upgrading =
            tokio::spawn(async move { upgrade(&control, name, Duration::from_mins(1)).await });
        until("it serves", async || {
            life.control.connect().is_ok() && life.program().await == name
        })
        .await;
        if processes == 2 {
            replica.seen.permits.add_permits(1);
            answer.await.expect("joined").expect("an answer");
            assert_eq!(upgrading.await.expect("joined"), Ok(0));
            continue;
        }
        until("all are there", async || {
            life.processes().len() == processes
        })
        .await;
        let newest = life.processes()[processes - 1];
        signal(newest, "-9").await;
        let ended = tokio::time::timeout(SOON, life.first.wait()).await;
        let status = ended.expect("at once").expect("waited");
        assert_eq!(status.code(), Some(1));
        assert!(answer.await.expect("joined").is_err());
    }
    // What did not last is none to begin with.
    until("all are gone", async || life.control.connect().is_err()).await;
    life.start_again(&ONE).await;
    assert_eq!(life.program().await, "b1");
}

#[tokio::test]
async fn a_drain_waits_for_what_the_program_before_has_under_way() {
    let (life, replica) = serving().await;
    life.put_this("b1");
    let answer = held(&life, &replica).await;
    let control = life.control.clone();
    let upgrading = tokio::spawn(async move { upgrade(&control, "b1", SOON).await });
    until("it serves", async || {
        life.control.connect().is_ok() && life.program().await == "b1"
    })
    .await;
    let mut config = config_of_one(&replica);
    config.generation += 1;
    config
        .services
        .get_mut("order")
        .expect("a service")
        .targets
        .clear();
    life.control.apply(&config).await.expect("applied");
    let short = Duration::from_millis(100);
    assert_eq!(life.control.drain(&replica.host(), short).await, 1);
    replica.seen.permits.add_permits(1);
    answer.await.expect("joined").expect("an answer");
    assert_eq!(life.control.drain(&replica.host(), SOON).await, 0);
    assert_eq!(upgrading.await.expect("joined"), Ok(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doors_stay_open_while_another_program_takes_over() {
    let life = Life::start(&["--doors"]).await;
    let replica = Replica::start().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .port();
    let mut config = config_of_one(&replica);
    config.listeners[0].bind = Some("localhost".to_owned());
    config.listeners[0].port = Some(port);
    life.control.apply(&config).await.expect("applied");
    let (stop, asking) = customers(port, true);
    let (stop_new, asking_new) = customers(port, false);
    for name in ["b1", "b2"] {
        life.put_this(name);
        assert_eq!(life.upgrade(name, SOON).await, Ok(0));
        assert_eq!(life.program().await, name);
    }
    for (stop, asking) in [(stop, asking), (stop_new, asking_new)] {
        stop.store(true, SeqCst);
        let (asked, wrong) = asking.await.expect("joined");
        assert!(wrong.is_empty(), "{wrong:?} of {asked}");
        assert!(asked > 20, "{asked}");
    }
    // What was taken over can be closed.
    config.generation += 1;
    config.listeners.clear();
    life.control.apply(&config).await.expect("applied");
    until("the door is closed", async || {
        TcpStream::connect(("127.0.0.1", port)).await.is_err()
    })
    .await;
}

/// A gateway with one replica behind it.
async fn serving() -> (Life, Replica) {
    let life = Life::start(&ONE).await;
    let replica = Replica::start().await;
    let config = config_of_one(&replica);
    life.control.apply(&config).await.expect("applied");
    (life, replica)
}

fn config_of_one(replica: &Replica) -> Config {
    let mut config = config(1, 1, &[replica.host()]);
    config.listeners.retain(|one| one.id == HTTP);
    config
}

async fn stats(control: &Control) -> Stats {
    control.ask(Op::Stats).await.expect("stats")
}

/// What the gateway's file says.
fn written(life: &Life) -> Stats {
    let file = format!("live/stats/{}.json", life.control.0);
    let bytes = fs::read(life.store.path().join(file)).expect("read");
    serde_json::from_slice(&bytes).expect("statistics")
}
