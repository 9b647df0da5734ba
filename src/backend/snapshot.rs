//! What a store holds, decoded into [`StoreSnapshot`]: the gateway's own files and
//! the records that every backend must be able to summarise.
//!
//! Pure: no I/O. Files that cannot be read count as absent, because a look must
//! not fail over a statistic.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;

use crate::state::desired::Route;
use crate::state::observed::Performance;
use crate::state::observed::RoutesSnapshot;
use crate::state::observed::StoreSnapshot;

/// Record: replica counts set by `scale`, a JSON map from service to
/// [`ScaleOverride`](crate::state::observed::ScaleOverride).
pub const SCALE: &str = "scale.json";
/// Record: the newest release, a JSON [`ReleaseSummary`](crate::state::observed::ReleaseSummary).
pub const RELEASE: &str = "release.json";

/// The gateway's configuration file, relative to its folder.
pub const ROUTES: &str = "routes.json";
/// Folder of the gateways' statistics, relative to their folder.
pub const STATS: &str = "stats/";

/// Puts the gateway's files (by path in its folder) and the records (by name)
/// together. `gateways` are the names of those that run: what another one wrote
/// last says nothing about now.
pub fn decode(
    files: &BTreeMap<String, Vec<u8>>,
    records: &BTreeMap<String, Vec<u8>>,
    gateways: &BTreeSet<String>,
) -> StoreSnapshot {
    let stats = files.iter().filter_map(|(path, content)| {
        let name = path.strip_prefix(STATS)?.strip_suffix(".json")?;
        gateways.contains(name).then_some(content)
    });
    StoreSnapshot {
        routes: files.get(ROUTES).and_then(|content| routes(content)),
        scale: json(records, SCALE).unwrap_or_default(),
        release: json(records, RELEASE),
        performance: performance(stats),
    }
}

fn json<T: serde::de::DeserializeOwned>(
    records: &BTreeMap<String, Vec<u8>>,
    name: &str,
) -> Option<T> {
    serde_json::from_slice(records.get(name)?).ok()
}

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
    services: BTreeMap<String, Targets>,
}

#[derive(Deserialize)]
struct Listener {
    id: String,
    protocol: String,
    #[serde(default)]
    routes: Vec<Route>,
}

#[derive(Deserialize)]
struct Targets {
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    id: String,
}

fn routes(content: &[u8]) -> Option<RoutesSnapshot> {
    let RoutesFile { config } = serde_json::from_slice(content).ok()?;
    let listeners = config
        .listeners
        .into_iter()
        .map(|one| (one.id, (one.protocol == "http", one.routes)))
        .collect();
    let targets = config
        .services
        .into_iter()
        .map(|(service, found)| {
            let aliases = found.targets.into_iter().map(|target| target.id);
            (service, aliases.collect())
        })
        .collect();
    Some(RoutesSnapshot {
        lock: config.lock,
        generation: config.generation,
        listeners,
        targets,
    })
}

#[derive(Deserialize)]
struct Stats {
    services: BTreeMap<String, ServiceStats>,
}

#[derive(Deserialize)]
struct ServiceStats {
    rps: f64,
    latency_ms: Option<Latency>,
}

#[derive(Deserialize)]
struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
}

/// Adds up the gateways: throughput is summed, latency is the worst of them, since
/// quantiles cannot be added.
fn performance<'a>(stats: impl Iterator<Item = &'a Vec<u8>>) -> BTreeMap<String, Performance> {
    let mut all: BTreeMap<String, Performance> = BTreeMap::new();
    for content in stats {
        let Ok(found) = serde_json::from_slice::<Stats>(content) else {
            continue;
        };
        for (service, one) in found.services {
            let sum = all.entry(service).or_default();
            sum.throughput_rps += one.rps;
            let Some(latency) = one.latency_ms else {
                continue;
            };
            let (p50, p95, p99) = sum.latency_ms.unwrap_or_default();
            sum.latency_ms = Some((
                p50.max(latency.p50),
                p95.max(latency.p95),
                p99.max(latency.p99),
            ));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        list.iter()
            .map(|(path, content)| ((*path).to_owned(), content.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn a_whole_store_is_summarised() {
        let stats = r#"{"name":"gateway-1","at_ms":1,"generation":2,"lock":7,"services":{
            "order":{"requests":9,"errors_5xx":0,"in_flight":0,"rps":1.5,
            "latency_ms":{"p50":1.0,"p95":2.0,"p99":3.0},"targets":{}}}}"#;
        let other = stats.replace("1.5", "0.5").replace("2.0", "9.0");
        let files = files(&[
            (
                "routes.json",
                r#"{"checksum":"sha256:0","config":{"version":1,"lock":7,"generation":2,
                "listeners":[{"id":"*:80/tcp","protocol":"http","routes":[
                {"host":null,"path":"/","service":"order","port":8000}]}],
                "services":{"order":{"targets":[{"id":"i-1","host":"i-1","weight":1}]}}}}"#,
            ),
            ("stats/gateway-1.json", stats),
            ("stats/gateway-2.json", &other),
            ("stats/gateway-3.json", &other),
        ]);
        let records = self::files(&[
            (
                SCALE,
                r#"{"order":{"replicas":3,"file_replicas":1,"by":"ana","at":5}}"#,
            ),
            (
                RELEASE,
                r#"{"number":4,"at":5,"by":"ana","outcome":"deployed"}"#,
            ),
        ]);
        let gateways = ["gateway-1", "gateway-2"].map(ToOwned::to_owned).into();
        insta::assert_yaml_snapshot!(decode(&files, &records, &gateways));
    }

    #[test]
    fn what_cannot_be_read_counts_as_absent() {
        let files = files(&[("routes.json", "{"), ("stats/gateway-1.json", "[]")]);
        let records = self::files(&[(SCALE, "7")]);
        let gateways = ["gateway-1".to_owned()].into();
        assert_eq!(
            decode(&files, &records, &gateways),
            StoreSnapshot::default()
        );
    }
}
