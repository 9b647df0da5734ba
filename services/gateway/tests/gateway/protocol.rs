//! Every line as it goes over the wire. A change here breaks the peers of other
//! versions: add fields, never rename them.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;
use shop_gateway::protocol::Answer;
use shop_gateway::protocol::Applied;
use shop_gateway::protocol::Config;
use shop_gateway::protocol::Draining;
use shop_gateway::protocol::Fault;
use shop_gateway::protocol::FaultKind;
use shop_gateway::protocol::Hello;
use shop_gateway::protocol::Latency;
use shop_gateway::protocol::Listen;
use shop_gateway::protocol::Listener;
use shop_gateway::protocol::Op;
use shop_gateway::protocol::Outcome;
use shop_gateway::protocol::Probed;
use shop_gateway::protocol::Protocol;
use shop_gateway::protocol::Request;
use shop_gateway::protocol::Route;
use shop_gateway::protocol::Service;
use shop_gateway::protocol::ServiceStats;
use shop_gateway::protocol::Stats;
use shop_gateway::protocol::Target;
use shop_gateway::protocol::TargetStats;
use shop_gateway::protocol::Upgraded;

/// The line, after it was read back and found the same.
fn line<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) -> String {
    let text = serde_json::to_string(value).expect("JSON");
    let back: T = serde_json::from_str(&text).expect("its own line");
    assert_eq!(&back, value);
    text
}

fn config() -> Config {
    Config {
        version: 1,
        lock: 7,
        generation: 3,
        listeners: vec![Listener {
            id: "127.0.0.1:8000/tcp".to_owned(),
            protocol: Protocol::Http,
            port: None,
            bind: None,
            routes: vec![Route {
                host: Some("shop.local".to_owned()),
                path: "/api".to_owned(),
                service: "order".to_owned(),
                port: 8000,
                group: None,
            }],
        }],
        services: [(
            "order".to_owned(),
            Service {
                targets: vec![Target {
                    id: "i-3f9a".to_owned(),
                    host: "i-3f9a".to_owned(),
                    weight: 1,
                    group: None,
                }],
                ..Service::default()
            },
        )]
        .into(),
    }
}

#[test]
fn requests() {
    let ops = [
        Op::Hello,
        Op::Apply { config: config() },
        Op::Drain {
            target: "i-3f9a".to_owned(),
            deadline_ms: 10_000,
        },
        Op::Probe {
            target: "i-3f9a".to_owned(),
            port: 8000,
            http: Some("/readyz".to_owned()),
            deadline_ms: 30_000,
        },
        Op::Cancel { request: 4 },
        Op::Stats,
        Op::Upgrade {
            program: "0123abcd".to_owned(),
            deadline_ms: 10_000,
        },
    ];
    let mut lines = String::new();
    for (id, op) in (1..).zip(ops) {
        lines.push_str(&line(&Request { id, op }));
        lines.push('\n');
    }
    assert_snapshot!(lines, @r#"
    {"id":1,"op":"hello"}
    {"id":2,"op":"apply","config":{"version":1,"lock":7,"generation":3,"listeners":[{"id":"127.0.0.1:8000/tcp","protocol":"http","routes":[{"host":"shop.local","path":"/api","service":"order","port":8000}]}],"services":{"order":{"targets":[{"id":"i-3f9a","host":"i-3f9a","weight":1}]}}}}
    {"id":3,"op":"drain","target":"i-3f9a","deadline_ms":10000}
    {"id":4,"op":"probe","target":"i-3f9a","port":8000,"http":"/readyz","deadline_ms":30000}
    {"id":5,"op":"cancel","request":4}
    {"id":6,"op":"stats"}
    {"id":7,"op":"upgrade","program":"0123abcd","deadline_ms":10000}
    "#);
}

#[test]
fn answers() {
    let hello = Hello {
        name: "gateway-1".to_owned(),
        version: "0.1.0".to_owned(),
        protocol: 1,
        lock: 7,
        generation: 3,
        listens: vec![Listen {
            id: "127.0.0.1:8000/tcp".to_owned(),
            port: 18_000,
        }],
        program: Some("0123abcd".to_owned()),
    };
    let upgraded = Upgraded { cut: 2 };
    let applied = Applied {
        generation: 3,
        draining: vec![Draining {
            target: "i-3f9a".to_owned(),
            in_flight: 2,
        }],
    };
    let probed = Probed {
        attempts: 3,
        elapsed_ms: 41,
    };
    let contents = [
        (
            serde_json::to_value(hello),
            json!({
                "name": "gateway-1", "version": "0.1.0", "protocol": 1, "lock": 7, "generation": 3,
                "listens": [{"id": "127.0.0.1:8000/tcp", "port": 18_000}],
                "program": "0123abcd",
            }),
        ),
        (serde_json::to_value(upgraded), json!({"cut": 2})),
        (
            serde_json::to_value(applied),
            json!({"generation": 3, "draining": [{"target": "i-3f9a", "in_flight": 2}]}),
        ),
        (
            serde_json::to_value(probed),
            json!({"attempts": 3, "elapsed_ms": 41}),
        ),
    ];
    for (content, expected) in contents {
        let outcome = Outcome::Ok(content.expect("JSON"));
        let line = line(&Answer { id: 1, outcome });
        // As values: the order of an answer's fields is not fixed.
        let value: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value, json!({"id": 1, "ok": expected}));
    }
}

