//! Bytes, CPUs, ratios and durations: parse and print, as Docker means them.
//!
//! Pure functions over text. Test: the properties at the end of this file.

use std::fmt;
use std::fmt::Write as _;

use serde::Serialize;

/// A number of CPUs in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct NanoCpus(pub u64);

/// A share in millionths: `0.1%` is 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Ratio(pub u32);

impl fmt::Display for NanoCpus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fixed_point(out, self.0 / 1_000_000_000, self.0 % 1_000_000_000, 9)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = u64::from(self.0);
        fixed_point(out, parts / 10_000, parts % 10_000, 4)?;
        out.write_char('%')
    }
}

fn fixed_point(
    out: &mut fmt::Formatter<'_>,
    whole: u64,
    fraction: u64,
    digits: usize,
) -> fmt::Result {
    let fraction = format!("{fraction:0digits$}");
    match fraction.trim_end_matches('0') {
        "" => write!(out, "{whole}"),
        fraction => write!(out, "{whole}.{fraction}"),
    }
}

/// Parses a decimal number into `10^-digits` units. Further digits are cut
/// off, so that no binary fraction gets between the user and the engine.
fn decimal(text: &str, digits: usize) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !numeric(whole) || !numeric(fraction) {
        return None;
    }
    let mut all = whole.to_owned();
    all.extend(fraction.chars().chain(std::iter::repeat('0')).take(digits));
    all.parse().ok()
}

/// CPUs: `0.25`, `2`, `1e-1`.
pub fn parse_cpus(text: &str) -> Option<NanoCpus> {
    let text = text.trim();
    let nano = if text.contains(['e', 'E']) {
        let cpus: f64 = text.parse().ok().filter(|cpus: &f64| cpus.is_finite())?;
        decimal(&format!("{cpus:.9}"), 9)?
    } else {
        decimal(text.strip_prefix('+').unwrap_or(text), 9)?
    };
    u64::try_from(nano).ok().map(NanoCpus)
}

/// A share: `0.1%`, `0.001`.
pub fn parse_ratio(text: &str) -> Option<Ratio> {
    let text = text.trim();
    let millionths = match text.strip_suffix('%') {
        Some(percent) => decimal(percent.trim_end(), 4)?,
        None => decimal(text, 6)?,
    };
    u32::try_from(millionths)
        .ok()
        .filter(|parts| *parts <= 1_000_000)
        .map(Ratio)
}

/// Bytes with the units of Docker, each 1024 of the one before: `64m`,
/// `1.5 GiB`, `512`. The unit is one of b, k, m, g, t, p, with `b` or `ib`
/// behind it or not.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let end = text
        .find(|character: char| !(character.is_ascii_digit() || character == '.'))
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let unit = rest.strip_prefix(' ').unwrap_or(rest).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    let billionths = decimal(number, 9)?.checked_mul(1_u128 << (10 * power))?;
    u64::try_from(billionths / 1_000_000_000).ok()
}

/// A duration in nanoseconds: `1m30s`, `1.5h`, `100ms`, `2d`, `1w`, `0`.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !(character.is_ascii_digit() || character == '.'))?;
        let (number, behind) = rest.split_at(end);
        let end = behind
            .find(|character: char| character.is_ascii_digit() || character == '.')
            .unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let nanos: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return None,
        };
        let part = decimal(number, 12)?.checked_mul(nanos)? / 1_000_000_000_000;
        total = total.checked_add(part)?;
        rest = next;
    }
    let total = i64::try_from(total).ok()?;
    Some(if negative { -total } else { total })
}

