//! What a proxy does to headers (RFC 9110, section 7.6): fields that belong to
//! one connection stay on it, and the server learns who asked.
//!
//! Pure but for the random request id. Test: here.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper::StatusCode;
use hyper::Uri;
use hyper::Version;
use hyper::header;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use hyper::http::request;
use hyper::http::uri::PathAndQuery;

use crate::routing::split::Hints;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The request's name in every log that it comes by.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The host that the client asks for, with its port.
pub(crate) fn authority<B>(request: &Request<B>) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(header::HOST)?.to_str().ok(),
    }
}

/// Without the port: `[::1]:80` is `[::1]`.
pub(crate) fn host(authority: &str) -> &str {
    let end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    &authority[..end]
}

/// How a client is named to the servers.
pub(crate) fn client_name(client: IpAddr) -> HeaderValue {
    let name = client.to_canonical().to_string();
    HeaderValue::try_from(name).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// The protocol that the client wants to change to, if it says so validly.
pub(crate) fn upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let wanted = request.version() == Version::HTTP_11
        && connection_options(request.headers()).any(|name| name.eq_ignore_ascii_case("upgrade"));
    wanted
        .then(|| request.headers().get(header::UPGRADE).cloned())
        .flatten()
}

/// Whether a body may end anywhere: its events are whole by themselves, and who reads
/// them comes again.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("text/event-stream")
}

/// Makes the client's request ours. Returns its id.
pub(crate) fn prepare_request(
    head: &mut request::Parts,
    client: &HeaderValue,
    upgrade: Option<HeaderValue>,
) -> HeaderValue {
    if let Some(authority) = head.uri.authority() {
        // RFC 9112, 3.2.2: what the target says replaces what Host says.
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            head.headers.insert(header::HOST, host);
        }
    }
    let trailers = head
        .headers
        .get(header::TE)
        .and_then(|te| te.to_str().ok())
        .is_some_and(|te| {
            te.split(',')
                .any(|one| one.trim().eq_ignore_ascii_case("trailers"))
        });
    remove_hop_by_hop(&mut head.headers);
    head.headers.remove(header::PROXY_AUTHORIZATION);
    // The body is read as soon as the server takes it, which sends the 100.
    head.headers.remove(header::EXPECT);
    if trailers {
        let te = HeaderValue::from_static("trailers");
        head.headers.insert(header::TE, te);
        let option = HeaderValue::from_static("te");
        head.headers.insert(header::CONNECTION, option);
    }
    if let Some(protocol) = upgrade {
        let option = HeaderValue::from_static("upgrade");
        head.headers.insert(header::CONNECTION, option);
        head.headers.insert(header::UPGRADE, protocol);
    }
    forwarded(&mut head.headers, client);
    head.uri = origin_form(&head.uri);
    head.version = Version::HTTP_11;
    request_id(&mut head.headers)
}

/// Makes the server's response ours.
pub(crate) fn prepare_response(status: StatusCode, headers: &mut HeaderMap, id: HeaderValue) {
    let protocol = (status == StatusCode::SWITCHING_PROTOCOLS)
        .then(|| headers.get(header::UPGRADE).cloned())
        .flatten();
    remove_hop_by_hop(headers);
    if let Some(protocol) = protocol {
        let option = HeaderValue::from_static("upgrade");
        headers.insert(header::CONNECTION, option);
        headers.insert(header::UPGRADE, protocol);
    }
    headers.entry(REQUEST_ID).or_insert(id);
}

impl Hints for HeaderMap {
    fn header(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str().ok()
    }

    fn cookie(&self, name: &str) -> Option<&str> {
        self.get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }
}

