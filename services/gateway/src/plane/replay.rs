//! A copy of a request that may be made twice, for the rare case that it must.
//!
//! Every request on a reused connection is copied and almost no copy is used,
//! so it is one buffer: a clone of the headers takes four times as long.
//! Test: here, and `tests/gateway/retry.rs`.

use hyper::Method;
use hyper::Request;
use hyper::Uri;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;

use super::headers::is_idempotent;
use crate::upstream::upload::Upload;

/// Enough for most requests.
const USUAL: usize = 1024;

/// A request's head; its body is empty.
pub(crate) struct Replay {
    method: Method,
    /// The URI, then names and values in turn, each after its length.
    parts: Vec<u8>,
}

impl Replay {
    /// None for a request that must not be made twice.
    pub(crate) fn of(request: &Request<Upload>) -> Option<Self> {
        if !matches!(request.body(), Upload::Empty) || !is_idempotent(request.method()) {
            return None;
        }
        let mut parts = Vec::with_capacity(USUAL);
        let path = request.uri().path_and_query()?;
        push(&mut parts, path.as_str().as_bytes())?;
        for (name, value) in request.headers() {
            push(&mut parts, name.as_str().as_bytes())?;
            push(&mut parts, value.as_bytes())?;
        }
        Some(Self {
            method: request.method().clone(),
            parts,
        })
    }

    /// The request again.
    pub(crate) fn request(self) -> Option<Request<Upload>> {
        let mut rest = &self.parts[..];
        let mut request = Request::new(Upload::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::try_from(pull(&mut rest)?).ok()?;
        while !rest.is_empty() {
            let name = HeaderName::from_bytes(pull(&mut rest)?).ok()?;
            let value = HeaderValue::from_bytes(pull(&mut rest)?).ok()?;
            request.headers_mut().append(name, value);
        }
        Some(request)
    }
}

fn push(parts: &mut Vec<u8>, part: &[u8]) -> Option<()> {
    parts.extend(u32::try_from(part.len()).ok()?.to_ne_bytes());
    parts.extend(part);
    Some(())
}

fn pull<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_ne_bytes(*rest.split_off(..4)?.as_array()?);
    rest.split_off(..usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_the_same_request() {
        let request = Request::put("/a/b?c=d%20e")
            .header("host", "shop.local")
            .header("accept", "text/html")
            .header("accept", "*/*")
            .header("x-empty", "")
            .header(
                "x-bytes",
                HeaderValue::from_bytes(b"\xe4\xf6").expect("a value"),
            )
            .body(Upload::Empty)
            .expect("a request");
        let replay = Replay::of(&request).expect("it may be made twice");
        let copy = replay.request().expect("a request");
        assert_eq!(copy.method(), request.method());
        assert_eq!(copy.uri(), request.uri());
        assert_eq!(copy.headers(), request.headers());
    }

    #[test]
    fn what_is_not_idempotent_is_not_copied() {
        for (method, copied) in [
            ("GET", true),
            ("HEAD", true),
            ("DELETE", true),
            ("POST", false),
            ("PATCH", false),
            ("BREW", false),
        ] {
            let request = Request::builder().method(method).body(Upload::Empty);
            let replay = Replay::of(&request.expect("a request"));
            assert_eq!(replay.is_some(), copied, "{method}");
        }
    }
}