#[test]
fn faults() {
    let mut lines = String::new();
    for kind in [
        FaultKind::Stale,
        FaultKind::Invalid,
        FaultKind::Timeout,
        FaultKind::Cancelled,
        FaultKind::Unsupported,
        FaultKind::Internal,
    ] {
        let outcome = Outcome::Error(Fault::new(kind, "why"));
        lines.push_str(&line(&Answer { id: 9, outcome }));
        lines.push('\n');
    }
    assert_snapshot!(lines, @r#"
    {"id":9,"error":{"kind":"stale","message":"why"}}
    {"id":9,"error":{"kind":"invalid","message":"why"}}
    {"id":9,"error":{"kind":"timeout","message":"why"}}
    {"id":9,"error":{"kind":"cancelled","message":"why"}}
    {"id":9,"error":{"kind":"unsupported","message":"why"}}
    {"id":9,"error":{"kind":"internal","message":"why"}}
    "#);
}

#[test]
fn statistics() {
    let service = ServiceStats {
        requests: 120,
        errors_5xx: 1,
        in_flight: 2,
        rps: 12.5,
        latency_ms: Some(Latency {
            p50: 1.2,
            p95: 3.4,
            p99: 5.6,
        }),
        targets: [(
            "i-3f9a".to_owned(),
            TargetStats {
                in_flight: 2,
                requests: 120,
                errors: 1,
                ejected: false,
                healthy: None,
            },
        )]
        .into(),
        groups: BTreeMap::new(),
    };
    let stats = Stats {
        name: "gateway-1".to_owned(),
        at_ms: 1_700_000_000_000,
        generation: 3,
        lock: 7,
        program: None,
        refused: None,
        services: [
            ("order".to_owned(), service),
            ("quiet".to_owned(), ServiceStats::default()),
        ]
        .into(),
    };
    assert_snapshot!(line(&stats), @r#"{"name":"gateway-1","at_ms":1700000000000,"generation":3,"lock":7,"services":{"order":{"requests":120,"errors_5xx":1,"in_flight":2,"rps":12.5,"latency_ms":{"p50":1.2,"p95":3.4,"p99":5.6},"targets":{"i-3f9a":{"in_flight":2,"requests":120,"errors":1,"ejected":false}}},"quiet":{"requests":0,"errors_5xx":0,"in_flight":0,"rps":0.0,"latency_ms":null,"targets":{}}}}"#);
}

#[test]
fn what_a_later_version_adds_is_ignored_and_what_is_optional_may_be_absent() {
    let request: Request = serde_json::from_str(
        r#"{"id":1,"op":"probe","target":"a","port":1,"deadline_ms":5,"colour":"red"}"#,
    )
    .expect("a request");
    assert!(matches!(request.op, Op::Probe { http: None, .. }));
    let config: Config = serde_json::from_str(
        r#"{"version":1,"lock":1,"generation":1,"later":{},
            "listeners":[{"id":"l","protocol":"tcp","routes":[{"service":"a","port":1}]}],
            "services":{"a":{"targets":[{"id":"x","host":"x"}]}}}"#,
    )
    .expect("a configuration");
    assert_eq!(config.listeners[0].routes[0].path, "/");
    assert_eq!(config.services["a"].targets[0].weight, 1);
    let answer: Answer =
        serde_json::from_str(r#"{"id":1,"error":{"kind":"of-a-later-version","message":"m"}}"#)
            .expect("an answer");
    let fault = answer.decode::<Hello>().expect_err("a fault");
    assert_eq!(fault.kind, FaultKind::Internal);
}
