//! What the files of a stack's store mean: bytes in, a [`StoreSnapshot`] out.
//!
//! A file that cannot be read counts as absent: the store can be rebuilt from what
//! runs, and a torn file must never stop a deploy.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::desired::HealthCheck;
use super::desired::Route;
use super::history::Head;
use super::observed::Performance;
use super::observed::RoutesSnapshot;
use super::observed::ScaleOverride;
use super::observed::StoreSnapshot;
use super::strategy::Preview;
use super::strategy::TrafficSplit;

/// Record of the scale overrides.
pub const SCALE: &str = "scale.json";
/// Record of the head of the history.
pub const HEAD: &str = "head.json";

/// Reads a store: the records, the gateway's `routes.json`, and the `stats` files
/// of its gateways.
pub fn snapshot(
    records: &BTreeMap<String, Vec<u8>>,
    routes: Option<&[u8]>,
    stats: &[&[u8]],
) -> StoreSnapshot {
    StoreSnapshot {
        routes: routes.and_then(parse_routes),
        scale: parse::<BTreeMap<String, ScaleOverride>>(records, SCALE).unwrap_or_default(),
        head: parse::<Head>(records, HEAD).unwrap_or_default(),
        performance: performance(stats),
    }
}

/// The gateway's configuration file, `{checksum, config}`.
#[derive(Deserialize)]
struct RoutesFile {
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    lock: u64,
    generation: u64,
    #[serde(default)]
    listeners: Vec<Listener>,
    #[serde(default)]
    services: BTreeMap<String, Service>,
}

#[derive(Deserialize)]
struct Listener {
    id: String,
    protocol: String,
    #[serde(default)]
    routes: Vec<PinnedRoute>,
}

/// A route, and the group it is pinned to, where it is a preview.
#[derive(Deserialize)]
struct PinnedRoute {
    #[serde(flatten)]
    route: Route,
    group: Option<String>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    targets: Vec<Target>,
    split: Option<TrafficSplit>,
    health: Option<HealthCheck>,
}

#[derive(Deserialize)]
struct Target {
    id: String,
}

#[derive(Deserialize)]
struct Stats {
    #[serde(default)]
    services: BTreeMap<String, ServiceStats>,
}

#[derive(Deserialize)]
struct ServiceStats {
    #[serde(default)]
    rps: f64,
    latency_ms: Option<Latency>,
}

#[derive(Deserialize)]
struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
}

/// The program that a gateway says it runs, in the file of its statistics, and the one
/// that could not take over from that.
pub fn programs(stats: &[u8]) -> (Option<String>, Option<String>) {
    #[derive(Default, Deserialize)]
    struct Said {
        program: Option<String>,
        refused: Option<String>,
    }
    let said: Said = serde_json::from_slice(stats).unwrap_or_default();
    (said.program, said.refused)
}

fn parse<T: DeserializeOwned>(records: &BTreeMap<String, Vec<u8>>, name: &str) -> Option<T> {
    serde_json::from_slice(records.get(name)?).ok()
}

fn parse_routes(bytes: &[u8]) -> Option<RoutesSnapshot> {
    let file: RoutesFile = serde_json::from_slice(bytes).ok()?;
    let mut found = RoutesSnapshot {
        lock: file.config.lock,
        generation: file.config.generation,
        ..RoutesSnapshot::default()
    };
    for (name, one) in file.config.services {
        let ids = one.targets.into_iter().map(|target| target.id);
        found.targets.insert(name.clone(), ids.collect());
        if let Some(check) = one.health {
            found.checks.insert(name.clone(), check);
        }
        if let Some(split) = one.split {
            found.splits.insert(name, split);
        }
    }
    for listener in file.config.listeners {
        let mut routes = Vec::new();
        for PinnedRoute { route, group } in listener.routes {
            match (group, route.host) {
                (Some(group), Some(host)) => {
                    if let Some(split) = found.splits.get_mut(&route.service) {
                        split.preview = Some(Preview { host, group });
                    }
                }
                (_, host) => routes.push(Route { host, ..route }),
            }
        }
        let http = listener.protocol == "http";
        found.listeners.insert(listener.id, (http, routes));
    }
    Some(found)
}

/// Throughput adds up over gateways; of latencies the slowest gateway's count.
fn performance(stats: &[&[u8]]) -> BTreeMap<String, Performance> {
    let mut all: BTreeMap<String, Performance> = BTreeMap::new();
    for stats in stats
        .iter()
        .filter_map(|bytes| serde_json::from_slice::<Stats>(bytes).ok())
    {
        for (service, found) in stats.services {
            let entry = all.entry(service).or_default();
            entry.throughput_rps += found.rps;
            if let Some(new) = found.latency_ms {
                let (p50, p95, p99) = entry.latency_ms.unwrap_or_default();
                entry.latency_ms = Some((p50.max(new.p50), p95.max(new.p95), p99.max(new.p99)));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_and_numbers_of_gateways_are_read() {
        let routes = br#"{"checksum":"x","config":{"version":1,"lock":3,"generation":9,
            "listeners":[{"id":"*:80/tcp","protocol":"http",
                "routes":[{"host":null,"path":"/","service":"web","port":8000},
                    {"host":"next.local","path":"/","service":"web","port":8000,"group":"b"}]}],
            "services":{"web":{"targets":[{"id":"i-1","host":"i-1","weight":1}],
                "split":{"weights":{"a":90,"b":10},"header":"X-Shop-Revision"}}}}}"#;
        let slow = br#"{"services":{"web":{"rps":2.5,"latency_ms":{"p50":2,"p95":4,"p99":9}}}}"#;
        let idle = br#"{"services":{"web":{"rps":0.5,"latency_ms":null}}}"#;
        let found = snapshot(&BTreeMap::new(), Some(routes), &[slow, idle]);
        let routes = found.routes.expect("routes");
        assert_eq!((routes.lock, routes.generation), (3, 9));
        assert!(routes.listeners["*:80/tcp"].0);
        assert!(routes.targets["web"].contains("i-1"));
        // A preview is no route of the file.
        assert_eq!(routes.listeners["*:80/tcp"].1.len(), 1);
        let split = &routes.splits["web"];
        assert_eq!((split.percent("a"), split.percent("b")), (90, 10));
        let preview = split.preview.as_ref().expect("preview");
        assert_eq!((&*preview.host, &*preview.group), ("next.local", "b"));
        assert_eq!(
            found.performance["web"],
            Performance {
                throughput_rps: 3.0,
                latency_ms: Some((2.0, 4.0, 9.0)),
            }
        );
    }

    #[test]
    fn a_torn_file_counts_as_absent() {
        let records = BTreeMap::from([(SCALE.to_owned(), b"{\"order\":{\"rep".to_vec())]);
        assert_eq!(
            snapshot(&records, Some(b"{\"config\":"), &[b"x"]),
            StoreSnapshot::default()
        );
    }
}
