//! How a new revision gets its requests: all replicas alike batch by batch, or a
//! share of them stage by stage, each judged before the next.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

/// A rollout in stages: canary, or blue-green. Both are the same steps; they differ
/// in how many successors there are before the first stage, and in the last share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// What the file calls it.
    pub kind: StagedKind,
    /// The stages in order; their shares rise.
    pub stages: Vec<TrafficStage>,
    /// Header by which a request chooses its revision.
    pub header: String,
    /// Cookie that keeps a client with a revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// Host whose requests all go to the new revision while it is rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// What a stage must have shown at its end.
    pub judge: Judge,
}

/// Which kind of staged rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StagedKind {
    /// As many successors as the share of a stage needs.
    Canary,
    /// All successors before the first stage.
    BlueGreen,
}

impl StagedKind {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::BlueGreen => "blue-green",
        }
    }
}

/// One stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficStage {
    /// Share of the requests that the new revision gets, in percent.
    pub percent: u32,
    /// How long it is watched, in milliseconds.
    pub pause_ms: u64,
}

impl Staged {
    /// Successors that the share of a stage needs, of so many replicas.
    pub fn successors(&self, percent: u32, replicas: usize) -> usize {
        match self.kind {
            StagedKind::BlueGreen => replicas,
            StagedKind::Canary => {
                let percent = usize::try_from(percent).unwrap_or(100).min(100);
                (replicas * percent).div_ceil(100).clamp(1, replicas.max(1))
            }
        }
    }
}

/// How the gateways share a service's requests between its revisions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficSplit {
    /// Share of each group relative to the others; a group that is not named gets
    /// nothing.
    pub weights: BTreeMap<String, u32>,
    /// Header by which a request chooses its group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Cookie that keeps a client with a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// Host whose requests go to one group, whatever the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
}

/// A host that leads to one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The host that the client asks for.
    pub host: String,
    /// The group.
    pub group: String,
}

impl TrafficSplit {
    /// Share of a group in percent.
    pub fn percent(&self, group: &str) -> u32 {
        let all: u32 = self.weights.values().sum();
        let own = self.weights.get(group).copied().unwrap_or_default();
        (own * 100).checked_div(all).unwrap_or(0)
    }
}

/// When a new revision has failed, by the gateways' own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judge {
    /// Fewer requests than this say nothing about latency.
    pub min_requests: u64,
    /// Share of failed requests that is borne, in millionths; twice the share of the
    /// old revision is borne too.
    pub max_errors: u32,
    /// 95th percentile of latency that is borne, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<u64>,
    /// 99th percentile of latency that is borne, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<u64>,
    /// How much slower than the old revision's its 95th percentile may be, in percent.
    pub max_slowdown: u32,
}

/// Fewer failures than this are chance.
const CHANCE: u64 = 3;
/// Slower by less than this is noise, in milliseconds.
const NOISE_MS: f64 = 5.0;

/// What went through to one revision.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Requests in the stage.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// 95th and 99th percentile of latency in milliseconds, where known.
    pub latency: Option<(f64, f64)>,
}

impl Sample {
    /// Share of failed requests in millionths.
    pub fn failed_millionths(&self) -> u64 {
        self.failed
            .saturating_mul(1_000_000)
            .checked_div(self.requests)
            .unwrap_or(0)
    }
}

impl Judge {
    /// Why the new revision has failed by its errors; these count at once.
    pub fn errors(&self, new: &Sample, old: &Sample) -> Option<String> {
        let borne = u64::from(self.max_errors).max(2 * old.failed_millionths());
        (new.failed >= CHANCE && new.failed_millionths() > borne).then(|| {
            format!(
                "{} of {} requests failed ({}), of the old revision {} of {}; {} are borne",
                new.failed,
                new.requests,
                percent(new.failed_millionths()),
                old.failed,
                old.requests,
                percent(borne),
            )
        })
    }

