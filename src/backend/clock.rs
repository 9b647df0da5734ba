//! A clock for locks.

use std::time::Duration;

use rustix::time::ClockId;
use rustix::time::clock_gettime;

/// Time that passes while the machine sleeps too: a laptop that wakes has lost its lock.
pub(super) fn now() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
