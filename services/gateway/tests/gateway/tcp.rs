//! Bytes of any protocol.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::Rig;
use crate::support::SOON;
use crate::support::replica::free_host;
use crate::support::replica::listen;
use crate::support::tally;

/// Says its own address first, then reads to the end, then says how much it read.
struct Greeter {
    host: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Greeter {
    async fn start() -> Self {
        let host = free_host();
        let listener = listen(&host).await;
        let name: Arc<str> = Arc::from(host.as_str());
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("accepted");
                let name = Arc::clone(&name);
                tokio::spawn(async move {
                    stream.write_all(format!("{name}\n").as_bytes()).await?;
                    let mut all = Vec::new();
                    stream.read_to_end(&mut all).await?;
                    stream.write_all(all.len().to_string().as_bytes()).await
                });
            }
        });
        Self { host, task }
    }
}

async fn connect(rig: &Rig) -> TcpStream {
    TcpStream::connect(("127.0.0.1", rig.tcp()))
        .await
        .expect("connected")
}

async fn greeting(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        match timeout(SOON, stream.read_u8()).await.expect("soon") {
            Ok(b'\n') | Err(_) => return text,
            Ok(byte) => text.push(char::from(byte)),
        }
    }
}

#[tokio::test]
async fn connections_spread_over_all_targets() {
    let mut rig = Rig::start();
    let (one, two) = (Greeter::start().await, Greeter::start().await);
    rig.route(&[one.host.clone(), two.host.clone()]).await;
    let mut open = Vec::new();
    let mut greetings = Vec::new();
    for _ in 0..40 {
        let mut stream = connect(&rig).await;
        greetings.push(greeting(&mut stream).await);
        open.push(stream);
    }
    // All stay open, so the one with fewer gets the next.
    let counts = tally(greetings);
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [20, 20]);
    let stats = rig.stats().await;
    let order = &stats.services["order"];
    assert_eq!((order.requests, order.in_flight), (40, 40));
    assert_eq!(order.latency_ms, None);
    assert_eq!(
        rig.control
            .drain(&one.host, Duration::from_millis(20))
            .await,
        20
    );
    drop(open);
    assert_eq!(rig.control.drain(&one.host, SOON).await, 0);
    assert_eq!(rig.control.drain(&two.host, SOON).await, 0);
}

#[tokio::test]
async fn when_the_client_has_said_all_the_target_may_still_answer() {
    let mut rig = Rig::start();
    let greeter = Greeter::start().await;
    rig.route(std::slice::from_ref(&greeter.host)).await;
    let mut stream = connect(&rig).await;
    assert_eq!(greeting(&mut stream).await, greeter.host);
    stream.write_all(&vec![1; 3_000_000]).await.expect("sent");
    stream.shutdown().await.expect("half closed");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("the answer");
    assert_eq!(rest, "3000000");
}

#[tokio::test]
async fn a_dead_target_is_passed_over() {
    let mut rig = Rig::start();
    let greeter = Greeter::start().await;
    rig.route(&[free_host(), greeter.host.clone()]).await;
    for _ in 0..20 {
        let mut stream = connect(&rig).await;
        assert_eq!(greeting(&mut stream).await, greeter.host);
    }
}

#[tokio::test]
async fn without_a_target_the_connection_is_closed() {
    let mut rig = Rig::start();
    rig.route(&[]).await;
    let mut stream = connect(&rig).await;
    assert_eq!(greeting(&mut stream).await, "");
    rig.route(&[free_host()]).await;
    let mut stream = connect(&rig).await;
    assert_eq!(greeting(&mut stream).await, "");
}

#[tokio::test]
async fn a_connection_outlives_the_switch_and_the_next_goes_elsewhere() {
    let mut rig = Rig::start();
    let (old, new) = (Greeter::start().await, Greeter::start().await);
    rig.route(std::slice::from_ref(&old.host)).await;
    let mut before = connect(&rig).await;
    assert_eq!(greeting(&mut before).await, old.host);
    let applied = rig.route(std::slice::from_ref(&new.host)).await;
    assert_eq!(applied.draining[0].in_flight, 1);
    let mut after = connect(&rig).await;
    assert_eq!(greeting(&mut after).await, new.host);
    before.write_all(b"12345").await.expect("sent");
    before.shutdown().await.expect("half closed");
    let mut rest = String::new();
    before.read_to_string(&mut rest).await.expect("the answer");
    assert_eq!(rest, "5");
    assert_eq!(rig.control.drain(&old.host, SOON).await, 0);
}