    /// Why the new revision has failed by its latency, at the end of a stage. What
    /// the old revision does not keep either is not held against the new one.
    pub fn latency(&self, new: &Sample, old: &Sample) -> Option<String> {
        let (Some((p95, p99)), true) = (new.latency, new.requests >= self.min_requests) else {
            return None;
        };
        let before = old.latency.filter(|_| old.requests >= self.min_requests);
        let promised = [
            ("p95", p95, self.p95_ms, before.map(|(p95, _)| p95)),
            ("p99", p99, self.p99_ms, before.map(|(_, p99)| p99)),
        ];
        for (name, found, promise, old) in promised {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds, not years")]
            let Some(promise) = promise.map(|limit| limit as f64) else {
                continue;
            };
            if found > promise && old.is_none_or(|old| old <= promise || found > old + NOISE_MS) {
                return Some(format!(
                    "its {name} latency is {found:.0} ms, and x-shop.slo promises {promise:.0} ms"
                ));
            }
        }
        let (old_p95, _) = before?;
        let borne = old_p95 * f64::from(self.max_slowdown) / 100.0 + NOISE_MS;
        (p95 > borne).then(|| {
            format!(
                "its p95 latency is {p95:.0} ms, that of the old revision {old_p95:.0} ms; {borne:.0} ms are borne"
            )
        })
    }
}

/// Millionths as percent, with up to two digits.
fn percent(millionths: u64) -> String {
    let hundredths = millionths / 100;
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match rest {
        0 => format!("{whole} %"),
        rest => format!("{whole}.{rest:02} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUDGE: Judge = Judge {
        min_requests: 100,
        max_errors: 10_000,
        p95_ms: None,
        p99_ms: Some(200),
        max_slowdown: 200,
    };

    fn sample(requests: u64, failed: u64, latency: Option<(f64, f64)>) -> Sample {
        Sample {
            requests,
            failed,
            latency,
        }
    }

    #[test]
    fn errors_count_against_what_is_borne_and_against_the_old_revision() {
        let old = sample(1000, 0, None);
        assert_eq!(JUDGE.errors(&sample(2, 2, None), &old), None, "chance");
        assert_eq!(JUDGE.errors(&sample(1000, 10, None), &old), None, "borne");
        assert_eq!(
            JUDGE.errors(&sample(1000, 11, None), &old).as_deref(),
            Some(
                "11 of 1000 requests failed (1.10 %), of the old revision 0 of 1000; 1 % are borne"
            )
        );
        let ill = sample(1000, 50, None);
        assert_eq!(JUDGE.errors(&sample(100, 10, None), &ill), None, "no worse");
        assert!(JUDGE.errors(&sample(100, 11, None), &ill).is_some());
    }

    #[test]
    fn latency_counts_against_the_promise_and_the_old_revision() {
        let old = sample(1000, 0, Some((20.0, 40.0)));
        let new = |p95, p99| sample(100, 0, Some((p95, p99)));
        assert_eq!(JUDGE.latency(&new(45.0, 100.0), &old), None);
        assert_eq!(
            JUDGE.latency(&new(46.0, 100.0), &old).as_deref(),
            Some("its p95 latency is 46 ms, that of the old revision 20 ms; 45 ms are borne")
        );
        assert_eq!(
            JUDGE.latency(&new(20.0, 201.0), &old).as_deref(),
            Some("its p99 latency is 201 ms, and x-shop.slo promises 200 ms")
        );
        let slow = sample(1000, 0, Some((100.0, 300.0)));
        assert_eq!(JUDGE.latency(&new(100.0, 304.0), &slow), None, "no worse");
        let thin = sample(99, 0, Some((900.0, 900.0)));
        assert_eq!(JUDGE.latency(&thin, &old), None, "too few to tell");
    }

    #[test]
    fn a_share_needs_at_least_one_successor() {
        let staged = |kind| Staged {
            kind,
            stages: Vec::new(),
            header: String::new(),
            cookie: None,
            preview: None,
            judge: JUDGE,
        };
        let canary = staged(StagedKind::Canary);
        let needed = [0, 10, 34, 50, 100].map(|percent| canary.successors(percent, 3));
        assert_eq!(needed, [1, 1, 2, 2, 3]);
        assert_eq!(staged(StagedKind::BlueGreen).successors(0, 3), 3);
    }
}
