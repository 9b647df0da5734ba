//! One replica as the gateway sees it while it runs: what is in flight, whether
//! it is left out for now, whether it was removed.
//!
//! A `Target` outlives the configuration that named it, for as long as a
//! request is under way. It must not open connections. Test: here, and through
//! `routing::table`.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::AcqRel;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::Release;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::service::Meter;
use super::split::Group;

const WELL: u8 = 0;
const ILL: u8 = 1;
const UNKNOWN: u8 = 2;

/// A replica, shared by all threads and by successive configurations.
#[derive(Debug)]
pub(crate) struct Target {
    /// Never used twice in the life of this process.
    pub(crate) key: u64,
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) service: String,
    in_flight: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    removed: AtomicBool,
    ejected: AtomicBool,
    /// Whether its health checks let it get requests; one of [`WELL`], [`ILL`],
    /// [`UNKNOWN`].
    health: AtomicU8,
    /// A request was broken off since somebody last asked.
    broken: AtomicBool,
    /// The port at which the connect failed that caused the ejection.
    failed_port: AtomicU16,
    /// Idle connections in the pools of all threads.
    pooled: AtomicUsize,
    /// Counts the changes of `addresses`.
    epoch: AtomicU64,
    addresses: Mutex<Vec<IpAddr>>,
    idle: Notify,
    /// Its drain deadline has passed: what is still open is to end.
    cut: AtomicBool,
    cut_now: Notify,
}

impl Target {
    pub(crate) fn new(service: &str, id: &str, host: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            key: NEXT.fetch_add(1, Relaxed),
            id: id.to_owned(),
            host: host.to_owned(),
            service: service.to_owned(),
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            ejected: AtomicBool::new(false),
            health: AtomicU8::new(WELL),
            broken: AtomicBool::new(false),
            failed_port: AtomicU16::new(0),
            pooled: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
            addresses: Mutex::new(Vec::new()),
            idle: Notify::new(),
            cut: AtomicBool::new(false),
            cut_now: Notify::new(),
        }
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Acquire)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Acquire)
    }

    pub(crate) fn set_removed(&self, removed: bool) {
        self.removed.store(removed, Release);
        if !removed {
            self.cut.store(false, Release);
        }
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected.load(Acquire)
    }

    /// Whether its health checks let it get requests.
    pub(crate) fn is_well(&self) -> bool {
        self.health.load(Acquire) == WELL
    }

    /// Whether a health check has said anything, or whoever added it.
    pub(crate) fn is_known(&self) -> bool {
        self.health.load(Acquire) != UNKNOWN
    }

    pub(crate) fn set_well(&self, well: bool) {
        self.health.store(if well { WELL } else { ILL }, Release);
    }

    /// Nobody has vouched for it yet.
    pub(crate) fn forget_health(&self) {
        self.health.store(UNKNOWN, Release);
    }

    /// Whether it should get requests rather than another.
    pub(crate) fn is_fit(&self) -> bool {
        self.is_well() && !self.is_ejected()
    }

    pub(crate) fn count_error(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// Leaves the target out. True for the caller that changed it.
    pub(crate) fn eject(&self, port: u16) -> bool {
        self.failed_port.store(port, Release);
        !self.ejected.swap(true, AcqRel)
    }

    /// It broke off a request: its process may be on its way out.
    pub(crate) fn break_off(&self) {
        self.broken.store(true, Release);
    }

    /// Whether it broke off a request since the last call.
    pub(crate) fn take_broken(&self) -> bool {
        self.broken.swap(false, AcqRel)
    }

    pub(crate) fn readmit(&self) {
        self.ejected.store(false, Release);
    }

    pub(crate) fn failed_port(&self) -> u16 {
        self.failed_port.load(Acquire)
    }

    pub(crate) fn pooled(&self) -> usize {
        self.pooled.load(Acquire)
    }

    pub(crate) fn count_pooled(&self) {
        self.pooled.fetch_add(1, AcqRel);
    }

    pub(crate) fn count_unpooled(&self) {
        self.pooled.fetch_sub(1, AcqRel);
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Acquire)
    }

    /// What the name resolved to when it was asked for last.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let known = &self.addresses;
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    /// Records what the name resolves to now, and returns the epoch of that.
    /// A connection of an older epoch may lead to somebody else.
    pub(crate) fn learn(&self, addresses: &[IpAddr]) -> u64 {
        let mut new = addresses.to_vec();
        new.sort_unstable();
        let mut known = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *known != new {
            *known = new;
            self.epoch.fetch_add(1, AcqRel);
        }
        self.epoch()
    }

    /// Idle connections are not used any more: they may lead nowhere.
    pub(crate) fn doubt(&self) {
        self.epoch.fetch_add(1, AcqRel);
    }

    /// Tells all that is in flight to end.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Release);
        self.cut_now.notify_waiters();
    }

    /// Resolves when what is in flight is to end.
    pub(crate) async fn was_cut(&self) {
        let now = self.cut_now.notified();
        tokio::pin!(now);
        now.as_mut().enable();
        if !self.cut.load(Acquire) {
            now.await;
        }
    }

    /// Waits until nothing is in flight, or the time is over; what is left.
    pub(crate) async fn drained(&self, deadline: Duration) -> u64 {
        let deadline = Instant::now().checked_add(deadline);
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            let left = self.in_flight();
            if left == 0 {
                return 0;
            }
            match deadline {
                Some(at) => {
                    if tokio::time::timeout_at(at, idle).await.is_err() {
                        return self.in_flight();
                    }
                }
                None => idle.await,
            }
        }
    }
}

