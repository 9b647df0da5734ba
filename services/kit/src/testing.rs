//! Runs a service inside a test: real sockets, a real database file in a folder that goes away with the test.
//!
//! The service runs on a thread and a runtime of its own, so a test can stop it, start another on the same folder, and
//! drop it in any state.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::Method;
use serde_json::Value;
pub use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::client::{Answer, Call, CallError, Client, Limits};
use crate::env::Env;
use crate::host::{About, Host, Server, StartError};

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder for database files.
///
/// # Panics
/// When the machine gives no folder.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A service that runs.
#[derive(Debug)]
pub struct Running {
    /// The main port.
    pub address: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
    client: Client,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

/// What was answered, read as JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The status.
    pub status: u16,
    /// The body; null when there is none.
    pub body: Value,
    /// The header `ETag`.
    pub etag: Option<String>,
}

impl Running {
    /// Starts a service on free ports of the loopback, with its data in `folder` and the given settings.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(
        about: About,
        folder: &Path,
        settings: &[(&str, &str)],
        start: impl AsyncFnOnce(&mut Host) -> Result<Router, StartError> + Send + 'static,
    ) -> Self {
        let folder = PathBuf::from(folder);
        let fixed = [
            ("PORT", "127.0.0.1:0"),
            ("ADMIN_PORT", "127.0.0.1:0"),
            ("DATA_DIR", folder.to_str().unwrap_or_default()),
        ];
        let env = Env::of(fixed.into_iter().chain(settings.iter().copied()));
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            runtime.block_on(async {
                let server = Server::listen(about, env)
                    .await
                    .map_err(|error| error.to_string())?;
                let addresses = server
                    .address()
                    .and_then(|main| Ok((main, server.admin_address()?)));
                _ = tell.send(addresses.map_err(|error| error.to_string())?);
                let shutdown = async {
                    _ = stopped.await;
                };
                server
                    .run(shutdown, start)
                    .await
                    .map_err(|error| error.to_string())
            })
        });
        let (address, admin) = told.recv_timeout(PATIENCE).expect("the service listens");
        let limits = Limits {
            total: PATIENCE,
            attempt: PATIENCE,
            ..Limits::default()
        };
        let client =
            Client::new("TEST", &format!("http://{address}"), limits).expect("an address is a URL");
        Self {
            address,
            admin,
            client,
            stop: Mutex::new(Some(stop)),
            thread: Some(thread),
        }
    }

    /// Makes a call; the first request waits until the service has started.
    ///
    /// # Panics
    /// When the answer is not JSON.
    pub async fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<&Value>,
    ) -> Result<Told, CallError> {
        let method = method.parse::<Method>().expect("a method");
        let mut call = Call::new(method, path).once();
        if let Some(body) = body {
            call = call.json(body).expect("a value is JSON");
        }
        for (name, value) in headers {
            call = call.header(name, value);
        }
        self.client.send(&call).await.map(|answer| read(&answer))
    }

    /// Makes a call that must be answered.
    ///
    /// # Panics
    /// When it is not.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<&Value>,
    ) -> Told {
        let outcome = self.try_call(method, path, headers, body).await;
        outcome.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Reads from a path.
    pub async fn get(&self, path: &str) -> Told {
        self.call("GET", path, &[], None).await
    }

    /// Posts a body with an idempotency key.
    pub async fn post(&self, path: &str, key: &str, body: Value) -> Told {
        self.call("POST", path, &[(crate::key::HEADER, key)], Some(&body))
            .await
    }

    /// Puts a body.
    pub async fn put(&self, path: &str, body: Value) -> Told {
        self.call("PUT", path, &[], Some(&body)).await
    }

    /// Reads from the admin port.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let client = Client::new("TEST", &format!("http://{}", self.admin), Limits::default())
            .expect("an address is a URL");
        let answer = client
            .send(&Call::new(Method::GET, path).once())
            .await
            .expect("the admin port answers");
        (
            answer.status.as_u16(),
            String::from_utf8_lossy(&answer.body).into_owned(),
        )
    }

    /// Tells it to stop, as SIGTERM does, and returns at once.
    pub fn begin_stop(&self) {
        if let Some(stop) = self
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            _ = stop.send(());
        }
    }

    /// Stops it and waits until it has ended.
    ///
    /// # Panics
    /// When it ended with an error.
    pub fn stop(mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic").expect("a clean end");
        }
    }
}

fn read(answer: &Answer) -> Told {
    let etag = answer
        .headers
        .get("etag")
        .and_then(|etag| etag.to_str().ok())
        .map(str::to_owned);
    let body = if answer.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&answer.body).expect("the answer is JSON")
    };
    Told {
        status: answer.status.as_u16(),
        body,
        etag,
    }
}

impl Told {
    /// Returns the slug of the problem, or nothing.
    pub fn slug(&self) -> &str {
        self.body["type"]
            .as_str()
            .and_then(|uri| uri.strip_prefix("urn:shop:problem:"))
            .unwrap_or("")
    }

    /// Returns the body of an answer that must have this status.
    ///
    /// # Panics
    /// When the status is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within 20 seconds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
