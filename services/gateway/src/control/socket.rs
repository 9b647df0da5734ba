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
use tokio::sync::watch;
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
pub(crate) fn bind(name: &str) -> Result<std::os::unix::net::UnixListener, Error> {
    let open = || {
        let listener = std::os::unix::net::UnixListener::bind_addr(&address(name)?)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
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

/// What happens to who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    Answered,
    /// They wait: for this program, or for one that takes over the socket.
    Waiting,
    /// Only those who have called already are answered.
    Over,
}

/// Serves every connection of this user, and of root, until it is dropped, or calls are
/// over and the last connection has ended.
pub(crate) async fn listen<O: Operations>(
    listener: UnixListener,
    operations: Arc<O>,
    mut calls: watch::Receiver<Calls>,
) {
    let me = UnixStream::pair()
        .and_then(|(one, _other)| one.peer_cred())
        .map(|me| me.uid());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = calls.wait_for(|calls| *calls != Calls::Answered) => None,
            accepted = listener.accept() => Some(accepted),
        };
        let Some(accepted) = accepted else {
            match calls
                .wait_for(|calls| *calls != Calls::Waiting)
                .await
                .as_deref()
            {
                Ok(Calls::Answered) => continue,
                _ => break,
            }
        };
        let Ok((stream, _)) = accepted else {
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
    drop(listener);
    while connections.join_next().await.is_some() {}
}
