//! Refusals and failures as RFC 9457 problem details, the only form in which a service says no.
//!
//! A problem never carries the cause of an internal failure to the client: the cause is logged where it is known.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The media type of problem details.
pub const MEDIA_TYPE: &str = "application/problem+json";

const PREFIX: &str = "urn:shop:problem:";

/// The kinds of problems, each with its slug, status and title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is malformed or breaks a rule of its own.
    Validation,
    /// A keyed operation came without its key.
    IdempotencyKeyMissing,
    /// The payment provider said no.
    PaymentDeclined,
    /// Not allowed to this caller.
    Forbidden,
    /// A review without a purchase.
    NotPurchased,
    /// No such resource.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// A resource of this name exists.
    AlreadyExists,
    /// One review for each article of an order.
    AlreadyReviewed,
    /// Less is available than was asked for.
    OutOfStock,
    /// The state of the resource does not allow it.
    InvalidTransition,
    /// Another request with this key is at work.
    IdempotencyInProgress,
    /// More than was paid.
    RefundExceedsPaid,
    /// The hold on the stock has ended.
    ReservationExpired,
    /// The resource has changed since it was read.
    VersionMismatch,
    /// The body is larger than the service takes.
    TooLarge,
    /// The key was used with another body.
    IdempotencyKeyReused,
    /// The price is not the expected one.
    PriceChanged,
    /// A bug.
    Internal,
    /// Try again in a moment.
    Unavailable,
}

impl Kind {
    fn parts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Validation => ("validation", 400, "The request is not valid"),
            Self::IdempotencyKeyMissing => (
                "idempotency-key-missing",
                400,
                "The header Idempotency-Key is required",
            ),
            Self::PaymentDeclined => ("payment-declined", 402, "The payment was declined"),
            Self::Forbidden => ("forbidden", 403, "Not allowed"),
            Self::NotPurchased => ("not-purchased", 403, "The order did not buy this article"),
            Self::NotFound => ("not-found", 404, "Not found"),
            Self::MethodNotAllowed => ("method-not-allowed", 405, "The method is not allowed here"),
            Self::AlreadyExists => ("already-exists", 409, "It exists already"),
            Self::AlreadyReviewed => ("already-reviewed", 409, "The article was reviewed already"),
            Self::OutOfStock => ("out-of-stock", 409, "Not enough in stock"),
            Self::InvalidTransition => ("invalid-transition", 409, "The state does not allow it"),
            Self::IdempotencyInProgress => (
                "idempotency-in-progress",
                409,
                "The same request is at work",
            ),
            Self::RefundExceedsPaid => (
                "refund-exceeds-paid",
                409,
                "The refund exceeds what was paid",
            ),
            Self::ReservationExpired => ("reservation-expired", 410, "The reservation has expired"),
            Self::VersionMismatch => ("version-mismatch", 412, "The resource has changed"),
            Self::TooLarge => ("too-large", 413, "The body is too large"),
            Self::IdempotencyKeyReused => (
                "idempotency-key-reused",
                422,
                "The key was used with another request",
            ),
            Self::PriceChanged => ("price-changed", 422, "The price has changed"),
            Self::Internal => ("internal", 500, "Internal error"),
            Self::Unavailable => ("unavailable", 503, "Not available at the moment"),
        }
    }
}

/// Problem details.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:shop:problem:<slug>`.
    #[serde(rename = "type")]
    #[schema(example = "urn:shop:problem:out-of-stock")]
    pub type_uri: String,
    /// What the kind means.
    pub title: String,
    /// The HTTP status, repeated.
    pub status: u16,
    /// What happened here.
    pub detail: String,
    /// Members of the kind, such as `items` or `errors`.
    #[serde(flatten)]
    pub extensions: BTreeMap<String, Value>,
}

impl Problem {
    /// Returns a problem of a kind, saying what happened.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (slug, status, title) = kind.parts();
        Self {
            type_uri: format!("{PREFIX}{slug}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            extensions: BTreeMap::new(),
        }
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// Returns a problem that names one wrong field by its JSON pointer.
    pub fn field(pointer: &str, detail: impl Into<String>) -> Self {
        let mut checks = Checks::default();
        checks.add(pointer, detail);
        checks.problem()
    }

    /// Returns `404 not-found` for a named resource.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(Kind::NotFound, format!("no {what} {id}"))
    }

    /// Returns `409 invalid-transition` with both states.
    pub fn transition(from: &str, to: &str) -> Self {
        Self::new(
            Kind::InvalidTransition,
            format!("{from} does not lead to {to}"),
        )
        .with("from", from)
        .with("to", to)
    }

    /// Logs the cause and returns `500 internal`, which does not show it.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(
            Kind::Internal,
            "the service could not answer; its log says why",
        )
    }

    /// Returns `503 unavailable`.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, detail)
    }

    /// Tells whether the problem is of a kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.type_uri.strip_prefix(PREFIX) == Some(kind.parts().0)
    }

    /// Tells whether the same request may succeed when it is simply sent again.
    pub fn is_transient(&self) -> bool {
        self.status >= 500 || self.is(Kind::IdempotencyInProgress)
    }

    /// Returns the body, or an empty object if it cannot be written (it always can).
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], self.to_json()).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Collects every wrong field of a body, so that a client learns of all at once.
#[derive(Debug, Default)]
pub struct Checks(Vec<Value>);

impl Checks {
    /// Notes a wrong field.
    pub fn add(&mut self, pointer: &str, detail: impl Into<String>) {
        self.0
            .push(serde_json::json!({ "pointer": pointer, "detail": detail.into() }));
    }

    /// Notes a wrong field unless `holds`.
    pub fn require(&mut self, holds: bool, pointer: &str, detail: &str) {
        if !holds {
            self.add(pointer, detail);
        }
    }

    /// Succeeds if nothing was noted.
    pub fn done(self) -> Result<(), Problem> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.problem())
        }
    }

    fn problem(self) -> Problem {
        let first = self.0.first().map(|e| {
            format!(
                "{}: {}",
                e["pointer"].as_str().unwrap_or(""),
                e["detail"].as_str().unwrap_or("")
            )
        });
        Problem::new(Kind::Validation, first.unwrap_or_default()).with("errors", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form() {
        let problem = Problem::transition("shipped", "cancelled");
        assert_eq!(
            problem.to_json(),
            r#"{"type":"urn:shop:problem:invalid-transition","title":"The state does not allow it","status":409,"detail":"shipped does not lead to cancelled","from":"shipped","to":"cancelled"}"#
        );
        assert_eq!(
            serde_json::from_str::<Problem>(&problem.to_json()).unwrap(),
            problem
        );
    }

    #[test]
    fn all_wrong_fields_are_named() {
        let mut checks = Checks::default();
        checks.require(true, "/ok", "never seen");
        checks.require(false, "/a", "must be set");
        checks.require(false, "/b", "must be positive");
        let problem = checks.done().unwrap_err();
        assert_eq!(problem.status, 400);
        assert_eq!(problem.detail, "/a: must be set");
        assert_eq!(problem.extensions["errors"][1]["pointer"], "/b");
    }
}
