//! A replica on a loopback address of its own, so that all can use one port,
//! as containers do.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::Body;
use super::client::full;

/// The port of every replica.
pub(crate) const PORT: u16 = 8000;

/// What a replica counts, and what holds it up.
pub(crate) struct Seen {
    pub(crate) host: String,
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
    /// How often `/readyz` was asked, and whether it says no.
    pub(crate) checks: AtomicU64,
    pub(crate) ill: AtomicBool,
    /// It says no every second time.
    pub(crate) flaps: AtomicBool,
    /// Bytes of request bodies, as they come.
    pub(crate) uploaded: AtomicU64,
    /// Each permit lets `/events` send one event, or `/held` answer.
    pub(crate) permits: Semaphore,
}

/// A running HTTP server. Dropping it closes everything at once.
pub(crate) struct Replica {
    pub(crate) seen: Arc<Seen>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Replica {
    pub(crate) async fn start() -> Self {
        Self::start_at(&free_host()).await
    }

    pub(crate) async fn start_at(host: &str) -> Self {
        let listener = listen(host).await;
        let seen = Arc::new(Seen {
            host: host.to_owned(),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            ill: AtomicBool::new(false),
            flaps: AtomicBool::new(false),
            uploaded: AtomicU64::new(0),
            permits: Semaphore::new(0),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&seen)));
        Self { seen, server }
    }

    pub(crate) async fn start_many(count: usize) -> Vec<Self> {
        let mut replicas = Vec::new();
        for _ in 0..count {
            replicas.push(Self::start().await);
        }
        replicas
    }

    pub(crate) fn host(&self) -> String {
        self.seen.host.clone()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.seen.requests.load(SeqCst)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.seen.connections.load(SeqCst)
    }

    /// Closes the port and every connection, like a container that was killed.
    pub(crate) async fn kill(mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }
}

pub(crate) fn hosts(replicas: &[Replica]) -> Vec<String> {
    replicas.iter().map(Replica::host).collect()
}

/// A loopback address that nobody else is likely to use.
pub(crate) fn free_host() -> String {
    let part = || fastrand::u8(1..=254);
    IpAddr::from([127, part(), part(), part()]).to_string()
}

pub(crate) async fn listen(host: &str) -> TcpListener {
    let address: IpAddr = host.parse().expect("an address");
    TcpListener::bind(SocketAddr::new(address, PORT))
        .await
        .expect("bound")
}

async fn serve(listener: TcpListener, seen: Arc<Seen>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("accepted");
        while connections.try_join_next().is_some() {}
        seen.connections.fetch_add(1, SeqCst);
        let seen = Arc::clone(&seen);
        let service = service_fn(move |request| {
            let seen = Arc::clone(&seen);
            async move { Ok::<_, hyper::Error>(answer(request, seen).await) }
        });
        connections.spawn(
            http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades(),
        );
    }
}

async fn answer(mut request: Request<Incoming>, seen: Arc<Seen>) -> Response<Body> {
    seen.requests.fetch_add(1, SeqCst);
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts[..] {
        // What was sent, frame by frame.
        ["echo"] => {
            let counting = Arc::clone(&seen);
            let body = request.into_body().map_frame(move |frame| {
                if let Some(data) = frame.data_ref() {
                    counting.uploaded.fetch_add(data.len() as u64, SeqCst);
                }
                frame
            });
            Response::new(body.boxed_unsync())
        }
        // The length of what was sent.
        ["length"] => {
            let body = request.collect().await.expect("a body").to_bytes();
            Response::new(full(body.len().to_string()))
        }
        ["request"] => {
            let headers: Vec<(String, String)> = request
                .headers()
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
                .collect();
            let seen = json!({
                "method": request.method().as_str(),
                "uri": request.uri().to_string(),
                "headers": headers,
            });
            Response::new(full(seen.to_string()))
        }
        ["status", status] => {
            let mut response = Response::new(full("as you wish"));
            *response.status_mut() = StatusCode::from_bytes(status.as_bytes()).expect("a status");
            response
        }
        ["slow", millis] => {
            sleep(Duration::from_millis(millis.parse().expect("a number"))).await;
            Response::new(full(seen.host.clone()))
        }
        // Health checks; not counted as requests.
        ["readyz"] => {
            seen.requests.fetch_sub(1, SeqCst);
            let number = seen.checks.fetch_add(1, SeqCst);
            let mut response = Response::new(full("ready, or not"));
            let flapped = seen.flaps.load(SeqCst) && number % 2 == 1;
            if seen.ill.load(SeqCst) || flapped {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            response
        }
        ["held"] => {
            seen.permits.acquire().await.expect("open").forget();
            Response::new(full(seen.host.clone()))
        }
        ["events"] => events(seen),
        ["upgrade"] => {
            let protocol = request.headers()["upgrade"].clone();
            tokio::spawn(shout(hyper::upgrade::on(&mut request)));
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "upgrade")
                .header("upgrade", protocol)
                .body(full(""))
                .expect("a response")
        }
        _ => Response::new(full(seen.host.clone())),
    }
}

/// Server-sent events, one for each permit, without end.
fn events(seen: Arc<Seen>) -> Response<Body> {
    let stream = futures_util::stream::unfold(0, move |number| {
        let seen = Arc::clone(&seen);
        async move {
            seen.permits.acquire().await.ok()?.forget();
            let event = Bytes::from(format!("data: {number}\n\n"));
            Some((Ok(Frame::data(event)), number + 1))
        }
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(StreamBody::new(stream).boxed_unsync())
        .expect("a response")
}

/// The protocol `shout`: every byte comes back in upper case.
async fn shout(upgrade: hyper::upgrade::OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let mut stream = TokioIo::new(upgraded);
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        buffer[..length].make_ascii_uppercase();
        if stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
