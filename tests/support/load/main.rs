//! Customers for the proof that nothing is lost: requests at a constant rate whatever
//! the answers do (open loop), each with an id, each noted with how it ended. Nothing
//! is ever asked twice.
//!
//! ```text
//! load run PORT RATE COUNT STREAMS LEDGER     asks, and writes the clients' ledger
//! load check LEDGER FOLDER SWITCHES           compares it with the replicas' ledgers
//! ```
//!
//! `SWITCHES` holds one time a line, in milliseconds since the epoch, at which traffic
//! was switched. `check` prints what it found as JSON and ends with 1 for a loss or a
//! duplicate, with 2 for a run that proves nothing.

mod ask;
mod check;
mod streams;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use tokio::time::Instant;

/// How long after the last request its answer may come.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request in fifty takes a second. Quick ones are done by the time that the engine
/// has stopped a replica, so they alone would not miss a drain that is left out.
const SLOW: &str = "/?ms=1000";

/// The clients' ledger in the making.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<String>>);

impl Ledger {
    /// One line: kind, id, start and end in milliseconds, how it ended.
    fn note(&self, kind: &str, id: &str, started: u128, outcome: &Result<(), String>) {
        let outcome = match outcome {
            Ok(()) => "ok".to_owned(),
            Err(why) => why.replace(['\n', '\r'], " "),
        };
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{kind} {id} {started} {} {outcome}", now_ms());
    }
}

fn now_ms() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_millis()
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "its answer")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u32>().expect("a number");
    match words.as_slice() {
        ["run", port, rate, count, streams, ledger] => {
            let port = port.parse().expect("a port");
            let text = run(port, number(rate), number(count), number(streams)).await;
            std::fs::write(ledger, text).expect("the ledger can be written");
            ExitCode::SUCCESS
        }
        ["check", ledger, folder, switches] => {
            let read = |path| std::fs::read_to_string(path).expect("a readable file");
            let found = check::check(&read(ledger), &check::replicas(folder), &read(switches));
            println!("{}", found.json());
            ExitCode::from(found.verdict())
        }
        other => {
            println!("what is {other:?}? See the source.");
            ExitCode::from(2)
        }
    }
}

async fn run(port: u16, rate: u32, count: u32, streams: u32) -> String {
    let ledger = Ledger::default();
    let pool = ask::Pool::new(port);
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut long = tokio::task::JoinSet::new();
    for number in 0..streams {
        long.spawn(streams::customer(
            port,
            number,
            ledger.clone(),
            stopping.clone(),
        ));
    }
    let mut requests = tokio::task::JoinSet::new();
    let begin = Instant::now();
    for number in 0..count {
        let due = begin + Duration::from_secs(1) / rate * number;
        tokio::time::sleep_until(due).await;
        let (pool, ledger) = (pool.clone(), ledger.clone());
        requests.spawn(async move {
            let (kind, size) = mix(number);
            let id = format!("{kind}-{number}");
            let started = now_ms();
            let path = if number % 50 == 7 { SLOW } else { "/" };
            let asked = tokio::time::timeout(PATIENCE, pool.ask(kind, path, &id, size));
            let outcome = asked.await.unwrap_or_else(|_| Err("no answer".to_owned()));
            ledger.note(kind, &id, started, &outcome);
        });
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
    let _ = stop.send(true);
    while long.join_next().await.is_some() {}
    std::mem::take(&mut *ledger.0.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What the request with this number is: its method and the size of its body.
fn mix(number: u32) -> (&'static str, usize) {
    match number % 100 {
        0 => ("POST", 1 << 20),
        10 | 30 | 50 | 70 | 90 => ("POST", 64 << 10),
        rest if rest % 3 == 1 => ("POST", 1 << 10),
        _ => ("GET", 0),
    }
}
