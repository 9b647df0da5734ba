//! Requests whose answer is a stream: hijacked connections (attach, exec) and
//! endless bodies (events, logs). bollard decodes these by guessing, we by frames.

use bollard::BollardRequest;
use bollard::errors::Error;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::CONNECTION;
use hyper::header::CONTENT_TYPE;
use hyper::header::UPGRADE;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Docker;

/// Both directions of a hijacked connection.
pub(super) type Hijacked = TokioIo<hyper::upgrade::Upgraded>;

#[derive(Deserialize)]
struct Message {
    message: String,
}

impl Docker {
    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.inner.base))
    }

    async fn send(&self, request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let answer = self.inner.client.request(request).await?;
        let status = answer.status();
        if status.is_success()
            || status == StatusCode::SWITCHING_PROTOCOLS
            || status == StatusCode::NOT_MODIFIED
        {
            return Ok(answer);
        }
        let body = answer.into_body().collect().await?.to_bytes();
        let message = serde_json::from_slice::<Message>(&body).map_or_else(
            |_| String::from_utf8_lossy(&body).into_owned(),
            |it| it.message,
        );
        Err(Error::DockerResponseServerError {
            status_code: status.as_u16(),
            message,
        })
    }

    /// An answer whose body arrives bit by bit.
    pub(super) async fn get_stream(&self, path: &str) -> Result<Incoming, Error> {
        let request = self
            .request(Method::GET, path)
            .body(bollard::body_full(Bytes::new()))?;
        Ok(self.send(request).await?.into_body())
    }

    /// The same, of a request that changes or waits for something.
    pub(super) async fn post_stream(&self, path: &str) -> Result<Incoming, Error> {
        let request = self
            .request(Method::POST, path)
            .body(bollard::body_full(Bytes::new()))?;
        Ok(self.send(request).await?.into_body())
    }

    /// A JSON answer.
    pub(super) async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let body = self.get_stream(path).await?.collect().await?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    }

    /// Sends JSON, for bodies with a field that bollard's model no longer has.
    pub(super) async fn post_json<T: Serialize>(&self, path: &str, body: &T) -> Result<(), Error> {
        let request = self
            .request(Method::POST, path)
            .header(CONTENT_TYPE, "application/json")
            .body(bollard::body_full(serde_json::to_vec(body)?.into()))?;
        self.send(request).await?.into_body().collect().await?;
        Ok(())
    }

    /// Turns the connection into a pipe to a process.
    pub(super) async fn hijack<T: Serialize>(
        &self,
        path: &str,
        body: &T,
    ) -> Result<Hijacked, Error> {
        let request = self
            .request(Method::POST, path)
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "tcp")
            .body(bollard::body_full(serde_json::to_vec(body)?.into()))?;
        let answer = self.send(request).await?;
        Ok(TokioIo::new(hyper::upgrade::on(answer).await?))
    }
}

/// A value as it may stand in a query.
pub(super) fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn queries_are_escaped_byte_by_byte() {
        assert_eq!(super::escape("a-1_b.~"), "a-1_b.~");
        assert_eq!(
            super::escape(r#"{"x":["ü=1"]}"#),
            "%7B%22x%22%3A%5B%22%C3%BC%3D1%22%5D%7D"
        );
    }
}
