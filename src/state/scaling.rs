//! Bounds and signals of automatic scaling, and when planned peaks begin and end.
//!
//! Test: `cargo nextest run state::scaling`.

use serde::Deserialize;
use serde::Serialize;

const MINUTE_MS: u64 = 60_000;
const MINUTES_OF_DAY: i64 = 24 * 60;
/// A year has no more moments than this.
const MINUTES_OF_YEAR: i64 = 365 * MINUTES_OF_DAY;

/// How a service's count may follow the load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autoscale {
    /// Fewest replicas: what the file asks for, where it names no fewest.
    pub min: u32,
    /// Most replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// CPU use to aim at, in percent of the demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    /// Requests per second that one replica bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rps_per_replica: Option<u32>,
    /// Planned peaks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peaks: Vec<Peak>,
}

/// One planned peak.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// When it begins, as the file says it.
    pub at: String,
    /// How long it lasts, in milliseconds.
    pub length_ms: u64,
    /// Replicas meanwhile.
    pub replicas: u32,
    /// How long before it begins the replicas have to be there, in milliseconds.
    pub lead_ms: u64,
}

/// A minute of a year, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Month, from 1.
    pub month: u32,
    /// Day of the month, from 1.
    pub day: u32,
    /// Hour.
    pub hour: u32,
    /// Minute.
    pub minute: u32,
}

impl Autoscale {
    /// Fewest and most replicas; nothing, where the file names no bound to grow to.
    pub fn bounds(&self) -> Option<(u32, u32)> {
        let peak = self.peaks.iter().map(|peak| peak.replicas).max();
        let max = self.max.or(peak)?;
        Some((self.min.min(max), max))
    }
}

impl Peak {
    /// When its replicas have to be there, and when it is over; nothing, where the file's
    /// text is no moment or a year is too short for it.
    pub fn span(&self) -> Option<(Moment, Moment)> {
        let begins = minutes(&self.at)?;
        let count = |ms: u64| {
            let minutes = i64::try_from(ms.div_ceil(MINUTE_MS)).ok()?;
            (minutes < MINUTES_OF_YEAR).then_some(minutes)
        };
        let early = begins.checked_sub(count(self.lead_ms)?)?;
        // A span that begins and ends in one minute would be none.
        let over = begins.checked_add(count(self.length_ms)?.max(1))?;
        Some((moment(early)?, moment(over)?))
    }
}

/// `2026-11-11T00:00+08:00` in minutes since 1970, in UTC. Seconds are left out: what acts
/// on it looks once a minute.
fn minutes(text: &str) -> Option<i64> {
    let (date, time) = text.trim().split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone);
    let mut parts = clock.splitn(3, ':').map(number);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let good = (1..=12).contains(&month)
        && (1..=length(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && (1970..10_000).contains(&year);
    good.then_some(())?;
    Some(days(year, month, day) * MINUTES_OF_DAY + hour * 60 + minute - offset(zone)?)
}

/// Minutes by which a zone is ahead.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = zone.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let ahead = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
    match sign {
        "+" => Some(ahead),
        "-" => Some(-ahead),
        _ => None,
    }
}

/// Digits alone: a sign or a blank would pass a plain parse.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

/// Days of a month.
fn length(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leaps = before / 4 - before / 100 + before / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let months: i64 = (1..month).map(|month| length(year, month)).sum();
    (year - 1970) * 365 + leaps + months + day - 1
}

fn moment(minutes: i64) -> Option<Moment> {
    let (mut rest, time) = (
        minutes.div_euclid(MINUTES_OF_DAY),
        minutes.rem_euclid(MINUTES_OF_DAY),
    );
    // A guess that is never too late.
    let mut year = 1969 + rest.max(0) / 366;
    while days(year + 1, 1, 1) <= rest {
        year += 1;
    }
    rest -= days(year, 1, 1);
    let mut month = 1;
    while rest >= length(year, month) {
        rest -= length(year, month);
        month += 1;
    }
    Some(Moment {
        month: u32::try_from(month).ok()?,
        day: u32::try_from(rest + 1).ok()?,
        hour: u32::try_from(time / 60).ok()?,
        minute: u32::try_from(time % 60).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(at: &str, length_ms: u64, lead_ms: u64) -> Option<String> {
        let peak = Peak {
            at: at.to_owned(),
            length_ms,
            lead_ms,
            replicas: 8,
        };
        let (first, last) = peak.span()?;
        let one = |it: Moment| format!("{}-{} {}:{}", it.month, it.day, it.hour, it.minute);
        Some(format!("{} to {}", one(first), one(last)))
    }

    #[test]
    fn a_peak_has_a_beginning_and_an_end_in_utc() {
        let hour = 60 * MINUTE_MS;
        let peak = |at, length, lead| shown(at, length, lead).unwrap_or_default();
        assert_eq!(
            peak("2026-11-11T00:00+08:00", 2 * hour, 10 * MINUTE_MS),
            "11-10 15:50 to 11-10 18:0"
        );
        assert_eq!(
            peak("2028-02-29 23:30:15Z", hour, 0),
            "2-29 23:30 to 3-1 0:30"
        );
        assert_eq!(
            peak("2026-12-31T22:00:00-05:00", 1, hour),
            "1-1 2:0 to 1-1 3:1"
        );
        assert_eq!(peak("1970-01-01T00:00Z", 1, hour), "12-31 23:0 to 1-1 0:1");
        assert_eq!(peak("2100-03-01T00:00Z", 1, hour), "2-28 23:0 to 3-1 0:1");
    }

    #[test]
    fn what_is_no_moment_is_none() {
        let texts = [
            "",
            "20:00",
            "2026-11-11",
            "2026-11-11T00:00",
            "2026-02-29T00:00Z",
            "2026-13-01T00:00Z",
            "2026-11-11T24:00Z",
            "2026-11-11T00:60Z",
            "2026-11-11T+1:00Z",
            "2026-11-11T00:00+8",
            "2026-11-11T00:00+0é",
            "0000-01-01T00:00Z",
            "99999-01-01T00:00Z",
        ];
        for text in texts {
            assert_eq!(shown(text, 1, 1), None, "{text}");
        }
        assert_eq!(shown("2026-11-11T00:00Z", u64::MAX, 0), None);
    }

    #[test]
    fn bounds_need_somewhere_to_grow_to() {
        let mut scale = Autoscale {
            min: 2,
            ..Autoscale::default()
        };
        assert_eq!(scale.bounds(), None);
        scale.peaks.push(Peak {
            replicas: 8,
            ..Peak::default()
        });
        assert_eq!(scale.bounds(), Some((2, 8)));
        scale.max = Some(1);
        assert_eq!(scale.bounds(), Some((1, 1)));
    }
}
