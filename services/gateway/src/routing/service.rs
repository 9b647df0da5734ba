//! A service's counters: requests, server errors, latency over the last minute,
//! requests per second over the last ten seconds.
//!
//! The data plane only adds to atomics; one task calls [`Meter::tick`] each
//! second. Test: here.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::Latency;

/// Steps per doubling: a percentile is at most one sixteenth too high.
const STEPS: u64 = 16;
/// Up to 2^27 µs, a little over two minutes; slower counts as that.
const BUCKETS: usize = 24 * 16;
/// A minute in slots of [`TICKS_PER_SLOT`] seconds.
const SLOTS: usize = 12;
const TICKS_PER_SLOT: u64 = 5;
/// The span of the rate.
const RATE_SPAN: Duration = Duration::from_secs(10);

/// Counts what goes through to one service.
#[derive(Debug)]
pub(crate) struct Meter {
    requests: AtomicU64,
    errors_5xx: AtomicU64,
    slots: Vec<Slot>,
    current: AtomicUsize,
    clock: Mutex<Clock>,
}

#[derive(Debug)]
struct Slot(Vec<AtomicU32>);

#[derive(Debug, Default)]
struct Clock {
    ticks: u64,
    /// Total of requests at earlier ticks, oldest first.
    totals: VecDeque<(Instant, u64)>,
}

impl Default for Meter {
    fn default() -> Self {
        let mut clock = Clock::default();
        clock.totals.push_back((Instant::now(), 0));
        Self {
            requests: AtomicU64::new(0),
            errors_5xx: AtomicU64::new(0),
            slots: (0..SLOTS)
                .map(|_| Slot((0..BUCKETS).map(|_| AtomicU32::new(0)).collect()))
                .collect(),
            current: AtomicUsize::new(0),
            clock: Mutex::new(clock),
        }
    }
}

impl Meter {
    /// A request (TCP: a connection) came.
    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// Its answer has the status 500 or above.
    pub(crate) fn count_5xx(&self) {
        self.errors_5xx.fetch_add(1, Relaxed);
    }

    /// The head of its response came after this time.
    pub(crate) fn record(&self, latency: Duration) {
        let slot = &self.slots[self.current.load(Relaxed)];
        slot.0[bucket(latency)].fetch_add(1, Relaxed);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(crate) fn errors_5xx(&self) -> u64 {
        self.errors_5xx.load(Relaxed)
    }

    /// To be called once a second.
    pub(crate) fn tick(&self) {
        let now = Instant::now();
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.ticks += 1;
        clock.totals.push_back((now, self.requests()));
        while clock
            .totals
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) >= RATE_SPAN)
        {
            clock.totals.pop_front();
        }
        if clock.ticks.is_multiple_of(TICKS_PER_SLOT) {
            let next = (self.current.load(Relaxed) + 1) % SLOTS;
            for count in &self.slots[next].0 {
                count.store(0, Relaxed);
            }
            self.current.store(next, Relaxed);
        }
    }

    /// Requests per second over the last 10 s, or since the start if that is less.
    pub(crate) fn rps(&self) -> f64 {
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((since, before)) = clock.totals.front() else {
            return 0.0;
        };
        let seconds = since.elapsed().as_secs_f64().max(1.0);
        let count = u32::try_from(self.requests().saturating_sub(*before)).unwrap_or(u32::MAX);
        round(f64::from(count) / seconds, 10.0)
    }

    /// None when no request ended within the last minute.
    pub(crate) fn latency(&self) -> Option<Latency> {
        let counts: Vec<u64> = (0..BUCKETS)
            .map(|index| {
                self.slots
                    .iter()
                    .map(|slot| u64::from(slot.0[index].load(Relaxed)))
                    .sum()
            })
            .collect();
        let total: u64 = counts.iter().sum();
        (total > 0).then(|| Latency {
            p50: percentile(&counts, total, 50),
            p95: percentile(&counts, total, 95),
            p99: percentile(&counts, total, 99),
        })
    }
}

/// Below [`STEPS`] µs one bucket per µs, then [`STEPS`] per doubling.
fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let index = if micros < STEPS {
        micros
    } else {
        let doublings = u64::from(micros.ilog2() - STEPS.ilog2());
        doublings * STEPS + (micros >> doublings)
    };
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// The longest time, in µs, that falls into a bucket.
fn upper_bound(index: usize) -> u32 {
    let steps = usize::try_from(STEPS).unwrap_or(1);
    let micros = if index < 2 * steps {
        index
    } else {
        let doublings = index / steps - 1;
        ((index % steps + steps + 1) << doublings) - 1
    };
    u32::try_from(micros).unwrap_or(u32::MAX)
}

fn percentile(counts: &[u64], total: u64, percent: u64) -> f64 {
    let rank = (total * percent).div_ceil(100);
    let mut seen = 0;
    for (index, count) in counts.iter().enumerate() {
        seen += count;
        if seen >= rank {
            return round(f64::from(upper_bound(index)) / 1000.0, 1000.0);
        }
    }
    0.0
}

fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_time_within_a_sixteenth() {
        let mut last = 0;
        for micros in (0..200_000).chain((200_000..120_000_000).step_by(9_973)) {
            let index = bucket(Duration::from_micros(micros));
            assert!(index >= last, "{micros} µs");
            last = index;
            let upper = u64::from(upper_bound(index));
            assert!(upper >= micros && upper <= micros + micros / 16, "{micros}");
        }
        assert_eq!(bucket(Duration::from_hours(1)), BUCKETS - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn percentiles_forget_after_a_minute() {
        let meter = Meter::default();
        assert_eq!(meter.latency(), None);
        for millis in 1..=100 {
            meter.record(Duration::from_millis(millis));
        }
        let latency = meter.latency().expect("recorded");
        assert!((50.0..=53.2).contains(&latency.p50), "{latency:?}");
        assert!((95.0..=101.0).contains(&latency.p95), "{latency:?}");
        assert!((99.0..=105.2).contains(&latency.p99), "{latency:?}");
        for _ in 0..54 {
            meter.tick();
        }
        assert!(meter.latency().is_some());
        for _ in 54..60 {
            meter.tick();
        }
        assert_eq!(meter.latency(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_ten_seconds() {
        let meter = Meter::default();
        for second in 0..30 {
            for _ in 0..if second < 15 { 5 } else { 50 } {
                meter.count_request();
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            meter.tick();
        }
        assert!((meter.rps() - 50.0).abs() < 0.1, "{}", meter.rps());
        assert_eq!(meter.requests(), 15 * 5 + 15 * 50);
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(1)).await;
            meter.tick();
        }
        assert!(meter.rps().abs() < 0.1, "{}", meter.rps());
    }
}
