//! Bytes, CPUs, ratios and durations: parse and print, as Docker means them.

use std::fmt;

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
        let whole = self.0 / 1_000_000_000;
        let rest = format!("{:09}", self.0 % 1_000_000_000);
        match rest.trim_end_matches('0') {
            "" => write!(out, "{whole}"),
            digits => write!(out, "{whole}.{digits}"),
        }
    }
}
