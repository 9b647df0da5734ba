//! Settings from the environment: the only place that reads it.
//!
//! A setting that does not parse ends the start with its name and value; nothing falls back silently.
//! Test it with [`Env::of`], which reads no process environment.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The environment of the process, or of a test.
#[derive(Debug, Clone, Default)]
pub struct Env(BTreeMap<String, String>);

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{name}={value:?} is not {expected}")]
pub struct BadSetting {
    name: String,
    value: String,
    expected: &'static str,
}

impl BadSetting {
    /// Names the setting, what it holds, and what it should hold ("a port or an address").
    pub fn new(name: &str, value: &str, expected: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        }
    }
}

impl Env {
    /// Takes the environment of this process. Values that are not UTF-8 are left out.
    pub fn process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    /// Takes the given pairs, for tests.
    pub fn of<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
    }

    /// Returns a setting; an empty one counts as absent, as Compose files write it so.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Returns a setting, or its default.
    pub fn get_or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.get(name).unwrap_or(default)
    }

    /// Returns a whole number.
    pub fn number(&self, name: &str, default: i64) -> Result<i64, BadSetting> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value
                .parse()
                .map_err(|_| BadSetting::new(name, value, "a whole number")),
        }
    }

    /// Returns a duration, written `250ms`, `10s`, `15m` or `24h`.
    pub fn duration(&self, name: &str, default: Duration) -> Result<Duration, BadSetting> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => duration(value).ok_or_else(|| {
                BadSetting::new(name, value, "a duration such as 250ms, 10s, 15m or 24h")
            }),
        }
    }

    /// Returns the entries of a list that is written with commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        let entries = self.get(name).unwrap_or_default().split(',');
        entries
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Returns the address to listen on: a port alone means every IPv4 address.
    pub fn listen(&self, name: &str, default: u16) -> Result<SocketAddr, BadSetting> {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let Some(value) = self.get(name) else {
            return Ok(SocketAddr::new(any, default));
        };
        let port = value.parse().map(|port| SocketAddr::new(any, port));
        port.or_else(|_| value.parse())
            .map_err(|_| BadSetting::new(name, value, "a port or an address with a port"))
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("15m"), Some(Duration::from_mins(15)));
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_port_an_address_or_an_error_that_names_the_setting() {
        let env = Env::of([
            ("A", "81"),
            ("B", "127.0.0.1:82"),
            ("C", "eighty"),
            ("D", ""),
        ]);
        assert_eq!(env.listen("A", 1).unwrap().to_string(), "0.0.0.0:81");
        assert_eq!(env.listen("B", 1).unwrap().to_string(), "127.0.0.1:82");
        assert_eq!(env.listen("D", 1).unwrap().to_string(), "0.0.0.0:1");
        assert_eq!(
            env.listen("C", 1).unwrap_err().to_string(),
            "C=\"eighty\" is not a port or an address with a port"
        );
    }
}
