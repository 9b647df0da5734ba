//! The promise: once a switch is answered, no new request reaches what it
//! removed, and once that is drained it can be killed without anybody noticing.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use crate::support::Rig;
use crate::support::SOON;
use crate::support::client::Client;
use crate::support::replica::Replica;
use crate::support::replica::hosts;

/// Clients that never pause, and what went wrong for them.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(port: u16, clients: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let clients = (0..clients)
            .map(|number| tokio::spawn(client(port, number, Arc::clone(&stop), Arc::clone(&sent))))
            .collect();
        Self {
            stop,
            sent,
            clients,
        }
    }

    /// Returns when at least so many more requests have been answered.
    async fn more(&self, requests: u64) {
        let goal = self.sent.load(SeqCst) + requests;
        crate::support::until("the load goes on", async || self.sent.load(SeqCst) >= goal).await;
    }

    /// How many requests there were, and each failure.
    async fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, SeqCst);
        let mut failures = Vec::new();
        for client in self.clients {
            failures.extend(client.await.expect("joined"));
        }
        (self.sent.load(SeqCst), failures)
    }
}

/// Half of the clients keep their connection, half make a new one each time;
/// every third request is a POST.
async fn client(
    port: u16,
    number: u64,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut connection = Client::connect(port).await;
    for count in 0.. {
        if stop.load(SeqCst) {
            break;
        }
        if number.is_multiple_of(2) {
            connection = Client::connect(port).await;
        }
        let got = match count % 3 {
            0 => connection.post("/echo", "an order").await,
            1 => connection.get("/slow/3").await,
            _ => connection.get("/").await,
        };
        sent.fetch_add(1, SeqCst);
        match got {
            Ok(got) if got.status == 200 => {}
            Ok(got) => failures.push(format!("{} {}", got.status, got.text())),
            Err(error) => {
                failures.push(error.to_string());
                connection = Client::connect(port).await;
            }
        }
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_switches_under_load_lose_nothing() {
    let mut rig = Rig::start();
    let mut current = Replica::start_many(2).await;
    rig.route(&hosts(&current)).await;
    let load = Load::start(rig.http(), 16);
    for _ in 0..50 {
        load.more(60).await;
        let next = Replica::start_many(2).await;
        rig.route(&hosts(&next)).await;
        for replica in std::mem::replace(&mut current, next) {
            assert_eq!(rig.control.drain(&replica.host(), SOON).await, 0);
            // Whatever comes from now on meets a closed port, and is counted.
            replica.kill().await;
        }
    }
    load.more(60).await;
    let (requests, failures) = load.end().await;
    assert!(
        failures.is_empty(),
        "{} of {requests}: {failures:?}",
        failures.len()
    );
    assert!(requests >= 3000, "only {requests}");
}

/// The control of the test above: without the drain it must lose something,
/// else it proves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_without_drain_loses_something() {
    let mut rig = Rig::start();
    let mut current = Replica::start_many(2).await;
    rig.route(&hosts(&current)).await;
    // On a machine that is busy it may take a few more.
    for _ in 0..20 {
        let load = Load::start(rig.http(), 16);
        for _ in 0..50 {
            load.more(60).await;
            let next = Replica::start_many(2).await;
            rig.route(&hosts(&next)).await;
            for replica in std::mem::replace(&mut current, next) {
                replica.kill().await;
            }
        }
        let (_, failures) = load.end().await;
        if !failures.is_empty() {
            return;
        }
    }
    panic!("nothing was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_answered_a_switch_is_complete() {
    let mut rig = Rig::start();
    let mut replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let load = Load::start(rig.http(), 8);
    let mut compared = 0;
    // Whether a switch meets a request is chance; so many of them do for certain.
    for _ in 0..400 {
        if compared == 5 {
            break;
        }
        load.more(40).await;
        let next = Replica::start().await;
        rig.route(&[next.host()]).await;
        // What the removed one has been given, ever, as of the answer.
        let stats = rig.stats().await;
        let id = format!("i-{}", replica.host());
        let given = stats.services["order"].targets.get(&id);
        let given = given.map(|target| target.requests);
        load.more(100).await;
        assert_eq!(rig.control.drain(&replica.host(), SOON).await, 0);
        // Without anything in flight there is no record of it any more.
        if let Some(given) = given {
            assert_eq!(replica.requests(), given);
            compared += 1;
        }
        replica = next;
    }
    assert_eq!(compared, 5, "too few switches met a request");
    let (_, failures) = load.end().await;
    assert_eq!(failures, Vec::<String>::new());
}

#[tokio::test]
async fn idle_connections_to_what_was_removed_are_closed_when_the_switch_is_answered() {
    let mut rig = Rig::start();
    let replica = crate::support::replica::free_host();
    let listener = crate::support::replica::listen(&replica).await;
    rig.route(std::slice::from_ref(&replica)).await;
    let serving = async {
        use tokio::io::AsyncReadExt;
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut buffer = [0; 4096];
        assert!(stream.read(&mut buffer).await.expect("a request") > 0);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.expect("answered");
        stream
    };
    let (got, stream) = tokio::join!(crate::support::client::get(rig.http(), "/"), serving);
    assert_eq!(got.status, 200);
    rig.route(&[]).await;
    // The end of the stream is there already: nothing is waited for.
    let mut byte = [std::mem::MaybeUninit::uninit()];
    let end = socket2::SockRef::from(&stream).peek(&mut byte);
    assert!(matches!(end, Ok(0)), "{end:?}");
}
