//! Waits until a replica answers, over the network that its clients use.
//!
//! Often at first, since a start takes milliseconds, and the gate should open
//! soon after the truth; then less often. One good answer may be luck, so it takes
//! [`ENOUGH`] in a row, close together. Test: `tests/gateway/probe.rs`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::StatusCode;
use hyper::Uri;
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::protocol::Fault;
use crate::protocol::FaultKind;
use crate::protocol::Probed;
use crate::upstream::connect::connect_any;
use crate::upstream::connect::within;
use crate::upstream::resolve::Names;

/// One attempt may take this long.
const ATTEMPT: Duration = Duration::from_secs(1);
/// From the start of one attempt to the start of the next.
pub(crate) const PACE: Duration = Duration::from_millis(20);
/// The same after a good answer, so that being sure costs the gate little.
const AGAIN: Duration = Duration::from_millis(5);
/// So many good answers in a row, [`AGAIN`] apart, make a replica ready.
pub(crate) const ENOUGH: u32 = 2;
/// For this long; then the pace slows down.
const BRISK: Duration = Duration::from_secs(2);
const SLOWEST_PACE: Duration = Duration::from_millis(250);

/// Enough successes in a row, or a timeout that carries what was last seen.
pub(crate) async fn probe(
    names: &Names,
    target: &str,
    port: u16,
    http: Option<&str>,
    deadline: Duration,
) -> Result<Probed, Fault> {
    let path = http.map(parse_path).transpose()?;
    let started = Instant::now();
    let mut pace = PACE;
    let mut attempts = 0;
    let mut in_a_row = 0;
    let mut last: Option<io::Error> = None;
    loop {
        let began = started.elapsed();
        attempts += 1;
        let limit = ATTEMPT.min(deadline.saturating_sub(began));
        let answer = within(limit, attempt(names, target, port, path.as_ref())).await;
        in_a_row = if answer.is_ok() { in_a_row + 1 } else { 0 };
        let seen = match answer {
            Ok(()) if in_a_row >= ENOUGH => {
                let elapsed = started.elapsed().as_millis();
                return Ok(Probed {
                    attempts,
                    elapsed_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
                });
            }
            // What went wrong before says more than that it went well once.
            Ok(()) => last.unwrap_or_else(|| io::Error::other("it answered well only once")),
            // Cut short by the deadline, an attempt says less than the one before.
            Err(error) if limit < ATTEMPT && error.kind() == io::ErrorKind::TimedOut => {
                last.unwrap_or(error)
            }
            Err(error) => error,
        };
        let elapsed = started.elapsed();
        if elapsed >= BRISK {
            pace = (pace * 5 / 4).min(SLOWEST_PACE);
        }
        let next = if in_a_row > 0 { AGAIN } else { pace };
        let pause = next.saturating_sub(elapsed.saturating_sub(began));
        if elapsed + pause >= deadline {
            return Err(Fault::new(
                FaultKind::Timeout,
                format!("{target}:{port} is not ready after {attempts} attempts: {seen}"),
            ));
        }
        last = Some(seen);
        sleep(pause).await;
    }
}

pub(crate) fn parse_path(path: &str) -> Result<Uri, Fault> {
    let wrong = || Fault::invalid(format!("`{path}` is not a path"));
    let uri: Uri = path.parse().map_err(|_| wrong())?;
    if path.starts_with('/') && uri.authority().is_none() {
        Ok(uri)
    } else {
        Err(wrong())
    }
}

/// One question: whether the port accepts, or the path answers 2xx.
pub(crate) async fn attempt(
    names: &Names,
    target: &str,
    port: u16,
    path: Option<&Uri>,
) -> io::Result<()> {
    // A look-up that hangs must not hold up the attempts after it.
    let addresses = names.resolve_alone(target).await?;
    let stream = connect_any(addresses, port).await?;
    match path {
        Some(path) => ask(stream, target, port, path).await,
        None => Ok(()),
    }
}

async fn ask(stream: TcpStream, target: &str, port: u16, path: &Uri) -> io::Result<()> {
    let host = match target.parse() {
        Ok(address) => SocketAddr::new(address, port).to_string(),
        Err(_) => format!("{target}:{port}"),
    };
    let request = Request::get(path.clone())
        .header(header::HOST, host)
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, "shopctl-probe")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Ends when the sender is dropped, or the server closes.
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await;
    driver.abort();
    match response.map_err(io::Error::other)?.status() {
        status if status.is_success() => Ok(()),
        status => Err(io::Error::other(observed(status))),
    }
}

fn observed(status: StatusCode) -> String {
    format!("it answers {status}")
}
