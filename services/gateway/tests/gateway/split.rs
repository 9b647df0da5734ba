//! Two revisions that share a service's requests.

use serde_json::Value;
use serde_json::json;
use shop_gateway::protocol::Config;

use crate::support::HTTP;
use crate::support::Rig;
use crate::support::TCP;
use crate::support::client::Client;
use crate::support::client::Got;
use crate::support::client::full;
use crate::support::client::request;
use crate::support::replica::PORT;
use crate::support::replica::Replica;
use crate::support::replica::free_host;

/// `order` at these hosts, each of a group, with this split; `next.local` is a preview.
fn config(generation: u64, hosts: &[(String, &str)], split: &Value) -> Config {
    let targets: Vec<Value> = hosts
        .iter()
        .map(|(host, group)| json!({"id": format!("i-{host}"), "host": host, "group": group}))
        .collect();
    serde_json::from_value(json!({
        "version": 1, "lock": 1, "generation": generation,
        "listeners": [
            {"id": HTTP, "protocol": "http", "routes": [
                {"service": "order", "port": PORT},
                {"host": "next.local", "service": "order", "port": PORT, "group": "new"},
            ]},
            {"id": TCP, "protocol": "tcp", "routes": [{"service": "order", "port": PORT}]},
        ],
        "services": {"order": {"targets": targets, "split": split}},
    }))
    .expect("a configuration")
}

/// One request with this header.
async fn ask(rig: &Rig, name: &str, value: &str) -> Got {
    let mut request = request("GET", "/", full(""));
    let value = value.parse().expect("a value");
    let name: hyper::header::HeaderName = name.parse().expect("a name");
    request.headers_mut().insert(name, value);
    let mut client = Client::connect(rig.http()).await;
    let response = client.send(request).await.expect("an answer");
    Got::read(response).await.expect("a body")
}

#[tokio::test]
async fn shares_are_exact_and_counted_by_group() {
    let rig = Rig::start();
    let (old, new) = (Replica::start().await, Replica::start().await);
    let hosts = [(old.host(), "old"), (new.host(), "new")];
    let split = json!({"weights": {"old": 9, "new": 1}});
    let applied = rig.control.apply(&config(1, &hosts, &split)).await;
    applied.expect("applied");
    let mut client = Client::connect(rig.http()).await;
    for _ in 0..100 {
        assert_eq!(client.get("/").await.expect("an answer").status, 200);
    }
    assert_eq!((old.requests(), new.requests()), (90, 10));
    let stats = rig.stats().await;
    let order = &stats.services["order"];
    let group = |name: &str| {
        let counts = &order.groups[name];
        (
            counts.requests,
            counts.errors_5xx,
            counts.latency_ms.is_some(),
        )
    };
    assert_eq!(order.requests, 100);
    assert_eq!((group("old"), group("new")), ((90, 0, true), (10, 0, true)));
    // The counters of a group live on while it has a target.
    let split = json!({"weights": {"new": 1}});
    let applied = rig.control.apply(&config(2, &hosts[1..], &split)).await;
    applied.expect("applied");
    let groups = &rig.stats().await.services["order"].groups;
    assert_eq!(groups.keys().collect::<Vec<_>>(), ["new"]);
    assert_eq!(groups["new"].requests, 10);
}

#[tokio::test]
async fn a_revision_that_cannot_be_reached_loses_no_request_and_is_blamed() {
    let rig = Rig::start();
    let old = Replica::start().await;
    let hosts = [(old.host(), "old"), (free_host(), "new")];
    let split = json!({"weights": {"old": 1, "new": 1}});
    let applied = rig.control.apply(&config(1, &hosts, &split)).await;
    applied.expect("applied");
    let mut client = Client::connect(rig.http()).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.expect("an answer").status, 200);
    }
    let order = &rig.stats().await.services["order"];
    assert_eq!(order.errors_5xx, 0);
    assert_eq!(order.groups["old"].errors_5xx, 0);
    assert!(order.groups["new"].errors_5xx > 0, "{:?}", order.groups);
}

#[tokio::test]
async fn a_request_may_choose_its_revision() {
    let rig = Rig::start();
    let (old, new) = (Replica::start().await, Replica::start().await);
    let hosts = [(old.host(), "old"), (new.host(), "new")];
    let split = json!({
        "weights": {"old": 1, "new": 0}, "header": "X-Shop-Revision", "cookie": "shop-revision",
    });
    let applied = rig.control.apply(&config(1, &hosts, &split)).await;
    applied.expect("applied");
    assert_eq!(ask(&rig, "x-shop-revision", "new").await.status, 200);
    assert_eq!((old.requests(), new.requests()), (0, 1));
    // The preview is a host whose requests all go there.
    assert_eq!(ask(&rig, "host", "next.local").await.status, 200);
    assert_eq!((old.requests(), new.requests()), (0, 2));
    // Without a share a cookie is not followed, and set anew.
    let got = ask(&rig, "cookie", "a=b; shop-revision=new").await;
    assert_eq!((old.requests(), new.requests()), (1, 2));
    assert_eq!(
        got.headers["set-cookie"],
        "shop-revision=old; Path=/; HttpOnly; SameSite=Lax"
    );
    let got = ask(&rig, "cookie", "shop-revision=old").await;
    assert_eq!(old.requests(), 2);
    assert!(!got.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn a_preview_without_a_replica_is_refused() {
    let rig = Rig::start();
    let old = Replica::start().await;
    let hosts = [(old.host(), "old")];
    let applied = rig.control.apply(&config(1, &hosts, &Value::Null)).await;
    applied.expect("applied");
    assert_eq!(ask(&rig, "host", "next.local").await.status, 503);
    assert_eq!(ask(&rig, "host", "shop.local").await.status, 200);
}
