//! The control socket: an abstract one, so it needs no file, ends with its
//! process, and is reached only from within the container's network.
//!
//! Test: `tests/gateway/control.rs`.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep;

use super::server::Operations;
use super::server::serve;
use crate::error::Error;

const RETRY: Duration = Duration::from_millis(20);

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("shopctl-{name}"))
}

/// Binds the socket of a gateway.
pub(crate) fn bind(name: &str) -> Result<UnixListener, Error> {
    let open = || {
        let listener = std::os::unix::net::UnixListener::bind_addr(&address(name)?)?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    };
    open().map_err(|source| Error::Bind {
        name: name.to_owned(),
        source,
    })
}

/// Connects to a gateway's socket, which may be about to appear.
pub(crate) async fn connect(name: &str, wait: Duration) -> Result<UnixStream, Error> {
    let started = Instant::now();
    let open = || {
        let stream = std::os::unix::net::UnixStream::connect_addr(&address(name)?)?;
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    };
    loop {
        match open() {
            Ok(stream) => return Ok(stream),
            Err(_) if started.elapsed() < wait => sleep(RETRY).await,
            Err(source) => {
                return Err(Error::Connect {
                    name: name.to_owned(),
                    source,
                });
            }
        }
    }
}

/// Serves every connection of this user, and of root, until it is dropped.
pub(crate) async fn listen<O: Operations>(listener: UnixListener, operations: Arc<O>) {
    let me = UnixStream::pair()
        .and_then(|(one, _other)| one.peer_cred())
        .map(|me| me.uid());
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(RETRY).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let allowed = match (stream.peer_cred(), &me) {
            (Ok(peer), Ok(me)) => peer.uid() == *me || peer.uid() == 0,
            _ => false,
        };
        if allowed {
            let operations = Arc::clone(&operations);
            connections.spawn(async move {
                let (reader, writer) = stream.into_split();
                serve(reader, writer, operations).await
            });
        }
    }
}
