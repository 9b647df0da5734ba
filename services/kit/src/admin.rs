//! `/healthz`, `/readyz` and `/metrics` on the second port, which is never published.
//!
//! Healthy means that the process answers. Ready means that the main port should get requests: not while the service
//! starts, and not from the moment it drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::Metrics;
use crate::problem::Problem;

/// Where a service is in its life; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Life(Arc<AtomicU8>);

/// The phases of a service's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The store is being opened.
    Starting,
    /// Requests are answered.
    Ready,
    /// SIGTERM came: what is in flight is finished.
    Draining,
}

impl Life {
    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::SeqCst);
    }

    /// Returns the phase.
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

/// Returns the routes of the admin port.
pub fn routes(life: Life, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready).with_state(life))
        .route("/metrics", get(render).with_state(metrics))
}

async fn ready(State(life): State<Life>) -> Response {
    match life.phase() {
        Phase::Ready => (StatusCode::OK, "ready\n").into_response(),
        Phase::Starting => Problem::unavailable("starting").into_response(),
        Phase::Draining => Problem::unavailable("draining").into_response(),
    }
}

async fn render(State(metrics): State<Metrics>) -> Response {
    if let Some(bytes) = resident_bytes() {
        metrics.gauge(
            "process_resident_memory_bytes",
            "Resident memory.",
            &[],
            bytes,
        );
    }
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        metrics.render(),
    )
        .into_response()
}

fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace()
        .next()?
        .parse::<i64>()
        .ok()
        .map(|kib| kib * 1024)
}
