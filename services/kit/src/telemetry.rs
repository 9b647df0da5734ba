//! What happens around each request: identity, time limit, metrics, log.
//!
//! `X-Request-Id` and `traceparent` are taken from the caller or made, written to the log, answered, and passed on by
//! [`crate::client`] to the services behind.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::problem::Problem;

/// No request may take longer; the client gets `503 unavailable` and may send it again.
const LONGEST: Duration = Duration::from_secs(30);

const REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: Identity;
}

/// The identity of a request.
#[derive(Debug, Clone)]
struct Identity {
    request_id: HeaderValue,
    traceparent: HeaderValue,
}

impl Identity {
    fn of(headers: &HeaderMap) -> Self {
        let taken = |name: &str, fits: fn(&str) -> bool| {
            headers
                .get(name)
                .filter(|v| v.to_str().is_ok_and(fits))
                .cloned()
        };
        let made = |text: String| {
            HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("-"))
        };
        Self {
            request_id: taken(REQUEST_ID, |text| (1..=128).contains(&text.len()))
                .unwrap_or_else(|| made(Uuid::now_v7().to_string())),
            traceparent: taken(TRACEPARENT, is_traceparent)
                .unwrap_or_else(|| made(new_traceparent())),
        }
    }
}

/// Adds the identity of the request at work, if there is one, to an outgoing request.
pub fn pass_on(headers: &mut HeaderMap) {
    _ = CURRENT.try_with(|identity| {
        headers.insert(REQUEST_ID, identity.request_id.clone());
        headers.insert(TRACEPARENT, identity.traceparent.clone());
    });
}

/// The middleware; put it around the whole router.
pub async fn follow(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let identity = Identity::of(request.headers());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "-".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let span = tracing::info_span!(
        "request",
        request_id = identity.request_id.to_str().unwrap_or("-"),
        traceparent = identity.traceparent.to_str().unwrap_or("-"),
        %method,
        path = request.uri().path(),
    );
    let busy = Busy::start(&metrics);
    let started = Instant::now();
    let work = CURRENT
        .scope(
            identity.clone(),
            tokio::time::timeout(LONGEST, next.run(request)),
        )
        .instrument(span.clone());
    let mut response = match work.await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("the request took too long").into_response(),
    };
    drop(busy);

    let took = started.elapsed();
    let status = response.status();
    let labels = [
        ("method", method.as_str()),
        ("route", route.as_str()),
        ("status", status.as_str()),
    ];
    metrics.count("http_requests_total", "Requests answered.", &labels, 1);
    metrics.observe(
        "http_request_duration_seconds",
        "Time to answer.",
        &labels[..2],
        took,
    );
    span.in_scope(|| {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), ms, "answered");
        } else {
            tracing::debug!(status = status.as_u16(), ms, "answered");
        }
    });
    response
        .headers_mut()
        .insert(REQUEST_ID, identity.request_id);
    response
}

/// Counts a request as in flight until dropped, also when the client has gone away.
struct Busy(Metrics);

impl Busy {
    fn start(metrics: &Metrics) -> Self {
        let busy = Self(metrics.clone());
        busy.change(1);
        busy
    }

    fn change(&self, by: i64) {
        self.0
            .gauge_by("http_requests_in_flight", "Requests at work.", &[], by);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.change(-1);
    }
}

/// Checks the form `00-<32 hex>-<16 hex>-<2 hex>` of W3C Trace Context.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    parts.len() == 4
        && [2, 32, 16, 2]
            .iter()
            .zip(&parts)
            .all(|(length, part)| hex(part, *length))
        && parts[0] != "ff"
        && parts[1].bytes().any(|b| b != b'0')
        && parts[2].bytes().any(|b| b != b'0')
}

fn new_traceparent() -> String {
    let span = Uuid::now_v7().simple().to_string();
    format!("00-{}-{}-01", Uuid::now_v7().simple(), &span[16..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_traceparent_is_one() {
        assert!(is_traceparent(&new_traceparent()));
        assert!(is_traceparent(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        ));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
