//! What a plain scalar means, by the rules of yaml.v3: YAML 1.2 with the
//! octal numbers of 1.1, and without its `yes` and `no`.

use super::Value;

/// The value of a plain scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Value::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return Value::Text(text.to_owned());
    }
    if is_time(text) {
        return Value::Time(text.to_owned());
    }
    let digits = text.replace('_', "");
    if let Some(number) = integer(&digits) {
        return Value::Int(number);
    }
    if is_float(&digits)
        && let Ok(number) = digits.parse::<f64>()
    {
        return Value::Float(number);
    }
    Value::Text(text.to_owned())
}

/// A whole number with the prefixes `0x`, `0o`, `0b` and the octal `0` of
/// YAML 1.1.
fn integer(digits: &str) -> Option<i128> {
    let (negative, rest) = match digits.as_bytes().first()? {
        b'-' => (true, &digits[1..]),
        b'+' => (false, &digits[1..]),
        _ => (false, digits),
    };
    let (radix, rest) = match rest.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &rest[2..]),
        Some("0o") => (8, &rest[2..]),
        Some("0b") => (2, &rest[2..]),
        _ if rest.len() > 1 && rest.starts_with('0') => (8, &rest[1..]),
        _ => (10, rest),
    };
    if rest.starts_with(['+', '-']) {
        return None;
    }
    let number = i128::from_str_radix(rest, radix).ok()?;
    let number = if negative { -number } else { number };
    (i128::from(i64::MIN)..=i128::from(u64::MAX))
        .contains(&number)
        .then_some(number)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_ok =
        all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_ok = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_ok && exponent_ok
}

/// `2026-11-11`, alone or with a time behind `T`, `t` or spaces.
fn is_time(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let day_length = rest
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(rest.len());
    let (day, time) = rest.split_at(day_length);
    let in_range = |text: &str, max: u32| {
        text.len() <= 2 && text.parse::<u32>().is_ok_and(|n| n >= 1 && n <= max)
    };
    if year.len() != 4 || !digits(year) || !in_range(month, 12) || !in_range(day, 31) {
        return false;
    }
    if time.is_empty() {
        return month.len() == 2 && day.len() == 2;
    }
    let Some(clock) = time.strip_prefix(['T', 't', ' ']) else {
        return false;
    };
    let mut parts = clock.trim_start().splitn(3, ':');
    let hour_and_minute = parts.next().is_some_and(digits) && parts.next().is_some_and(digits);
    hour_and_minute
        && parts
            .next()
            .is_some_and(|seconds| seconds.starts_with(|first: char| first.is_ascii_digit()))
}

/// A float as Go's `%v` prints it: the shortest digits, with an exponent below
/// 1e-4 and from 1e6 on.
pub(crate) fn go_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_yaml_v3() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (given, wanted) in [
            ("0440", Value::Int(288)),
            ("0o440", Value::Int(288)),
            ("0x1F", Value::Int(31)),
            ("0b11", Value::Int(3)),
            ("1_000", Value::Int(1000)),
            ("-7", Value::Int(-7)),
            ("+7", Value::Int(7)),
            (
                "18446744073709551615",
                Value::Int(18_446_744_073_709_551_615),
            ),
            ("1.50", Value::Float(1.5)),
            (".5", Value::Float(0.5)),
            ("1e6", Value::Float(1e6)),
            ("089", Value::Float(89.0)),
            ("3.8.1", text("3.8.1")),
            ("1:30", text("1:30")),
            ("yes", text("yes")),
            ("off", text("off")),
            ("0x", text("0x")),
            ("-", text("-")),
            ("--1", text("--1")),
            ("1e", text("1e")),
            ("8000-8010", text("8000-8010")),
            ("2026-11-11", Value::Time("2026-11-11".to_owned())),
            ("2026-1-1", text("2026-1-1")),
            ("2026-13-11", text("2026-13-11")),
            (
                "2026-11-11T10:00:00Z",
                Value::Time("2026-11-11T10:00:00Z".to_owned()),
            ),
            ("2026-11-11T00:00+08:00", text("2026-11-11T00:00+08:00")),
            ("~", Value::Null),
            ("True", Value::Bool(true)),
        ] {
            assert_eq!(resolve(given), wanted, "{given}");
        }
    }

    #[test]
    fn floats_print_as_go_prints_them() {
        for (given, wanted) in [
            (1.5, "1.5"),
            (0.00001, "1e-05"),
            (0.0001, "0.0001"),
            (1e21, "1e+21"),
            (123_456_789.0, "1.23456789e+08"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(go_float(given), wanted);
        }
    }
}
