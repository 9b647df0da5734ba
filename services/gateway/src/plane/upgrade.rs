//! After `101 Switching Protocols`: bytes both ways until both sides are done, or the
//! target's drain deadline has passed. A WebSocket is then told so in its own words.
//!
//! Test: `tests/gateway/upgrade.rs`, `tests/gateway/cut.rs`.

use std::io;
use std::time::Duration;

use hyper::header;
use hyper::header::HeaderMap;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::io::copy;
use tokio::io::copy_bidirectional;
use tokio::io::sink;
use tokio::time::timeout;

use super::frames::Frames;
use crate::routing::target::Lease;

/// A close frame with the code 1001, "going away" (RFC 6455, 7.4.1).
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];
/// A frame that is half through at the deadline may take this much longer.
const LAST_FRAME: Duration = Duration::from_millis(200);
/// So long a client may take to close its side once it was told.
const LINGER: Duration = Duration::from_secs(1);
const BUFFER: usize = 8 * 1024;

/// What is spoken after the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    WebSocket,
    Other,
}

impl Protocol {
    /// As the target has agreed to.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(header::UPGRADE) {
            Some(name) if name.as_bytes().eq_ignore_ascii_case(b"websocket") => Self::WebSocket,
            _ => Self::Other,
        }
    }
}

/// Ends when the conversation has ended; the lease is given back as soon as the target
/// has no part in it any more.
pub(crate) async fn join(client: OnUpgrade, target: OnUpgrade, speaks: Protocol, lease: Lease) {
    let Ok((client, target)) = tokio::try_join!(client, target) else {
        return;
    };
    let (mut client, mut target) = (TokioIo::new(client), TokioIo::new(target));
    // Either side may break off at any time; there is nobody to tell.
    if speaks == Protocol::Other {
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut target) => {}
            () = lease.target.was_cut() => { let _ = client.shutdown().await; }
        }
        return;
    }
    let mut frames = Frames::default();
    let mut buffer = vec![0; BUFFER];
    let cut = {
        let (mut from_client, mut to_client) = tokio::io::split(&mut client);
        let (mut from_target, mut to_target) = tokio::io::split(&mut target);
        let up = async {
            copy(&mut from_client, &mut to_target).await?;
            to_target.shutdown().await
        };
        let down = async {
            while pass(&mut from_target, &mut to_client, &mut frames, &mut buffer).await? {}
            to_client.shutdown().await
        };
        tokio::select! {
            _ = async { tokio::try_join!(up, down) } => false,
            () = lease.target.was_cut() => true,
        }
    };
    if cut {
        let whole = async {
            while frames.is_within()
                && pass(&mut target, &mut client, &mut frames, &mut buffer).await?
            {}
            Ok::<_, io::Error>(())
        };
        let _ = timeout(LAST_FRAME, whole).await;
        if frames.is_between() {
            let _ = client.write_all(&GOING_AWAY).await;
        }
        let _ = client.shutdown().await;
        drop((target, lease));
        // Closed with something unread, the connection would lose what was said last.
        let _ = timeout(LINGER, copy(&mut client, &mut sink())).await;
    }
}

/// Passes some bytes on; false at the end.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    frames: &mut Frames,
    buffer: &mut [u8],
) -> io::Result<bool> {
    let read = from.read(buffer).await?;
    let bytes = buffer.get(..read).unwrap_or_default();
    // Dropped from here on, nobody knows how much of it was written.
    frames.torn = true;
    to.write_all(bytes).await?;
    to.flush().await?;
    frames.torn = false;
    frames.pass(bytes);
    Ok(read > 0)
}
