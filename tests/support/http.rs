//! One request over a connection of its own, for many at a time.

use std::time::Duration;

use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// What a client waits at most for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request with a JSON body.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) port: u16,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) body: Option<Value>,
}

impl Ask {
    pub(crate) fn new(port: u16, method: Method, path: &str) -> Self {
        Self {
            port,
            method,
            path: path.to_owned(),
            key: uuid::Uuid::now_v7().to_string(),
            body: None,
        }
    }

    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Status and JSON of the answer, or why there was none.
    pub(crate) async fn send(&self) -> Result<(u16, Value), String> {
        match tokio::time::timeout(PATIENCE, self.exchange()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }

    async fn exchange(&self) -> Result<(u16, Value), String> {
        let words = |error: &dyn std::error::Error| error.to_string();
        let stream = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .map_err(|error| words(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| words(&error))?;
        let driver = tokio::spawn(connection);
        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header("host", "shop.test")
            .header("content-type", "application/json")
            .header("idempotency-key", &self.key)
            .body(Full::new(bytes::Bytes::from(body)))
            .map_err(|error| words(&error))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| words(&error))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await;
        let body = body.map_err(|error| words(&error))?.to_bytes();
        driver.abort();
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}
