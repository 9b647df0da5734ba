//! The answer of a handler: a status and a JSON body, in a form that can be stored and given again.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::problem::{MEDIA_TYPE, Problem};

/// A status and a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body, already written.
    pub body: String,
}

impl Reply {
    /// Returns an answer with a body.
    pub fn json<T: Serialize>(status: u16, body: &T) -> Result<Self, Problem> {
        Ok(Self {
            status,
            body: serde_json::to_string(body).map_err(Problem::internal)?,
        })
    }

    /// Returns `204 No Content`.
    pub fn empty() -> Self {
        Self {
            status: 204,
            body: String::new(),
        }
    }
}

impl From<&Problem> for Reply {
    fn from(problem: &Problem) -> Self {
        Self {
            status: problem.status,
            body: problem.to_json(),
        }
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: i64,
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.body.is_empty() {
            return status.into_response();
        }
        let media_type = if self.status < 400 {
            "application/json"
        } else {
            MEDIA_TYPE
        };
        let version = serde_json::from_str::<Versioned>(&self.body).ok();
        let mut response =
            (status, [(header::CONTENT_TYPE, media_type)], self.body).into_response();
        if let Some(etag) =
            version.and_then(|v| HeaderValue::try_from(crate::etag::etag(v.version)).ok())
        {
            response.headers_mut().insert(header::ETAG, etag);
        }
        response
    }
}
