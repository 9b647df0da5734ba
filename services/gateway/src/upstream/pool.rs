//! One thread's connections to the targets, kept open between requests.
//!
//! A connection rests here only while it is idle, its target is in force, and
//! its address is still the one that the name stands for. [`Pool::purge`] is the
//! half of `apply` that closes what rests. Test: `tests/gateway/upstream.rs`,
//! `tests/gateway/switch.rs`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connect::connect;
use super::resolve::Names;
use super::stream::SharedStream;
use super::upload::Upload;
use crate::routing::target::Lease;
use crate::routing::target::Target;

/// Shorter than servers keep idle connections (2 s is the shortest common
/// one), so that we close first and no request meets their closing.
const IDLE: Duration = Duration::from_millis(1500);

/// How long a purged connection may take to close, before `apply` goes on.
const CLOSING: Duration = Duration::from_millis(250);

/// An HTTP connection to a target.
pub(crate) struct Connection {
    pub(crate) sender: http1::SendRequest<Upload>,
    /// It carried a request before this one.
    pub(crate) reused: bool,
    stream: SharedStream,
    task: JoinHandle<()>,
    epoch: u64,
}

struct Idle {
    connection: Connection,
    at: Pooled,
    since: Instant,
}

/// Counts an idle connection at its target.
struct Pooled(Arc<Target>);

impl Pooled {
    fn new(target: &Arc<Target>) -> Self {
        target.count_pooled();
        Self(Arc::clone(target))
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.0.count_unpooled();
    }
}

impl Idle {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < IDLE
            && self.connection.epoch == self.at.0.epoch()
            && !self.at.0.is_removed()
            && !self.connection.sender.is_closed()
    }

    fn is_usable(&self) -> bool {
        self.is_fresh() && self.connection.sender.is_ready() && self.connection.stream.is_quiet()
    }

    /// Closes the connection; the task ends when that is done.
    fn close(self) -> JoinHandle<()> {
        self.connection.task
    }
}

/// A thread's pool. Must not be held borrowed over an await.
pub(crate) struct Pool {
    names: Arc<Names>,
    connect_limit: Duration,
    /// By target and port; the youngest last.
    idle: RefCell<BTreeMap<(u64, u16), Vec<Idle>>>,
}

impl Pool {
    pub(crate) fn new(names: Arc<Names>, connect_limit: Duration) -> Self {
        Self {
            names,
            connect_limit,
            idle: RefCell::default(),
        }
    }

    /// An idle connection that was open when looked at a moment ago.
    pub(crate) fn checkout(&self, lease: &Lease) -> Option<Connection> {
        let mut pool = self.idle.borrow_mut();
        let idle = pool.get_mut(&(lease.target.key, lease.port))?;
        while let Some(candidate) = idle.pop() {
            if candidate.is_usable() {
                return Some(candidate.connection);
            }
        }
        None
    }

    /// A new connection.
    pub(crate) async fn connect(&self, lease: &Lease) -> io::Result<Connection> {
        let connected = connect(&self.names, &lease.target, lease.port, self.connect_limit).await?;
        let stream = SharedStream::new(connected.stream);
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream.clone()))
            .await
            .map_err(io::Error::other)?;
        let task = tokio::task::spawn_local(async move {
            // Its error is also that of the request; without one it is of no interest.
            let _ = connection.with_upgrades().await;
        });
        Ok(Connection {
            sender,
            reused: false,
            stream,
            task,
            epoch: connected.epoch,
        })
    }

    /// A new connection for bytes of any kind; never kept.
    pub(crate) async fn connect_tcp(&self, lease: &Lease) -> io::Result<TcpStream> {
        connect(&self.names, &lease.target, lease.port, self.connect_limit)
            .await
            .map(|connected| connected.stream)
    }

    /// Keeps a connection for the next request, if there may be one.
    pub(crate) fn put(&self, target: &Arc<Target>, port: u16, mut connection: Connection) {
        if target.is_removed() || connection.sender.is_closed() {
            return;
        }
        connection.reused = true;
        let idle = Idle {
            connection,
            at: Pooled::new(target),
            since: Instant::now(),
        };
        let mut pool = self.idle.borrow_mut();
        pool.entry((target.key, port)).or_default().push(idle);
    }

    /// Closes what rests and should not. To be called now and then.
    pub(crate) fn sweep(&self) {
        self.idle.borrow_mut().retain(|_, idle| {
            idle.retain(Idle::is_fresh);
            !idle.is_empty()
        });
    }

    /// Closes what rests at these targets; returns when it is closed.
    pub(crate) async fn purge(&self, targets: &[u64]) {
        let mut closing = Vec::new();
        self.idle.borrow_mut().retain(|(target, _), idle| {
            let keep = !targets.contains(target);
            if !keep {
                closing.append(idle);
            }
            keep
        });
        let tasks: Vec<JoinHandle<()>> = closing.into_iter().map(Idle::close).collect();
        let all = futures_util::future::join_all(tasks);
        let _ = tokio::time::timeout(CLOSING, all).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::net::TcpStream as Blocking;

    use tokio::task::LocalSet;

    use super::*;
    use crate::upstream::resolve::SystemResolver;

    /// A pool that got one connection back, and the server's end of it. Nothing
    /// here yields to the runtime, so the pool learns only what it looks at.
    async fn pooled() -> (Pool, Lease, Blocking) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let target = Arc::new(Target::new("order", "i-1", "127.0.0.1"));
        let lease = Lease::new(target, Arc::default(), port);
        let names = Arc::new(Names::new(Arc::new(SystemResolver)));
        let pool = Pool::new(names, Duration::from_secs(5));
        let mut connection = pool.connect(&lease).await.expect("connected");
        connection.sender.ready().await.expect("ready");
        let (server, _) = listener.accept().expect("accepted");
        pool.put(&lease.target, port, connection);
        (pool, lease, server)
    }

    #[tokio::test]
    async fn what_rests_is_used_again() {
        let work = async {
            let (pool, lease, _server) = pooled().await;
            assert_eq!(lease.target.pooled(), 1);
            let connection = pool.checkout(&lease).expect("a connection");
            assert!(connection.reused);
            assert_eq!(lease.target.pooled(), 0);
            assert!(pool.checkout(&lease).is_none());
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn what_closed_a_moment_ago_is_not() {
        let work = async {
            let (pool, lease, server) = pooled().await;
            drop(server);
            assert!(pool.checkout(&lease).is_none());
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn what_leads_to_an_old_address_is_not() {
        let work = async {
            let (pool, lease, _server) = pooled().await;
            lease.target.learn(&[[127, 0, 0, 9].into()]);
            assert!(pool.checkout(&lease).is_none());
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn nothing_rests_at_a_removed_target() {
        let work = async {
            let (pool, lease, _server) = pooled().await;
            let connection = pool.checkout(&lease).expect("a connection");
            lease.target.set_removed(true);
            pool.put(&lease.target, lease.port, connection);
            assert_eq!(lease.target.pooled(), 0);
        };
        LocalSet::new().run_until(work).await;
    }
}
