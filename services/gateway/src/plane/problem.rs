//! The gateway's own answers, as problem details (RFC 9457).
//!
//! Test: here, and `tests/gateway/http.rs`.

use bytes::Bytes;
use hyper::Response;
use hyper::StatusCode;
use hyper::header;
use hyper::header::HeaderValue;
use serde_json::json;

use super::body::Reply;

/// What the gateway has to say itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Nothing is configured for this listener, host and path.
    NoRoute,
    /// The service has no replica that may be used.
    NoHealthyUpstream,
    /// The replica could not be reached, or broke off.
    BadUpstream,
    /// The replica had to go before it answered.
    Drained,
}

impl Problem {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::NoHealthyUpstream => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadUpstream => StatusCode::BAD_GATEWAY,
            Self::Drained => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn slug(self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::NoHealthyUpstream => "no-healthy-upstream",
            Self::BadUpstream => "bad-upstream",
            Self::Drained => "drained",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::NoRoute => "No route for this host and path",
            Self::NoHealthyUpstream => "No replica of the service can take the request",
            Self::BadUpstream => "The replica could not be reached or broke off",
            Self::Drained => "The replica was taken out of service before it answered",
        }
    }

    /// The whole response. It says nothing about names inside the network.
    pub(crate) fn response(self, id: HeaderValue) -> Response<Reply> {
        let body = json!({
            "type": format!("urn:shop:problem:{}", self.slug()),
            "title": self.title(),
            "status": self.status().as_u16(),
        });
        let mut response = Response::new(Reply::full(Bytes::from(body.to_string())));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self == Self::NoHealthyUpstream {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        headers.insert(super::headers::REQUEST_ID, id);
        response
    }
}
