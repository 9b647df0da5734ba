//! Times on the command line: a date, or so long ago.

use std::time::Duration;

use super::args::duration;

/// A time of `logs` and `events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Seconds since the epoch.
    At(i64),
    /// So long ago.
    Ago(Duration),
}

impl Since {
    /// In seconds since the epoch, as `now` is counted.
    pub fn seconds(self, now: Duration) -> i64 {
        match self {
            Self::At(seconds) => seconds,
            Self::Ago(ago) => i64::try_from(now.saturating_sub(ago).as_secs()).unwrap_or(0),
        }
    }

    /// The same as an end: the second that has begun belongs to it.
    pub fn end(self, now: Duration) -> i64 {
        let begun = Duration::from_secs(1) - Duration::from_nanos(1);
        self.seconds(now.saturating_add(begun))
    }
}

/// Reads one.
pub(super) fn since(text: &str) -> Result<Since, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Since::At(seconds));
    }
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        let seconds = time
            .duration_since(std::time::UNIX_EPOCH)
            .map_err(|_| "nothing is known of times before 1970".to_owned())?;
        return i64::try_from(seconds.as_secs())
            .map(Since::At)
            .map_err(|_| "that is too far away".to_owned());
    }
    duration(text).map(Since::Ago)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_a_date_or_so_long_ago() {
        assert_eq!(since("7"), Ok(Since::At(7)));
        assert_eq!(since("2026-01-02T03:04:05Z"), Ok(Since::At(1_767_323_045)));
        let ago = Since::Ago(Duration::from_mins(10));
        assert_eq!(since("10m"), Ok(ago));
        assert_eq!(ago.seconds(Duration::from_secs(1000)), 400);
        assert_eq!(ago.seconds(Duration::from_secs(1)), 0);
        let times = [1000, 1001, 1999]
            .map(|millis| ago.end(Duration::from_mins(10) + Duration::from_millis(millis)));
        assert_eq!(times, [1, 2, 2]);
        assert!(since("soon").is_err());
    }
}
