//! shopctl killed at every call of a deploy: the shop serves all the while, and one
//! more deploy finishes the job.
//!
//! A deploy makes n calls that may change something, lines to the gateway included.
//! For each of them two deploys are killed (SIGKILL): when the call was about to
//! reach the engine, and when the engine had answered and the reply was not yet
//! read. A shop waits most of the time, so a few of them share the 2n scenarios.

mod support;

use std::collections::VecDeque;
use std::process::Child;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use support::TestStack;
use support::client::Client;
use support::eventually;
use support::free_port;
use support::get;
use support::shim::Break;
use support::shim::Call;
use support::shim::Shim;

/// Longer than a lock that was made and never held stays in the way.
const LOCK_WAIT: &str = "20s";
/// Shops that are changed, killed and mended side by side.
const SHOPS: usize = 3;

fn file(port: u16, version: usize) -> String {
    format!(
        r#"
services:
  web:
    build: app
    environment: {{ VERSION: "{version}" }}
    stop_grace_period: 2s
    restart: unless-stopped
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy: {{ replicas: 2, update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
  worker:
    build: app
    environment: {{ VERSION: "{version}" }}
    stop_grace_period: 2s
    restart: unless-stopped
    deploy: {{ update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
"#
    )
}

/// The shop, its customer, and the proxy through which it is changed.
struct Rig {
    stack: TestStack,
    port: u16,
    client: Client,
    shim: Shim,
    runtime: tokio::runtime::Runtime,
    version: usize,
}

impl Rig {
    fn new() -> Self {
        let port = free_port();
        let stack = TestStack::new(&file(port, 1));
        stack.ok(&["deploy", "--progress", "none"]);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let shim = {
            let _inside = runtime.enter();
            Shim::start()
        };
        Self {
            stack,
            port,
            client: Client::start(port),
            shim,
            runtime,
            version: 1,
        }
    }

    /// Changes the file and starts a deploy of it through the proxy.
    fn deploy(&mut self) -> Child {
        self.version += 1;
        self.stack
            .write("stack.yaml", &file(self.port, self.version));
        self.stack
            .command(&["deploy", "--progress", "none"])
            .env("DOCKER_HOST", self.shim.host())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("shopctl starts")
    }

    /// A whole deploy; the calls it made.
    fn count(&mut self) -> Vec<Call> {
        self.shim.reset(None);
        let ended = self.deploy().wait().expect("it ends");
        assert!(ended.success(), "{ended}");
        self.shim.mutating()
    }

    /// One scenario; what it did and how long that took, or what is wrong.
    fn kill_at(&mut self, number: usize, how: Break) -> Result<String, String> {
        let began = Instant::now();
        self.shim.freeze_at(number, how);
        let mut run = self.deploy();
        let broken =
            async { tokio::time::timeout(Duration::from_secs(30), self.shim.broken()).await };
        let broken = self.runtime.block_on(broken);
        run.kill().expect("it runs");
        let ended = run.wait().expect("it ends");
        broken.map_err(|_| format!("call {number} was never made"))?;
        let killed = began.elapsed();
        if ended.code().is_some() {
            return Err(format!("it ended by itself: {ended}"));
        }
        let want = |code: i32, ran: support::Ran| {
            (ran.code == code)
                .then_some(ran.stdout.clone())
                .ok_or(ran.to_string())
        };
        want(0, self.stack.run(&["status", "-o", "json"]))?;
        let looked = began.elapsed();
        let mend = ["deploy", "--progress", "none", "--lock-wait", LOCK_WAIT];
        want(0, self.stack.run(&mend))?;
        let mended = began.elapsed();
        let again = want(0, self.stack.run(&["deploy", "-o", "json"]))?;
        if !again.contains("\"nothing_to_do\"") {
            return Err(format!("there was something left to do: {again}"));
        }
        self.check_containers();
        self.check_version()?;
        let seen = self.client.seen();
        if !seen.failures.is_empty() {
            return Err(format!(
                "the customer saw {} failures of {}: {:?}",
                seen.failures.len(),
                seen.asked,
                seen.failures
            ));
        }
        if seen.rate < 20.0 {
            return Err(format!("only {:.1} requests a second", seen.rate));
        }
        Ok(format!(
            "killed at {killed:.1?}, looked {looked:.1?}, mended {mended:.1?}, all {:.1?}, {} requests",
            began.elapsed(),
            seen.asked
        ))
    }

    /// Exactly the containers of the stack are there, and all run. The lock of a run
    /// that was killed goes by itself, and a deploy with nothing to do waits for none.
    fn check_containers(&self) {
        let name = &self.stack.name;
        let expected = [
            format!("{name}-gateway-1"),
            // The names of both lead to it.
            format!("{name}-gateway-2"),
            format!("{name}-web-1-"),
            format!("{name}-web-2-"),
            format!("{name}-worker-1-"),
        ];
        let what = "exactly the expected containers";
        eventually(Duration::from_secs(3), what, || {
            let found = self.stack.all_containers();
            let fits = found.len() == expected.len()
                && found
                    .iter()
                    .zip(&expected)
                    .all(|(found, start)| found.starts_with(start));
            let running = self.stack.containers();
            let all_run = running.values().all(|state| state.ends_with("running"));
            (fits && all_run && running.len() == expected.len()).then_some(())
        });
    }

    /// All replicas that answer are of the version that was deployed last.
    fn check_version(&self) -> Result<(), String> {
        for _ in 0..4 {
            let (_, body) = get(self.port, "/").map_err(|error| error.to_string())?;
            if !body.starts_with(&format!("{} ", self.version)) {
                return Err(format!("{body:?} answers, not version {}", self.version));
            }
        }
        Ok(())
    }
}

/// A call without what differs from run to run.
fn kind(call: &Call) -> String {
    let path = call.path.split('?').next().unwrap_or_default();
    let steady = |part: &&str| part.len() < 40 && !part.contains("t-");
    let parts: Vec<&str> = path.split('/').filter(steady).collect();
    format!("{} {}", call.method, parts.join("/"))
}

/// What is left to be done, shared by all shops.
type Scenarios = Mutex<VecDeque<(usize, Break)>>;

/// Takes one scenario after the other until none is left; what was wrong.
#[expect(clippy::print_stdout, reason = "what a failure is understood by")]
fn sweep(mut rig: Rig, scenarios: &Scenarios, done: &AtomicUsize) -> Vec<String> {
    let mut failed = Vec::new();
    loop {
        let next = scenarios.lock().expect("no shop panicked").pop_front();
        let Some((number, how)) = next else {
            return failed;
        };
        let result = rig.kill_at(number, how);
        done.fetch_add(1, Ordering::Relaxed);
        let call = rig.shim.mutating().last().map(kind).unwrap_or_default();
        match result {
            Ok(what) => println!("{how:?} {number} ({call}): {what}"),
            Err(why) => {
                println!("{how:?} {number} ({call}): FAILED: {why}");
                failed.push(format!("{how:?} {number} ({call}): {why}"));
                // The next scenario begins with a shop that is whole.
                rig.stack.run(&["deploy", "--lock-wait", LOCK_WAIT]);
                rig.client.seen();
            }
        }
    }
}

#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "the count is a part of the proof")]
fn a_deploy_killed_at_any_call_loses_nothing_and_is_finished_by_the_next() {
    let started = Instant::now();
    let mut first = Rig::new();
    let calls = first.count();
    let n = calls.len();
    for (at, call) in calls.iter().enumerate() {
        println!("{:3} {}", at + 1, kind(call));
    }
    let all = (1..=n).flat_map(|number| [(number, Break::Before), (number, Break::After)]);
    let scenarios = Mutex::new(all.collect());
    let done = AtomicUsize::new(0);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let other = || scope.spawn(|| sweep(Rig::new(), &scenarios, &done));
        let others: Vec<_> = (1..SHOPS).map(|_| other()).collect();
        let mut failed = sweep(first, &scenarios, &done);
        for other in others {
            failed.extend(other.join().expect("no shop panicked"));
        }
        failed
    });
    let done = done.into_inner();
    println!(
        "{n} calls, {done} scenarios, {} failed, {:?}",
        failed.len(),
        started.elapsed()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(done, 2 * n, "every call was broken in both ways");
}
