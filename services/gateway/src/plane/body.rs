//! A response's body: passed on frame by frame, never collected.
//!
//! A [`Reply`] holds the lease of its target until it has ended, and then gives
//! the connection back to the pool. Test: `tests/gateway/http.rs`, `tests/gateway/streaming.rs`.

use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use hyper::body::Body;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::body::SizeHint;

use crate::routing::target::Lease;
use crate::upstream::pool::Connection;
use crate::upstream::pool::Pool;

/// A response's body on its way to the client.
pub(crate) enum Reply {
    /// Our own words.
    Full(Option<Bytes>),
    /// A target's.
    Stream(Relay),
}

impl Reply {
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::Full(Some(bytes))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(Frame::data).map(Ok)),
            Self::Stream(relay) => {
                let frame = Pin::new(&mut relay.body).poll_frame(cx);
                match &frame {
                    Poll::Ready(None) => relay.ended = true,
                    Poll::Ready(Some(Err(_))) => relay.lease.target.count_error(),
                    _ => {}
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Stream(relay) => relay.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(relay) => relay.body.size_hint(),
        }
    }
}

/// A response under way from a target.
pub(crate) struct Relay {
    body: Incoming,
    ended: bool,
    connection: Option<Connection>,
    pool: Rc<Pool>,
    lease: Lease,
}

impl Relay {
    pub(crate) fn new(
        body: Incoming,
        connection: Connection,
        pool: Rc<Pool>,
        lease: Lease,
    ) -> Self {
        Self {
            body,
            ended: false,
            connection: Some(connection),
            pool,
            lease,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A body of known length ends without being asked for a frame after its last.
        let ended = self.ended || self.body.is_end_stream();
        if let Some(connection) = self.connection.take().filter(|_| ended) {
            self.pool
                .put(&self.lease.target, self.lease.port, connection);
        }
    }
}
