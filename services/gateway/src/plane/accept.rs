//! New connections of one listener on one thread.
//!
//! Test: `tests/gateway/http.rs`, `tests/gateway/shutdown.rs`.

use std::convert::Infallible;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::CONNECTION;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::doors::Doors;
use super::forward::Front;
use super::headers::client_name;
use super::tcp;
use super::worker::Phase;
use crate::protocol::Protocol;

/// How long a client may be idle, or take for the head of a request.
const CLIENT_IDLE: Duration = Duration::from_secs(75);
/// After an accept that failed, mostly for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(20);

/// The next connection; none once the gateway accepts no more.
async fn next(
    listener: &TcpListener,
    phase: &mut watch::Receiver<Phase>,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => return None,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Ends when the gateway does; open connections go on.
pub(crate) async fn accept(listener: TcpListener, front: Rc<Front>) {
    let mut phase = front.phase.clone();
    while let Some((stream, peer)) = next(&listener, &mut phase).await {
        let front = Rc::clone(&front);
        tokio::task::spawn_local(async move {
            match front.table.protocol(&front.listener) {
                Protocol::Http => serve_http(front, stream, peer.ip()).await,
                Protocol::Tcp => tcp::serve(&front, stream).await,
            }
        });
    }
}

/// The same for a door between services: which listener a connection belongs to follows
/// from the address it came to, and one that belongs to none is closed unread.
pub(crate) async fn admit(listener: TcpListener, front: Rc<Front>, doors: Arc<Doors>) {
    let mut phase = front.phase.clone();
    while let Some((stream, peer)) = next(&listener, &mut phase).await {
        let (front, doors) = (Rc::clone(&front), Arc::clone(&doors));
        tokio::task::spawn_local(async move {
            let Ok(at) = stream.local_addr() else {
                return;
            };
            if let Some(id) = doors.listener(at).await {
                let front = Rc::new(front.of(&id));
                serve_http(front, stream, peer.ip()).await;
            }
        });
    }
}

async fn serve_http(front: Rc<Front>, stream: TcpStream, client: IpAddr) {
    let mut phase = front.phase.clone();
    let client = client_name(client);
    let service = service_fn(move |request| {
        let (front, client) = (Rc::clone(&front), client.clone());
        let phase = front.phase.clone();
        async move {
            let mut response = front.answer(request, &client).await;
            // A client that is told so asks its next on another connection; one that is
            // only closed may have asked already.
            let leaves = *phase.borrow() == Phase::Leaving;
            if leaves && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CLIENT_IDLE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    // An error is the client's doing or the target's, and both know.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        _ = phase.wait_for(|phase| *phase == Phase::Stopping) => {
            connection.as_mut().graceful_shutdown();
        }
    }
    let _ = connection.await;
}