/// The right to use a target, counted as in flight until it is dropped. Only
/// `routing::table` makes one, under the guard that `apply` also takes.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) target: Arc<Target>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) port: u16,
    /// The group of the target.
    group: Option<Arc<Group>>,
    /// Name and value of the cookie by which the client comes back to the group.
    pub(crate) cookie: Option<(String, String)>,
}

impl Lease {
    pub(crate) fn new(target: Arc<Target>, meter: Arc<Meter>, port: u16) -> Self {
        target.in_flight.fetch_add(1, AcqRel);
        target.requests.fetch_add(1, Relaxed);
        Self {
            target,
            meter,
            port,
            group: None,
            cookie: None,
        }
    }

    /// Counts for the group of its target from here on.
    pub(crate) fn of_group(mut self, group: Option<Arc<Group>>) -> Self {
        if let Some(group) = &group {
            group.meter.count_request();
        }
        self.group = group;
        self
    }

    /// The target could not be reached, or broke off.
    pub(crate) fn count_error(&self) {
        self.target.count_error();
        if let Some(group) = &self.group {
            group.meter.count_5xx();
        }
    }

    /// The head of the response came after this time; `failed`: with 500 or above.
    pub(crate) fn count_answer(&self, latency: Duration, failed: bool) {
        let group = self.group.as_ref().map(|group| &group.meter);
        for meter in [Some(&*self.meter), group].into_iter().flatten() {
            meter.record(latency);
            if failed {
                meter.count_5xx();
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.target.in_flight.fetch_sub(1, AcqRel) == 1 {
            self.target.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Arc<Target> {
        Arc::new(Target::new("order", "i-1", "i-1"))
    }

    fn lease(target: &Arc<Target>) -> Lease {
        Lease::new(Arc::clone(target), Arc::new(Meter::default()), 80)
    }

    #[test]
    fn learning_the_same_addresses_in_another_order_keeps_the_epoch() {
        let target = target();
        let a = IpAddr::from([10, 0, 0, 1]);
        let b = IpAddr::from([10, 0, 0, 2]);
        let first = target.learn(&[a, b]);
        assert_eq!(target.learn(&[b, a]), first);
        assert_ne!(target.learn(&[b]), first);
    }

    #[tokio::test(start_paused = true)]
    async fn drained_waits_for_the_last_lease() {
        let target = target();
        let (one, two) = (lease(&target), lease(&target));
        let wait = tokio::spawn({
            let target = Arc::clone(&target);
            async move { target.drained(Duration::from_mins(1)).await }
        });
        tokio::task::yield_now().await;
        drop(one);
        tokio::task::yield_now().await;
        assert!(!wait.is_finished());
        drop(two);
        assert_eq!(wait.await.expect("joined"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn drained_reports_what_is_left_at_the_deadline() {
        let target = target();
        let _held = lease(&target);
        assert_eq!(target.drained(Duration::from_secs(1)).await, 1);
        assert_eq!(target.drained(Duration::ZERO).await, 1);
    }
}
