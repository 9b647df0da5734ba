//! The gate of readiness: opens soon after the truth, and says what it saw when
//! it does not.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use shop_gateway::Resolve;
use shop_gateway::protocol::FaultKind;
use shop_gateway::protocol::Op;
use shop_gateway::protocol::Probed;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::support::Control;
use crate::support::Rig;
use crate::support::replica::PORT;
use crate::support::replica::Replica;
use crate::support::replica::free_host;
use crate::support::replica::listen;

fn probe(target: &str, http: Option<&str>, deadline: Duration) -> Op {
    serde_json::from_value(json!({
        "op": "probe", "target": target, "port": PORT, "http": http,
        "deadline_ms": u64::try_from(deadline.as_millis()).expect("short"),
    }))
    .expect("an operation")
}

const MINUTE: Duration = Duration::from_mins(1);

/// How a service gets ready.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// The port is closed, then open and ready.
    LateListen,
    /// The port is open at once, `/readyz` says 503 and then 200.
    LateReady,
}

/// A service that is ready at a moment that it alone chooses and records.
async fn service(host: String, start: Start) -> Instant {
    let ready_at = Instant::now() + Duration::from_millis(fastrand::u64(40..400));
    if matches!(start, Start::LateListen) {
        sleep_until(ready_at).await;
    }
    let listener = listen(&host).await;
    let listening = Instant::now();
    let truth = match start {
        Start::LateListen => listening,
        Start::LateReady => ready_at,
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let status = if Instant::now() < truth {
                "503 Service Unavailable"
            } else {
                "200 OK"
            };
            tokio::spawn(answer(stream, status));
        }
    });
    truth
}

async fn answer(mut stream: TcpStream, status: &str) -> io::Result<()> {
    let mut buffer = [0; 1024];
    let length = stream.read(&mut buffer).await?;
    assert!(length == 0 || buffer.starts_with(b"GET /readyz HTTP/1.1\r\n"));
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await
}

/// From the moment at which a service was ready to the moment at which the
/// probe's answer was in our hands.
async fn delay(control: &Control, start: Start) -> Duration {
    let host = free_host();
    let serving = tokio::spawn(service(host.clone(), start));
    let path = match start {
        Start::LateListen => None,
        Start::LateReady => Some("/readyz"),
    };
    let probed: Probed = control
        .ask(probe(&host, path, MINUTE))
        .await
        .expect("ready");
    let open = Instant::now();
    assert!(probed.attempts > 1, "it was ready from the start");
    let truth = serving.await.expect("joined");
    open.checked_duration_since(truth)
        .expect("the gate does not open before the truth")
}

async fn p95_of_50(start: Start) -> Duration {
    let rig = Rig::start();
    let mut delays = Vec::new();
    for _ in 0..50 {
        delays.push(delay(&rig.control, start).await);
    }
    delays.sort();
    delays[47]
}

#[tokio::test]
async fn the_gate_opens_within_50_ms_of_an_open_port() {
    let p95 = p95_of_50(Start::LateListen).await;
    assert!(p95 <= Duration::from_millis(50), "p95 {p95:?}");
}

#[tokio::test]
async fn the_gate_opens_within_50_ms_of_a_ready_answer() {
    let p95 = p95_of_50(Start::LateReady).await;
    assert!(p95 <= Duration::from_millis(50), "p95 {p95:?}");
}

#[tokio::test]
async fn a_deadline_comes_with_what_was_last_seen() {
    let rig = Rig::start();
    let replica = Replica::start().await;
    let cases = [
        (free_host(), None, "refused"),
        (
            replica.host(),
            Some("/status/503"),
            "503 Service Unavailable",
        ),
        (replica.host(), Some("/slow/60000"), "no answer within"),
        ("no-such-host.invalid".to_owned(), None, "not ready"),
    ];
    for (host, path, expected) in cases {
        let started = Instant::now();
        let deadline = Duration::from_millis(300);
        let result = rig
            .control
            .ask::<Probed>(probe(&host, path, deadline))
            .await;
        let fault = result.expect_err(expected);
        assert_eq!(fault.kind, FaultKind::Timeout);
        assert!(fault.message.contains(expected), "{fault}");
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_path_must_be_one() {
    let rig = Rig::start();
    for path in ["readyz", "http://elsewhere/", "/a b", ""] {
        let result = rig
            .control
            .ask::<Probed>(probe("localhost", Some(path), MINUTE));
        assert_eq!(result.await.expect_err(path).kind, FaultKind::Invalid);
    }
}

/// Unknown for the first questions, as before a container has joined its network.
struct Late {
    host: String,
    unknown: std::sync::atomic::AtomicU64,
}

impl Resolve for Late {
    fn resolve(&self, _host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let left = self
            .unknown
            .fetch_update(
                std::sync::atomic::Ordering::SeqCst,
                std::sync::atomic::Ordering::SeqCst,
                |left| left.checked_sub(1),
            )
            .is_ok();
        let address = self.host.parse::<IpAddr>().expect("an address");
        async move {
            if left {
                return Err(io::Error::new(io::ErrorKind::NotFound, "unknown name"));
            }
            Ok(vec![address])
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_name_that_is_not_known_yet_is_asked_for_again_at_each_attempt() {
    let replica = Replica::start().await;
    let resolver = Late {
        host: replica.host(),
        unknown: 5.into(),
    };
    let rig = Rig::with(|options| options.resolver = Arc::new(resolver));
    let probed: Probed = rig
        .control
        .ask(probe("replica", Some("/"), MINUTE))
        .await
        .expect("ready");
    assert_eq!(
        probed.attempts, 7,
        "five failed, and two in a row were good"
    );
    assert!(probed.elapsed_ms >= 5 * 20, "{}", probed.elapsed_ms);
}

#[tokio::test]
async fn a_service_that_answers_well_every_second_time_never_passes() {
    let rig = Rig::start();
    let replica = Replica::start().await;
    replica.seen.flaps.store(true, SeqCst);
    let path = Some("/readyz");
    let short = Duration::from_millis(600);
    let asked = probe(&replica.host(), path, short);
    let fault = rig
        .control
        .ask::<Probed>(asked)
        .await
        .expect_err("it flaps");
    assert_eq!(fault.kind, FaultKind::Timeout);
    let checks = replica.seen.checks.load(SeqCst);
    assert!(checks >= 10, "it was asked {checks} times");
    replica.seen.flaps.store(false, SeqCst);
    let asked = probe(&replica.host(), path, short);
    let probed: Probed = rig.control.ask(asked).await.expect("ready");
    assert_eq!(probed.attempts, 2);
    assert!(probed.elapsed_ms >= 5, "{probed:?}");
}
