//! Calls to other services over HTTP/1.1.
//!
//! A service is one or several base URLs. A name is resolved at every connect and its addresses are tried in turn, each
//! connect beginning with the next one, so replicas that come and go are followed without a restart. A connect that fails
//! is retried, since nothing was sent: once at every base, or twice at the only one. A broken connection, a timeout, a 503,
//! and the 502 and 504 that a gateway answers in their place, are retried only for a call that may be repeated
//! ([`Call::repeatable`]), until [`Limits::total`] has passed.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower_service::Service;

use crate::env::BadSetting;
use crate::problem::Problem;
use crate::{key, telemetry};

const LARGEST_ANSWER: usize = 4 * 1024 * 1024;
const IDLE: Duration = Duration::from_secs(15);

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// To connect.
    pub connect: Duration,
    /// One attempt.
    pub attempt: Duration,
    /// All attempts.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            attempt: Duration::from_secs(5),
            // Less than a service has to drain, so that no call is cut off by it.
            total: Duration::from_secs(7),
        }
    }
}

/// A call.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    path: String,
    body: Bytes,
    content_type: &'static str,
    headers: HeaderMap,
    repeat: Repeat,
}

/// When a call is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Never,
    IfNotSent,
    UntilAnswered,
}

impl Call {
    /// Returns a call without a body. GET, PUT and DELETE may be repeated.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        let repeat = if method.is_idempotent() {
            Repeat::UntilAnswered
        } else {
            Repeat::IfNotSent
        };
        Self {
            method,
            path: path.into(),
            body: Bytes::new(),
            content_type: "application/json",
            headers: HeaderMap::new(),
            repeat,
        }
    }

    /// Adds a JSON body.
    pub fn json<T: Serialize>(mut self, body: &T) -> Result<Self, Problem> {
        self.body = serde_json::to_vec(body).map_err(Problem::internal)?.into();
        Ok(self)
    }

    /// Says which kind of JSON the body is.
    #[must_use]
    pub fn content_type(mut self, media_type: &'static str) -> Self {
        self.content_type = media_type;
        self
    }

    /// Adds an idempotency key, which makes any call repeatable.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header(key::HEADER, key).repeatable()
    }

    /// Adds a header; one that cannot be sent is left out.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Marks the call as one that does no harm when it arrives twice.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeat = Repeat::UntilAnswered;
        self
    }

    /// Marks the call as one that is never sent again, whatever comes of it.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.repeat = Repeat::Never;
        self
    }

    fn request(&self, base: &Uri) -> Result<Request<Full<Bytes>>, CallError> {
        let prefix = base.path().trim_end_matches('/');
        let authority = base
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let uri = format!("http://{authority}{prefix}{}", self.path);
        let mut request = Request::builder().method(self.method.clone()).uri(uri);
        if let Some(headers) = request.headers_mut() {
            if !self.body.is_empty() {
                headers.insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static(self.content_type),
                );
            }
            telemetry::pass_on(headers);
            headers.extend(self.headers.clone());
        }
        request
            .body(Full::new(self.body.clone()))
            .map_err(|error| CallError::Broken(error.to_string()))
    }
}

/// What a service answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// Reads the body; what is not the expected JSON is an internal error.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Problem::internal(format!("an unexpected answer: {error}")))
    }

    /// Returns the body as problem details, if it is that.
    pub fn problem(&self) -> Option<Problem> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection broke; the call may have been carried out.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// No answer in time; the call may have been carried out.
    #[error("no answer in time")]
    Timeout,
}

/// Calls one service.
#[derive(Debug, Clone)]
pub struct Client {
    http: legacy::Client<HttpConnector<Resolver>, Full<Bytes>>,
    bases: Arc<[Uri]>,
    next: Arc<AtomicUsize>,
    limits: Limits,
}

impl Client {
    /// Returns a client for the base URLs in `urls`, written with commas; `setting` is named when one is wrong.
    pub fn new(setting: &str, urls: &str, limits: Limits) -> Result<Self, BadSetting> {
        let bad = || BadSetting::new(setting, urls, "a list of http:// URLs");
        let texts = urls
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let bases: Vec<Uri> = texts
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| bad())?;
        if bases.is_empty()
            || bases
                .iter()
                .any(|uri| uri.scheme_str() != Some("http") || uri.authority().is_none())
        {
            return Err(bad());
        }
        let mut connector = HttpConnector::new_with_resolver(Resolver::default());
        connector.set_connect_timeout(Some(limits.connect));
        connector.set_nodelay(true);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self {
            http,
            bases: bases.into(),
            next: Arc::default(),
            limits,
        })
    }

    /// Makes a call and returns whatever status was answered.
    pub async fn send(&self, call: &Call) -> Result<Answer, CallError> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(10);
        let mut connects_left = self.bases.len().max(2);
        loop {
            let outcome = self
                .attempt(call, self.limits.total.saturating_sub(started.elapsed()))
                .await;
            let again = match (&outcome, call.repeat) {
                (Ok(answer), Repeat::UntilAnswered) => is_for_now(answer.status),
                (Err(_), Repeat::UntilAnswered) => true,
                (Err(CallError::Connect(_)), Repeat::IfNotSent) => {
                    connects_left -= 1;
                    connects_left > 0
                }
                _ => false,
            };
            if !again || started.elapsed() + pause >= self.limits.total {
                return outcome;
            }
            tracing::debug!(path = call.path, ?outcome, "trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    async fn attempt(&self, call: &Call, left: Duration) -> Result<Answer, CallError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let request = call.request(&self.bases[turn % self.bases.len()])?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| {
                let text = chain(&error);
                if error.is_connect() {
                    CallError::Connect(text)
                } else {
                    CallError::Broken(text)
                }
            })?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await;
            let body = body
                .map_err(|error| CallError::Broken(error.to_string()))?
                .to_bytes();
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        };
        tokio::time::timeout(self.limits.attempt.min(left), exchange)
            .await
            .unwrap_or(Err(CallError::Timeout))
    }
}

/// Tells whether a status says "not now" rather than "no": the service's own 503, or what a gateway before it says when a
/// replica has died.
fn is_for_now(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Resolves a name at every connect and starts with another of its addresses each time.
#[derive(Debug, Clone, Default)]
struct Resolver(Arc<AtomicUsize>);

impl Service<Name> for Resolver {
    type Response = std::collections::vec_deque::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let mut addresses: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            addresses.sort_unstable();
            addresses.dedup();
            let mut addresses = VecDeque::from(addresses);
            if !addresses.is_empty() {
                let first = turn % addresses.len();
                addresses.rotate_left(first);
            }
            Ok(addresses.into_iter())
        })
    }
}
