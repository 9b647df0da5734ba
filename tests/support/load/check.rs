//! The clients' ledger against the replicas': what was lost, what was done twice, and
//! whether the run proves anything.

use std::collections::BTreeMap;
use std::collections::HashMap;

/// What a comparison found.
#[derive(Default)]
pub(crate) struct Found {
    requests: usize,
    streams: usize,
    rate: f64,
    /// How the first of the lost ones ended, at most ten.
    examples: Vec<String>,
    lost: usize,
    /// Answered well, and no replica noted it.
    unknown: usize,
    /// Requests that may be done once only and were done more often.
    duplicated: usize,
    /// The same for requests that may be repeated, for the record.
    repeated: usize,
    switches: usize,
    /// Requests in flight at the switch that had fewest.
    least_in_flight: usize,
    replicas: usize,
    /// Slowest answer, in milliseconds.
    slowest_ms: u128,
}

impl Found {
    /// 0 without loss or duplicate, 1 with one, 2 where nothing was proved.
    pub(crate) fn verdict(&self) -> u8 {
        if self.lost + self.unknown + self.duplicated > 0 {
            1
        } else if self.requests == 0 || self.switches == 0 || self.least_in_flight == 0 {
            2
        } else {
            0
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "requests": self.requests,
            "streams": self.streams,
            "rate": self.rate.round(),
            "lost": self.lost,
            "unknown": self.unknown,
            "duplicated": self.duplicated,
            "repeated_gets": self.repeated,
            "switches": self.switches,
            "least_in_flight": self.least_in_flight,
            "replicas": self.replicas,
            "slowest_ms": self.slowest_ms,
            "examples": self.examples,
        })
    }
}

/// The ledgers of the replicas: how often each id was done, and by how many of them.
pub(crate) fn replicas(folder: &str) -> (HashMap<String, usize>, usize) {
    let mut done = HashMap::new();
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of ledgers") {
        let path = entry.expect("a ledger").path();
        let text = std::fs::read_to_string(path).expect("a readable ledger");
        count += 1;
        for id in text.lines() {
            *done.entry(id.to_ascii_lowercase()).or_default() += 1;
        }
    }
    (done, count)
}

/// Compares.
pub(crate) fn check(
    ledger: &str,
    (done, replicas): &(HashMap<String, usize>, usize),
    switches: &str,
) -> Found {
    let mut found = Found {
        replicas: *replicas,
        ..Found::default()
    };
    // How many requests began and ended in each millisecond.
    let mut in_flight: BTreeMap<u128, i64> = BTreeMap::new();
    for line in ledger.lines() {
        let mut words = line.splitn(5, ' ');
        let mut word = || words.next().expect("five words a line");
        let (kind, id) = (word(), word());
        let times: [u128; 2] = [word(), word()].map(|time| time.parse().expect("a time"));
        let outcome = word();
        if outcome != "ok" {
            found.lost += 1;
            if found.examples.len() < 10 {
                found.examples.push(line.to_owned());
            }
        }
        if !matches!(kind, "GET" | "POST") {
            found.streams += 1;
            continue;
        }
        found.requests += 1;
        found.slowest_ms = found.slowest_ms.max(times[1] - times[0]);
        *in_flight.entry(times[0] + 1).or_default() += 1;
        *in_flight.entry(times[1]).or_default() -= 1;
        match (kind, done.get(&id.to_ascii_lowercase())) {
            (_, None) if outcome == "ok" => found.unknown += 1,
            ("POST", Some(2..)) => found.duplicated += 1,
            (_, Some(2..)) => found.repeated += 1,
            _ => {}
        }
    }
    if let (Some((first, _)), Some((last, _))) =
        (in_flight.first_key_value(), in_flight.last_key_value())
    {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = found.requests as f64 * 1000.0 / (last - first).max(1) as f64;
        found.rate = rate;
    }
    let mut running = 0;
    for count in in_flight.values_mut() {
        running += *count;
        *count = running;
    }
    let running_at = |time: u128| {
        let before = in_flight.range(..=time).next_back();
        before.map_or(0, |(_, count)| usize::try_from(*count).unwrap_or(0))
    };
    // The last change may go on after the last request.
    let last = in_flight.last_key_value().map_or(0, |(time, _)| *time);
    let times = switches
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .filter(|time| *time < last);
    let flights: Vec<usize> = times.map(running_at).collect();
    found.switches = flights.len();
    found.least_in_flight = flights.into_iter().min().unwrap_or(0);
    found
}
