//! A response's body: passed on frame by frame, never collected.
//!
//! A [`Reply`] holds the lease of its target until it has ended, and then gives
//! the connection back to the pool. At the target's drain deadline it ends: well where
//! that is no lie, else so that the client knows that something is missing. Test: `tests/gateway/http.rs`, `tests/gateway/streaming.rs`.

use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

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
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(Frame::data).map(Ok)),
            Self::Stream(relay) => relay.poll(cx),
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

type BoxError = Box<dyn Error + Send + Sync>;

/// A response under way from a target.
pub(crate) struct Relay {
    body: Incoming,
    ended: bool,
    connection: Option<Connection>,
    pool: Rc<Pool>,
    lease: Lease,
    /// It may end before its target has said all.
    may_end: bool,
    /// Resolves at the drain deadline. Made when there is something to wait for, which a
    /// short answer never has.
    cut: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Relay {
    pub(crate) fn new(
        body: Incoming,
        connection: Connection,
        pool: Rc<Pool>,
        lease: Lease,
        may_end: bool,
    ) -> Self {
        Self {
            body,
            ended: false,
            connection: Some(connection),
            pool,
            lease,
            may_end,
            cut: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.lease.target.count_error();
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Pending => {
                let target = &self.lease.target;
                let cut = self.cut.get_or_insert_with(|| {
                    let target = Arc::clone(target);
                    Box::pin(async move { target.was_cut().await })
                });
                ready!(cut.as_mut().poll(cx));
                self.cut = None;
                Poll::Ready((!self.may_end).then(|| Err("the drain deadline has passed".into())))
            }
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
