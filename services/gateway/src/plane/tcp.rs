//! One TCP connection: take a target, connect, pass bytes both ways. When one
//! side has said all, the other may go on. At the drain deadline it is closed.
//!
//! Test: `tests/gateway/tcp.rs`.

use tokio::io::AsyncWriteExt as _;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use super::forward::Front;
use crate::routing::target::Lease;

/// Serves a client until both sides are done. Without a target it is closed.
pub(crate) async fn serve(front: &Front, mut client: TcpStream) {
    let Ok(lease) = front.table.take_tcp(&front.listener, None) else {
        return;
    };
    lease.meter.count_request();
    let Some((mut target, lease)) = reach(front, lease).await else {
        return;
    };
    // Either side may break off at any time; there is nobody to tell.
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut target) => {}
        () = lease.target.was_cut() => { let _ = client.shutdown().await; }
    }
    drop(lease);
}

/// The target, or another one when it cannot be connected to.
async fn reach(front: &Front, lease: Lease) -> Option<(TcpStream, Lease)> {
    let failed = match connect(front, lease).await {
        Ok(reached) => return Some(reached),
        Err(failed) => failed,
    };
    let other = front.table.take_tcp(&front.listener, Some(&failed.target));
    connect(front, other.ok()?).await.ok()
}

async fn connect(front: &Front, lease: Lease) -> Result<(TcpStream, Lease), Lease> {
    if let Ok(stream) = front.pool.connect_tcp(&lease).await {
        return Ok((stream, lease));
    }
    lease.count_error();
    front.table.eject(&lease.target, lease.port);
    Err(lease)
}