/// A duration as Go prints it: `1m30s`, `1h0m0s`, `1.5s`, `100ms`, `0s`.
pub fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let fraction = |unit: u64, digits: usize| {
        let rest = format!("{:0digits$}", nanos % unit);
        match rest.trim_end_matches('0') {
            "" => String::new(),
            rest => format!(".{rest}"),
        }
    };
    let (amount, unit) = match nanos {
        0 => return "0s".to_owned(),
        1..=999 => (nanos.to_string(), "ns"),
        1_000..=999_999 => (format!("{}{}", nanos / 1_000, fraction(1_000, 3)), "µs"),
        1_000_000..=999_999_999 => (
            format!("{}{}", nanos / 1_000_000, fraction(1_000_000, 6)),
            "ms",
        ),
        _ => {
            let seconds = nanos / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let mut text = String::new();
            if hours > 0 {
                text = format!("{hours}h");
            }
            if seconds >= 60 {
                text = format!("{text}{minutes}m");
            }
            (
                format!("{text}{}{}", seconds % 60, fraction(1_000_000_000, 9)),
                "s",
            )
        }
    };
    format!("{sign}{amount}{unit}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_have_the_units_of_docker() {
        for (text, bytes) in [
            ("64m", Some(67_108_864)),
            ("64M", Some(67_108_864)),
            ("64mb", Some(67_108_864)),
            ("64 MiB", Some(67_108_864)),
            ("1.5g", Some(1_610_612_736)),
            ("512", Some(512)),
            ("512b", Some(512)),
            ("0.3k", Some(307)),
            ("64x", None),
            ("m", None),
            ("", None),
            ("-1", None),
            ("64mbb", None),
            ("1.2.3m", None),
            ("99999999999p", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn durations_have_days_and_weeks() {
        for (text, nanos) in [
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("500us", Some(500_000)),
            ("500µs", Some(500_000)),
            ("2d", Some(172_800_000_000_000)),
            ("1w", Some(604_800_000_000_000)),
            ("-1s", Some(-1_000_000_000)),
            ("0", Some(0)),
            (".5s", Some(500_000_000)),
            ("5 bananas", None),
            ("10", None),
            ("1m 30s", None),
            ("s", None),
            ("", None),
            ("-", None),
            ("1e3s", None),
            ("999999999999h", None),
        ] {
            assert_eq!(parse_duration(text), nanos, "{text}");
        }
    }

    #[test]
    fn cpus_and_ratios_are_exact() {
        assert_eq!(parse_cpus("0.1"), Some(NanoCpus(100_000_000)));
        assert_eq!(
            parse_cpus("0.1").map(|cpus| cpus.to_string()),
            Some("0.1".to_owned())
        );
        assert_eq!(parse_cpus("1e-1"), Some(NanoCpus(100_000_000)));
        assert_eq!(parse_cpus("half"), None);
        assert_eq!(parse_cpus("-1"), None);
        assert_eq!(parse_ratio("0.1%"), Some(Ratio(1000)));
        assert_eq!(parse_ratio("0.001"), Some(Ratio(1000)));
        assert_eq!(parse_ratio("101%"), None);
        assert_eq!(Ratio(1000).to_string(), "0.1%");
    }

    proptest! {
        #[test]
        fn a_printed_duration_parses_back(nanos in any::<i64>().prop_filter("has a negative", |n| *n != i64::MIN)) {
            prop_assert_eq!(parse_duration(&format_duration(nanos)), Some(nanos));
        }

        #[test]
        fn printed_cpus_parse_back(nano in any::<u64>()) {
            prop_assert_eq!(parse_cpus(&NanoCpus(nano).to_string()), Some(NanoCpus(nano)));
        }

        #[test]
        fn a_printed_ratio_parses_back(parts in 0..=1_000_000_u32) {
            prop_assert_eq!(parse_ratio(&Ratio(parts).to_string()), Some(Ratio(parts)));
        }

        #[test]
        fn units_never_panic(text in "\\PC*") {
            let _ = (parse_bytes(&text), parse_duration(&text), parse_cpus(&text), parse_ratio(&text));
        }

        #[test]
        fn a_larger_unit_is_1024_times_the_smaller(number in 0_u32..1_000_000) {
            let bytes = |unit: &str| parse_bytes(&format!("{number}{unit}"));
            for pair in ["b", "k", "m", "g"].windows(2) {
                prop_assert_eq!(bytes(pair[0]).map(|n| n * 1024), bytes(pair[1]));
            }
        }
    }
}
