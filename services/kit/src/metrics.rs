//! Counters, gauges and histograms in Prometheus' text format.
//!
//! One lock around ordered maps: the services handle thousands of requests a second, not millions, and the output is in a
//! stable order.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// The metrics of a process; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<&'static str, Family>>>);

#[derive(Debug)]
struct Family {
    help: &'static str,
    series: BTreeMap<String, Series>,
}

#[derive(Debug)]
enum Series {
    Counter(u64),
    Gauge(i64),
    Histogram {
        counts: [u64; BUCKETS.len()],
        total: u64,
        sum: Duration,
    },
}

impl Series {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram { .. } => "histogram",
        }
    }
}

impl Metrics {
    /// Adds to a counter.
    pub fn count(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)], by: u64) {
        self.change(name, help, labels, Series::Counter(0), |series| {
            if let Series::Counter(value) = series {
                *value += by;
            }
        });
    }

    /// Sets a gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)], to: i64) {
        self.change(name, help, labels, Series::Gauge(0), |series| {
            *series = Series::Gauge(to);
        });
    }

    /// Adds to a gauge.
    pub fn gauge_by(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        by: i64,
    ) {
        self.change(name, help, labels, Series::Gauge(0), |series| {
            if let Series::Gauge(value) = series {
                *value += by;
            }
        });
    }

    /// Notes how long something took.
    pub fn observe(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        took: Duration,
    ) {
        let empty = Series::Histogram {
            counts: [0; BUCKETS.len()],
            total: 0,
            sum: Duration::ZERO,
        };
        self.change(name, help, labels, empty, |series| {
            if let Series::Histogram { counts, total, sum } = series {
                *total += 1;
                *sum += took;
                for (count, bound) in counts.iter_mut().zip(BUCKETS) {
                    *count += u64::from(took.as_secs_f64() <= bound);
                }
            }
        });
    }

    /// Writes everything in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for (name, family) in self.lock().iter() {
            let type_name = family
                .series
                .values()
                .next()
                .map_or("untyped", Series::type_name);
            _ = writeln!(
                out,
                "# HELP {name} {}\n# TYPE {name} {type_name}",
                family.help
            );
            for (labels, series) in &family.series {
                render_series(&mut out, name, labels, series);
            }
        }
        out
    }

    fn change(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        empty: Series,
        change: impl FnOnce(&mut Series),
    ) {
        let mut families = self.lock();
        let family = families.entry(name).or_insert_with(|| Family {
            help,
            series: BTreeMap::new(),
        });
        change(family.series.entry(label_text(labels)).or_insert(empty));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn label_text(labels: &[(&str, &str)]) -> String {
    let escape = |value: &str| {
        value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    };
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
        .collect();
    pairs.join(",")
}

fn render_series(out: &mut String, name: &str, labels: &str, series: &Series) {
    let braced = if labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    };
    match series {
        Series::Counter(value) => _ = writeln!(out, "{name}{braced} {value}"),
        Series::Gauge(value) => _ = writeln!(out, "{name}{braced} {value}"),
        Series::Histogram { counts, total, sum } => {
            let separator = if labels.is_empty() { "" } else { "," };
            for (count, bound) in counts.iter().zip(BUCKETS) {
                _ = writeln!(
                    out,
                    "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {count}"
                );
            }
            _ = writeln!(
                out,
                "{name}_bucket{{{labels}{separator}le=\"+Inf\"}} {total}"
            );
            _ = writeln!(
                out,
                "{name}_sum{braced} {}\n{name}_count{braced} {total}",
                sum.as_secs_f64()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_format() {
        let metrics = Metrics::default();
        metrics.count("hits_total", "Hits.", &[("route", "/a\"b")], 2);
        metrics.gauge_by("busy", "Busy.", &[], 3);
        metrics.gauge_by("busy", "Busy.", &[], -1);
        metrics.observe("took_seconds", "Took.", &[], Duration::from_millis(30));
        let text = metrics.render();
        assert!(text.starts_with("# HELP busy Busy.\n# TYPE busy gauge\nbusy 2\n# HELP hits_total Hits.\n# TYPE hits_total counter\n"));
        assert!(text.contains("hits_total{route=\"/a\\\"b\"} 2\n"));
        assert!(
            text.contains(
                "took_seconds_bucket{le=\"0.025\"} 0\ntook_seconds_bucket{le=\"0.05\"} 1\n"
            )
        );
        assert!(text.ends_with(
            "took_seconds_bucket{le=\"+Inf\"} 1\ntook_seconds_sum 0.03\ntook_seconds_count 1\n"
        ));
    }
}
