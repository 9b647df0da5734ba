//! Names to addresses.
//!
//! No answer is remembered here: a container that was restarted has another address,
//! and its old one may belong to somebody else. Look-ups of one
//! name at the same time share one question, so that a burst of connections
//! does not become a burst of questions. Test: here.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::future::WeakShared;
use tokio::time::Instant;

use super::nameserver;

/// Finds the addresses of a name. Tests put their own in place.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses, at least one; an unknown name is an error, and one of the kind
    /// `ConnectionRefused` when there is nobody who could know it.
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver: in a container, the DNS of its networks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        async move {
            let found = match tokio::net::lookup_host((host.as_str(), 0)).await {
                Ok(found) => found,
                Err(_) if nameserver::is_gone().await => {
                    let message = "the name server is gone";
                    return Err(io::Error::new(io::ErrorKind::ConnectionRefused, message));
                }
                Err(error) => return Err(error),
            };
            let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            if addresses.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "no address"));
            }
            Ok(addresses)
        }
        .boxed()
    }
}

/// How long nothing is asked that need not be, after nobody answered.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// An error that several waiters can have.
type Answer = Result<Vec<IpAddr>, Arc<io::Error>>;
type Question = BoxFuture<'static, Answer>;

/// Shares look-ups that are under way.
pub(crate) struct Names {
    resolver: Arc<dyn Resolve>,
    pending: Mutex<BTreeMap<String, WeakShared<Question>>>,
    /// When a question was given up last.
    silent: Mutex<Option<Instant>>,
}

impl Names {
    pub(crate) fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self {
            resolver,
            pending: Mutex::default(),
            silent: Mutex::default(),
        }
    }

    /// Nobody answers: for a moment nothing is asked that need not be.
    pub(crate) fn fell_silent(&self) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether nobody answered a moment ago.
    pub(crate) fn are_silent(&self) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.is_some_and(|at| at.elapsed() < ASK_AGAIN)
    }

    /// The addresses of a name now.
    pub(crate) async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let question = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            let open = pending
                .get(host)
                .and_then(WeakShared::upgrade)
                .filter(|question| question.peek().is_none());
            open.unwrap_or_else(|| {
                let question = self
                    .resolver
                    .resolve(host.to_owned())
                    .map(|answer| answer.map_err(Arc::new))
                    .boxed()
                    .shared();
                pending.retain(|_, open| open.upgrade().is_some());
                if let Some(open) = question.downgrade() {
                    pending.insert(host.to_owned(), open);
                }
                question
            })
        };
        question
            .await
            .map_err(|error| io::Error::new(error.kind(), error))
    }

    /// The same without sharing, for callers that repeat the question anyway.
    pub(crate) async fn resolve_alone(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match host.parse() {
            Ok(address) => Ok(vec![address]),
            Err(_) => self.resolver.resolve(host.to_owned()).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU8;
    use std::sync::atomic::Ordering::Relaxed;

    use tokio::sync::Semaphore;

    use super::*;

    /// Answers 10.0.0.n to the nth question, when permitted.
    #[derive(Default)]
    struct Counting {
        asked: Arc<AtomicU8>,
        permits: Option<Arc<Semaphore>>,
    }

    impl Resolve for Counting {
        fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let number = self.asked.fetch_add(1, Relaxed) + 1;
            let permits = self.permits.clone();
            async move {
                if let Some(permits) = permits {
                    permits.acquire().await.map_err(io::Error::other)?.forget();
                }
                if host == "unknown" {
                    return Err(io::Error::new(io::ErrorKind::NotFound, "unknown"));
                }
                Ok(vec![IpAddr::from([10, 0, 0, number])])
            }
            .boxed()
        }
    }

    #[tokio::test]
    async fn questions_at_the_same_time_are_one() {
        let permits = Arc::new(Semaphore::new(0));
        let resolver = Counting {
            asked: Arc::default(),
            permits: Some(Arc::clone(&permits)),
        };
        let asked = Arc::clone(&resolver.asked);
        let names = Names::new(Arc::new(resolver));
        let both = futures_util::future::join(names.resolve("a"), names.resolve("a"));
        let (one, two, ()) = tokio::join!(both, names.resolve("b"), async {
            tokio::task::yield_now().await;
            permits.add_permits(2);
        });
        assert_eq!(one.0.expect("found"), one.1.expect("found"));
        assert!(two.is_ok());
        assert_eq!(asked.load(Relaxed), 2);
    }

    #[tokio::test]
    async fn nothing_is_remembered() {
        let names = Names::new(Arc::new(Counting::default()));
        let first = names.resolve("a").await.expect("found");
        let second = names.resolve("a").await.expect("found");
        assert_ne!(first, second);
    }

    #[tokio::test]
    async fn a_question_that_nobody_waits_for_any_more_blocks_nobody() {
        let permits = Arc::new(Semaphore::new(0));
        let names = Names::new(Arc::new(Counting {
            asked: Arc::default(),
            permits: Some(Arc::clone(&permits)),
        }));
        let mut dropped = Box::pin(names.resolve("a"));
        assert!((&mut dropped).now_or_never().is_none());
        drop(dropped);
        permits.add_permits(1);
        let found = names.resolve("a").await.expect("found");
        assert_eq!(found, [IpAddr::from([10, 0, 0, 2])]);
    }

    #[tokio::test]
    async fn an_address_needs_no_question_and_an_unknown_name_is_an_error() {
        let names = Names::new(Arc::new(Counting::default()));
        let found = names.resolve("127.0.0.2").await.expect("found");
        assert_eq!(found, [IpAddr::from([127, 0, 0, 2])]);
        let error = names.resolve("unknown").await.expect_err("unknown");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn the_system_knows_localhost() {
        let found = SystemResolver.resolve("localhost".to_owned()).await;
        assert!(found.expect("found").iter().all(IpAddr::is_loopback));
    }
}
