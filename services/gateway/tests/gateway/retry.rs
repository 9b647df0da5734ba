//! What is tried again, and what never is.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::Rig;
use crate::support::client::Client;
use crate::support::replica::Replica;
use crate::support::replica::free_host;
use crate::support::replica::listen;

#[tokio::test]
async fn a_failed_connect_is_retried_on_another_target_whatever_the_method() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host(), free_host()]).await;
    for number in 1..=50 {
        // The connection's thread is chosen by the kernel: both are tried.
        let mut client = Client::connect(rig.http()).await;
        let got = client.post("/echo", "once").await.expect("an answer");
        assert_eq!((got.status, got.text().as_str()), (200, "once"));
        assert_eq!(replica.requests(), number);
    }
    let stats = rig.stats().await;
    let order = &stats.services["order"];
    assert_eq!((order.requests, order.errors_5xx), (50, 0));
    let failed: u64 = order.targets.values().map(|target| target.errors).sum();
    assert!(failed >= 1, "the dead target was never tried");
}

#[tokio::test]
async fn with_two_dead_targets_it_ends_after_one_retry() {
    let mut rig = Rig::start();
    rig.route(&[free_host(), free_host(), free_host()]).await;
    let mut client = Client::connect(rig.http()).await;
    assert_eq!(client.get("/").await.expect("an answer").status, 502);
    let stats = rig.stats().await;
    let targets = stats.services["order"].targets.values();
    assert_eq!(targets.map(|target| target.errors).sum::<u64>(), 2);
}

/// A server that answers the first request of each connection, unless `then` says
/// otherwise, and then does with the next what `then` says.
struct Fickle {
    host: String,
    requests: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

#[derive(Clone, Copy)]
enum Then {
    /// Closes while idle.
    CloseAtOnce,
    /// Reads the next request and closes without an answer.
    SwallowTheNext,
    /// Reads the first request already and closes without an answer.
    SwallowTheFirst,
}

impl Fickle {
    async fn start(then: Then) -> Self {
        let host = free_host();
        let listener = listen(&host).await;
        let fickle = Self {
            host,
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let requests = Arc::clone(&fickle.requests);
        let connections = Arc::clone(&fickle.connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, SeqCst);
                tokio::spawn(converse(stream, then, Arc::clone(&requests)));
            }
        });
        fickle
    }
}

async fn converse(mut stream: TcpStream, then: Then, requests: Arc<AtomicU64>) {
    let mut buffer = [0; 4096];
    if !matches!(stream.read(&mut buffer).await, Ok(1..)) {
        return;
    }
    requests.fetch_add(1, SeqCst);
    if matches!(then, Then::SwallowTheFirst) {
        return;
    }
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    if stream.write_all(answer).await.is_err() {
        return;
    }
    if matches!(then, Then::SwallowTheNext) && matches!(stream.read(&mut buffer).await, Ok(1..)) {
        requests.fetch_add(1, SeqCst);
    }
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_never_used() {
    let mut rig = Rig::start();
    let fickle = Fickle::start(Then::CloseAtOnce).await;
    rig.route(std::slice::from_ref(&fickle.host)).await;
    let mut client = Client::connect(rig.http()).await;
    for number in 1..=100 {
        let got = client.post("/", "body").await.expect("an answer");
        assert_eq!(got.status, 200, "request {number}");
        assert_eq!(fickle.requests.load(SeqCst), number);
    }
}

#[tokio::test]
async fn a_get_that_an_idle_connection_swallowed_is_made_again() {
    let mut rig = Rig::start();
    let fickle = Fickle::start(Then::SwallowTheNext).await;
    rig.route(std::slice::from_ref(&fickle.host)).await;
    let mut client = Client::connect(rig.http()).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.expect("an answer").status, 200);
    }
    // Each one after the first was swallowed once and made again once.
    assert_eq!(fickle.requests.load(SeqCst), 1 + 9 * 2);
    assert_eq!(fickle.connections.load(SeqCst), 10);
}

#[tokio::test]
async fn a_post_that_an_idle_connection_swallowed_is_never_made_again() {
    for body in ["body", ""] {
        let mut rig = Rig::start();
        let fickle = Fickle::start(Then::SwallowTheNext).await;
        rig.route(std::slice::from_ref(&fickle.host)).await;
        let mut client = Client::connect(rig.http()).await;
        assert_eq!(client.post("/", body).await.expect("one").status, 200);
        assert_eq!(client.post("/", body).await.expect("two").status, 502);
        assert_eq!(fickle.requests.load(SeqCst), 2);
    }
}

/// A killed process accepts connections for a moment after its first ones broke.
#[tokio::test]
async fn a_target_that_broke_off_a_request_is_left_out_for_a_while() {
    let mut rig = Rig::start();
    let dying = Fickle::start(Then::SwallowTheFirst).await;
    let replica = Replica::start().await;
    rig.route(&[dying.host.clone(), replica.host()]).await;
    let mut client = Client::connect(rig.http()).await;
    // Until the dying one is chosen.
    while client.post("/echo", "one").await.expect("an answer").status == 200 {}
    assert_eq!(dying.requests.load(SeqCst), 1);
    let broke = Instant::now();
    let mut answered = 0;
    while broke.elapsed() < Duration::from_millis(400) {
        let got = client.post("/echo", "two").await.expect("an answer");
        assert_eq!(got.status, 200, "after {:?}", broke.elapsed());
        answered += 1;
    }
    assert!(answered >= 10, "{answered}");
    // It accepts connections, so it gets another chance.
    while client.post("/echo", "three").await.expect("one").status == 200 {
        assert!(
            broke.elapsed() < Duration::from_secs(20),
            "never used again"
        );
    }
    assert_eq!(dying.requests.load(SeqCst), 2);
}