/// Adds a cookie for the session, out of reach of scripts and of other sites' forms.
pub(crate) fn set_cookie(headers: &mut HeaderMap, name: &str, value: &str) {
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// Whether the same request twice does what one does (RFC 9110, 9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
        Method::PUT,
        Method::DELETE,
    ]
    .contains(method)
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = connection_options(headers)
            .filter_map(|name| name.parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// The list of clients grows by ours. Scheme and host are what we saw: what a
/// client writes there itself must not reach a server that believes it.
fn forwarded(headers: &mut HeaderMap, client: &HeaderValue) {
    let before: Vec<&[u8]> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .map(|value| value.as_bytes().trim_ascii())
        .filter(|value| !value.is_empty())
        .chain([client.as_bytes()])
        .collect();
    let clients = match before[..] {
        [_] => Ok(client.clone()),
        _ => HeaderValue::from_bytes(&before.join(&b", "[..])),
    };
    if let Ok(clients) = clients {
        headers.insert(FORWARDED_FOR, clients);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    match headers.get(header::HOST).cloned() {
        Some(host) => headers.insert(FORWARDED_HOST, host),
        None => headers.remove(FORWARDED_HOST),
    };
}

fn origin_form(uri: &Uri) -> Uri {
    match uri.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::from(PathAndQuery::from_static("/")),
    }
}

fn request_id(headers: &mut HeaderMap) -> HeaderValue {
    let sane = |id: &&HeaderValue| {
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(sane) {
        return id.clone();
    }
    let id = format!("{:032x}", fastrand::u128(..));
    let id = HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"));
    headers.insert(REQUEST_ID, id.clone());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(request: request::Builder) -> request::Parts {
        let request = request.body(()).expect("a request");
        let protocol = upgrade(&request);
        let mut head = request.into_parts().0;
        prepare_request(&mut head, &client_name([192, 0, 2, 7].into()), protocol);
        head
    }

    fn text(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> = headers
            .iter()
            .filter(|(name, _)| **name != REQUEST_ID)
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn what_belongs_to_the_connection_stays_on_it() {
        let head = prepared(
            Request::get("/a?b=c")
                .header("host", "shop.local:8000")
                .header("connection", "keep-alive, X-Mine")
                .header("x-mine", "1")
                .header("keep-alive", "timeout=5")
                .header("proxy-connection", "keep-alive")
                .header("proxy-authorization", "Basic x")
                .header("te", "gzip")
                .header("transfer-encoding", "chunked")
                .header("upgrade", "websocket")
                .header("expect", "100-continue")
                .header("accept", "*/*"),
        );
        assert_eq!(
            text(&head.headers),
            [
                "accept: */*",
                "host: shop.local:8000",
                "x-forwarded-for: 192.0.2.7",
                "x-forwarded-host: shop.local:8000",
                "x-forwarded-proto: http",
            ]
        );
        assert_eq!(head.uri, "/a?b=c");
    }

    #[test]
    fn the_chain_of_clients_grows_and_the_rest_is_ours_to_say() {
        let head = prepared(
            Request::get("http://real.example/x")
                .header("host", "other.example")
                .header("x-forwarded-for", "203.0.113.9")
                .header("x-forwarded-host", "evil.example")
                .header("x-forwarded-proto", "https"),
        );
        assert_eq!(
            text(&head.headers),
            [
                "host: real.example",
                "x-forwarded-for: 203.0.113.9, 192.0.2.7",
                "x-forwarded-host: real.example",
                "x-forwarded-proto: http",
            ]
        );
        assert_eq!(head.uri, "/x");
    }

    #[test]
    fn an_upgrade_and_trailers_are_passed_on() {
        let head = prepared(
            Request::get("/")
                .header("connection", "Upgrade")
                .header("upgrade", "websocket"),
        );
        assert_eq!(head.headers["connection"], "upgrade");
        assert_eq!(head.headers["upgrade"], "websocket");
        let head = prepared(Request::get("/").header("te", "trailers, gzip"));
        assert_eq!(head.headers["te"], "trailers");
    }

    #[test]
    fn a_request_keeps_a_sane_id_and_gets_one_else() {
        let id = |given: &str| {
            prepared(Request::get("/").header(REQUEST_ID, given)).headers[REQUEST_ID].clone()
        };
        assert_eq!(id("abc-1"), "abc-1");
        assert_eq!(id("with space").len(), 32);
        assert_eq!(id(&"x".repeat(129)).len(), 32);
        let head = prepared(Request::get("/"));
        assert_eq!(head.headers[REQUEST_ID].len(), 32);
    }

    #[test]
    fn the_host_is_the_authority_without_port() {
        assert_eq!(host("shop.local:8000"), "shop.local");
        assert_eq!(host("shop.local"), "shop.local");
        assert_eq!(host("[::1]:80"), "[::1]");
        assert_eq!(host("[::1]"), "[::1]");
    }
}
