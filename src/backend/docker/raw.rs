//! Requests whose answer is a stream: hijacked connections (attach, exec) and
//! endless bodies (events, logs). bollard decodes these by guessing, we by frames.

use bollard::BollardRequest;
use bollard::errors::Error;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt as _;
use futures_util::stream;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::CONNECTION;
use hyper::header::CONTENT_TYPE;
use hyper::header::UPGRADE;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Docker;

/// Both directions of a hijacked connection.
pub(super) type Hijacked = TokioIo<Upgraded>;

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

    /// Sends a tar archive; the answer comes line by line, each a JSON document.
    pub(super) async fn post_tar<T: DeserializeOwned>(
        &self,
        path: &str,
        archive: Bytes,
    ) -> Result<impl Stream<Item = Result<T, Error>> + use<T>, Error> {
        let request = self
            .request(Method::POST, path)
            .header(CONTENT_TYPE, "application/x-tar")
            .body(bollard::body_full(archive))?;
        Ok(json_lines(self.send(request).await?.into_body()))
    }

    /// Turns the connection into one over which the engine calls us, by these methods.
    /// What it fetches it keeps by the key.
    pub(super) async fn hijack_session(
        &self,
        id: &str,
        key: &str,
        methods: &[String],
    ) -> Result<Upgraded, Error> {
        let mut request = self
            .request(Method::POST, "/session")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "h2c")
            .header("X-Docker-Expose-Session-Uuid", id)
            .header("X-Docker-Expose-Session-Sharedkey", key);
        for method in methods {
            request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
        }
        let request = request.body(bollard::body_full(Bytes::new()))?;
        let answer = self.send(request).await?;
        Ok(hyper::upgrade::on(answer).await?)
    }

    /// Turns the connection into one to the engine's builder.
    pub(super) async fn hijack_builder(&self, session: &str) -> Result<Upgraded, Error> {
        let request = self
            .request(Method::POST, "/grpc")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "h2c")
            .header("X-Docker-Expose-Session-Uuid", session)
            .body(bollard::body_full(Bytes::new()))?;
        let answer = self.send(request).await?;
        Ok(hyper::upgrade::on(answer).await?)
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

/// Each line of a body as what it says; a last one may lack its end.
fn json_lines<T: DeserializeOwned>(body: Incoming) -> impl Stream<Item = Result<T, Error>> {
    let end = stream::iter([Ok(Bytes::from_static(b"\n"))]);
    let pieces = body.into_data_stream().chain(end);
    let said = pieces.scan(Vec::new(), |rest, piece| {
        let said: Vec<Result<T, Error>> = match piece {
            Ok(piece) => {
                rest.extend_from_slice(&piece);
                let lines = whole_lines(rest).into_iter();
                lines
                    .map(|line| Ok(serde_json::from_slice(&line)?))
                    .collect()
            }
            Err(error) => vec![Err(error.into())],
        };
        std::future::ready(Some(stream::iter(said)))
    });
    said.flatten()
}

/// Takes out the lines that have an end, without those that say nothing.
fn whole_lines(rest: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
        return Vec::new();
    };
    let whole: Vec<u8> = rest.drain(..=end).collect();
    whole
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
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
    fn lines_are_taken_when_they_have_an_end() {
        let mut rest = b"{\"a\":1}\r\n\r\n{\"b\":2}\n{\"c".to_vec();
        let lines = super::whole_lines(&mut rest);
        assert_eq!(lines, [b"{\"a\":1}".to_vec(), b"{\"b\":2}".to_vec()]);
        assert_eq!(rest, b"{\"c");
        assert!(super::whole_lines(&mut rest).is_empty());
    }

    #[test]
    fn queries_are_escaped_byte_by_byte() {
        assert_eq!(super::escape("a-1_b.~"), "a-1_b.~");
        assert_eq!(
            super::escape(r#"{"x":["ü=1"]}"#),
            "%7B%22x%22%3A%5B%22%C3%BC%3D1%22%5D%7D"
        );
    }
}
