//! Connects: one pooled HTTP client for whatever is dialled, and the API version
//! from the headers of `_ping`, which cost a tenth of `/version`.

use std::sync::Arc;
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;
use bollard::BollardRequest;
use bollard::ClientVersion;
use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::OnceCell;

use super::Docker;
use super::Inner;
use super::Settings;
use super::dial::Connector;
use super::dial::Dial;
use super::endpoint;
use crate::backend::BackendError;

/// Oldest API we speak: Docker 20.10.
const OLDEST_MINOR: u32 = 41;
const PING_LIMIT: Duration = Duration::from_secs(20);
/// Where systemd holds the engine's socket, who knocks while the engine stops is let in
/// by the next one: to be waited for, as if nobody were there.
const KNOCK_LIMIT: Duration = Duration::from_secs(3);
/// Long calls (builds, loads, stops with a long grace period) answer late; limits
/// that matter are set where the call is made.
const CALL_LIMIT_SECS: u64 = 3600;
const IDLE_CONNECTIONS: usize = 16;

/// The body type of bollard's requests, which it does not export by name.
pub(super) trait RequestBody {
    type Body;
}

impl<B> RequestBody for Request<B> {
    type Body = B;
}

pub(super) type Body = <BollardRequest as RequestBody>::Body;
pub(super) type HttpClient = Client<Connector, Body>;

impl Docker {
    /// Connects to the engine that the settings mean; one round trip.
    pub async fn connect(settings: &Settings) -> Result<Self, BackendError> {
        let endpoint = endpoint::resolve(settings)?;
        let target = endpoint.target;
        let local = matches!(endpoint.dial, Dial::Unix(_));
        let parallel = if matches!(endpoint.dial, Dial::Ssh(_)) {
            // sshd drops new sessions when more than ten knock at a time.
            4
        } else {
            8
        };
        let connector = Connector(Arc::new(endpoint.dial));
        let client: HttpClient = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector.clone());
        let knock: HttpClient = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        let headers = ping(&client, &endpoint.authority, &target, PING_LIMIT).await?;
        let minor = version(&headers, &target)?;
        let newest = u32::try_from(API_DEFAULT_VERSION.minor_version).unwrap_or(OLDEST_MINOR);
        let minor = minor.min(newest);
        let transport = client.clone();
        let api = bollard::Docker::connect_with_custom_transport(
            move |request: BollardRequest| {
                let answer = transport.request(request);
                Box::pin(async move { answer.await.map_err(bollard::errors::Error::from) })
            },
            Some(format!("http://{}", endpoint.authority)),
            CALL_LIMIT_SECS,
            &ClientVersion {
                major_version: 1,
                minor_version: usize::try_from(minor).unwrap_or(usize::MAX),
            },
        )
        .map_err(|error| unreachable(&target, error))?;
        Ok(Self {
            inner: Arc::new(Inner {
                api,
                client,
                knock,
                authority: endpoint.authority.clone(),
                base: format!("http://{}/v1.{minor}", endpoint.authority),
                target,
                minor,
                local,
                parallel,
                config_dir: settings.config_dir.clone(),
                classic_builder: settings.classic_builder,
                engine: OnceCell::new(),
                fills: super::apply::Fills::default(),
                records: std::sync::Mutex::default(),
            }),
        })
    }
}

impl Docker {
    /// Asks for a sign of life over a connection of its own.
    pub(super) async fn knock(&self) -> Result<(), BackendError> {
        let Inner {
            knock,
            authority,
            target,
            ..
        } = &*self.inner;
        // A new way through ssh takes longer than an answer at its end.
        let limit = if target.starts_with("ssh://") {
            PING_LIMIT
        } else {
            KNOCK_LIMIT
        };
        ping(knock, authority, target, limit).await.map(drop)
    }
}

async fn ping(
    client: &HttpClient,
    authority: &str,
    target: &str,
    limit: Duration,
) -> Result<HeaderMap, BackendError> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(format!("http://{authority}/_ping"))
        .body(bollard::body_full(bytes::Bytes::new()))
        .map_err(|error| unreachable(target, error))?;
    let answer = tokio::time::timeout(limit, client.request(request))
        .await
        .map_err(|_| unreachable(target, format!("no answer within {limit:?}")))?
        .map_err(|error| unreachable(target, explained(&error)))?;
    if !answer.status().is_success() {
        let status = answer.status();
        return Err(unreachable(
            target,
            format!("it answers {status} to a ping"),
        ));
    }
    Ok(answer.headers().clone())
}

/// Names the usual mistake behind an answer that is no HTTP.
fn explained(
    error: &hyper_util::client::legacy::Error,
) -> Box<dyn std::error::Error + Send + Sync> {
    if error.is_connect() {
        // The cause says it all; the wrapper only says "client error (Connect)".
        let mut cause: &(dyn std::error::Error + 'static) = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        return cause.to_string().into();
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut last = String::new();
    while let Some(inner) = cause {
        last = inner.to_string();
        cause = inner.source();
    }
    if last.contains("connection closed before message completed") || last.contains("invalid HTTP")
    {
        return format!("{last}; if the port speaks TLS, set DOCKER_TLS_VERIFY=1").into();
    }
    last.into()
}

fn version(headers: &HeaderMap, target: &str) -> Result<u32, BackendError> {
    let found = headers
        .get("api-version")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("of no known version");
    let minor = found
        .strip_prefix("1.")
        .and_then(|minor| minor.parse::<u32>().ok());
    minor
        .filter(|minor| *minor >= OLDEST_MINOR)
        .ok_or_else(|| BackendError::TooOld {
            target: target.to_owned(),
            found: found.to_owned(),
            needed: format!("1.{OLDEST_MINOR}"),
        })
}

fn unreachable(
    target: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> BackendError {
    BackendError::Unreachable {
        target: target.to_owned(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(version: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("api-version", version.parse().unwrap());
        headers
    }

    #[test]
    fn versions_older_than_ours_are_refused_by_number() {
        assert_eq!(version(&headers("1.41"), "x").unwrap(), 41);
        assert_eq!(version(&headers("1.52"), "x").unwrap(), 52);
        let error = version(&headers("1.40"), "unix:///x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the engine at unix:///x speaks API 1.40; 1.41 or newer is needed"
        );
        assert!(version(&HeaderMap::new(), "x").is_err());
    }
}
