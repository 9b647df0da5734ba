//! A way to the cluster that knows how many calls have changed something, and kills who
//! makes them after one of them: done, and not yet answered.

use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use http::Method;
use http::Request;
use http::Response;
use http::Uri;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::json;
use tokio::net::TcpListener;

use super::support::client;

type Answer = Response<UnsyncBoxBody<Bytes, kube::Error>>;

/// It ends with this.
pub(super) struct Proxy {
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    client: kube::Client,
    state: Mutex<State>,
}

struct State {
    /// Calls that are still to be done.
    left: usize,
    victim: Option<Child>,
}

impl Proxy {
    /// Whoever is started through it is killed after so many changes.
    pub(super) fn that_kills_after(calls: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (listener, shared) = runtime.block_on(async {
            let shared = Arc::new(Shared {
                client: client().await,
                state: Mutex::new(State {
                    left: calls,
                    victim: None,
                }),
            });
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), shared)
        });
        let address = listener.local_addr().unwrap();
        runtime.spawn(accept(listener, shared.clone()));
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": format!("http://{address}") } }],
            "users": [{ "name": "proxy", "user": {} }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "proxy" } }],
        });
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        Self {
            shared,
            folder,
            _runtime: runtime,
        }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Runs a command through it; its exit code, or `None` when it was killed.
    pub(super) fn run(&self, command: &mut Command) -> Option<i32> {
        let command = command.env("KUBECONFIG", self.kubeconfig());
        let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
        // Before it is known whom to kill, no call is let through.
        let mut state = self.shared.state.lock().unwrap();
        state.victim = Some(silent.spawn().unwrap());
        drop(state);
        loop {
            let mut state = self.shared.state.lock().unwrap();
            if let Some(status) = state.victim.as_mut().unwrap().try_wait().unwrap() {
                return status.code();
            }
            drop(state);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((connection, _)) = listener.accept().await {
        let shared = shared.clone();
        let service = service_fn(move |request| shared.clone().serve(request));
        let server = http1::Builder::new();
        tokio::spawn(server.serve_connection(TokioIo::new(connection), service));
    }
}

impl Shared {
    /// An error ends the connection.
    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> std::io::Result<Answer> {
        let changes = changes(request.method(), request.uri());
        let (mut head, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?;
        // The address is the cluster's.
        head.uri = head.uri.path_and_query().unwrap().as_str().parse().unwrap();
        head.headers.remove(http::header::HOST);
        let request = Request::from_parts(head, Body::from(body.to_bytes().to_vec()));
        if changes && self.state.lock().unwrap().left == 0 {
            return Err(std::io::Error::other("after the last"));
        }
        let answer = self.client.send(request).await;
        let answer = answer.map_err(std::io::Error::other)?;
        if changes {
            let mut state = self.state.lock().unwrap();
            state.left = state.left.saturating_sub(1);
            if state.left == 0 {
                let _ = state.victim.as_mut().unwrap().kill();
                return Err(std::io::Error::other("the last"));
            }
        }
        Ok(answer.map(BodyExt::boxed_unsync))
    }
}

/// Whether a call changes the cluster; renewals of a lock come by the clock, and do not count.
fn changes(method: &Method, uri: &Uri) -> bool {
    let asks = method == Method::GET || uri.path().contains("reviews");
    let renews = method != Method::POST && uri.path().contains("/leases/");
    let tries = uri.query().is_some_and(|it| it.contains("dryRun=All"));
    !(asks || renews || tries)
}
