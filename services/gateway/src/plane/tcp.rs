//! One TCP connection: take a target, connect, pass bytes both ways. When one
//! side has said all, the other may go on.
//!
//! Test: `tests/tcp.rs`.

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use super::forward::Front;

/// Serves a client until both sides are done. Without a target it is closed.
pub(crate) async fn serve(front: &Front, mut client: TcpStream) {
    let Ok(mut lease) = front.table.take_tcp(&front.listener, None) else {
        return;
    };
    lease.meter.count_request();
    let mut target = match front.pool.connect_tcp(&lease).await {
        Ok(stream) => stream,
        Err(_) => {
            lease.target.count_error();
            front.table.eject(&lease.target, lease.port);
            let Ok(other) = front.table.take_tcp(&front.listener, Some(&lease.target)) else {
                return;
            };
            lease = other;
            match front.pool.connect_tcp(&lease).await {
                Ok(stream) => stream,
                Err(_) => {
                    lease.target.count_error();
                    front.table.eject(&lease.target, lease.port);
                    return;
                }
            }
        }
    };
    // Either side may break off at any time; there is nobody to tell.
    let _ = copy_bidirectional(&mut client, &mut target).await;
    drop(lease);
}
