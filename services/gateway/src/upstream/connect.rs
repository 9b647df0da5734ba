//! A new connection to a target: resolve its name, try its addresses.
//!
//! Test: `tests/gateway/upstream.rs`.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use socket2::TcpKeepalive;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::resolve::Names;
use crate::routing::target::Target;

/// An answer that takes longer is not waited for, where an earlier one is known.
const SILENCE: Duration = Duration::from_millis(250);

/// A connection, and the epoch of the address that it leads to.
pub(crate) struct Connected {
    pub(crate) stream: TcpStream,
    pub(crate) epoch: u64,
}

/// Connects to a target by name within a time that includes the look-up.
pub(crate) async fn connect(
    names: &Names,
    target: &Target,
    port: u16,
    limit: Duration,
) -> io::Result<Connected> {
    within(limit, async {
        let addresses = addresses(names, target).await?;
        let epoch = target.learn(&addresses);
        let stream = connect_any(addresses, port).await?;
        SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
        Ok(Connected { stream, epoch })
    })
    .await
}

/// What the name resolves to. A name server that does not answer at all has gone with
/// the engine, and containers live on without it: then what it said last holds. What it
/// says it does not know is gone.
async fn addresses(names: &Names, target: &Target) -> io::Result<Vec<IpAddr>> {
    let known = target.addresses();
    if known.is_empty() {
        return names.resolve(&target.host).await;
    }
    if names.are_silent() {
        return Ok(known);
    }
    match timeout(SILENCE, names.resolve(&target.host)).await {
        Ok(Err(error)) if error.kind() != io::ErrorKind::ConnectionRefused => Err(error),
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(_)) | Err(_) => {
            names.fell_silent();
            Ok(known)
        }
    }
}

/// The first of the addresses that accepts, or the last one's error.
pub(crate) async fn connect_any(addresses: Vec<IpAddr>, port: u16) -> io::Result<TcpStream> {
    let mut result = Err(io::Error::new(io::ErrorKind::NotFound, "no address"));
    for address in addresses {
        result = TcpStream::connect(SocketAddr::new(address, port)).await;
        if result.is_ok() {
            break;
        }
    }
    let stream = result?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Fails with `TimedOut` when the work takes longer.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {limit:?}"),
        )),
    }
}

/// A peer that vanished without a word is noticed within two minutes, so that
/// its connection does not count as in flight for ever.
pub(crate) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_mins(1))
        .with_interval(Duration::from_secs(15))
        .with_retries(4)
}
