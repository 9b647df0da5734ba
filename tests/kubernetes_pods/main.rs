//! What goes on in pods, against a server that says what it is told to: logs whose stream
//! is cut, commands by the protocol of a real server, live use, and pods that come and go.

#![cfg(feature = "kubernetes")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod commands;
mod logs;
mod one_offs;
mod server;

use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use server::Reply;
use server::Server;
use server::status;
use shopctl::backend::BackendError;
use shopctl::backend::Usage as _;
use shopctl::backend::Watch as _;
use shopctl::state::observed::Health;
use shopctl::state::observed::InstanceState;

const POD: &str = "/api/v1/namespaces/shop/pods/order-1";
const PODS: &str = "/api/v1/namespaces/shop/pods";

/// A pod whose own container is in a state.
fn pod(phase: &str, state: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "order-1", "namespace": "shop", "resourceVersion": "5",
            "labels": { "app.kubernetes.io/name": "order" } },
        "spec": { "containers": [
            { "name": "a-proxy", "image": "proxy:1" }, { "name": "order", "image": "order:1" }] },
        "status": { "phase": phase,
            "conditions": [{ "type": "Ready", "status": "True" }],
            "containerStatuses": [{ "name": "order", "image": "order:1", "imageID": "",
                "ready": true, "restartCount": 0, "state": state }] },
    })
}

fn running() -> Value {
    pod(
        "Running",
        &json!({ "running": { "startedAt": "2026-01-02T03:04:05Z" } }),
    )
}

/// Pods as one list, and no change of them.
fn no_pods(target: &str) -> Reply {
    if target.contains("watch=true") {
        return Reply::Open(String::new());
    }
    let list = json!({ "kind": "PodList", "apiVersion": "v1",
        "metadata": { "resourceVersion": "1" }, "items": [] });
    Reply::Json(200, list)
}

/// What is asked for but the given pod.
fn otherwise(target: &str) -> Reply {
    match target.split('?').next() {
        Some(PODS) => no_pods(target),
        Some(POD) => Reply::Json(200, running()),
        _ => status(404, "there is no such thing"),
    }
}

#[tokio::test]
async fn the_state_of_a_pod_is_one_question() {
    let server = Server::start(otherwise).await;
    let cluster = server.cluster().await;
    let found = cluster.state("order-1").await.unwrap();
    assert_eq!(found.container, "order-1");
    assert_eq!(found.state, InstanceState::Running);
    assert_eq!(found.health, Some(Health::Healthy));
    assert_eq!(server.queries("/order-1").len(), 1);
    let missing = cluster.state("other").await.unwrap_err();
    assert!(
        matches!(missing, BackendError::NotFound { .. }),
        "{missing}"
    );
}

#[tokio::test]
async fn pods_that_come_and_go_are_told() {
    let server = Server::start(|target| {
        if !target.contains("watch=true") {
            return otherwise(target);
        }
        let event = |kind: &str, pod: Value| json!({ "type": kind, "object": pod }).to_string();
        let created = pod(
            "Pending",
            &json!({ "waiting": { "reason": "ContainerCreating" } }),
        );
        let events = [
            event("ADDED", created),
            event("MODIFIED", running()),
            event("DELETED", running()),
        ];
        Reply::Open(events.join("\n") + "\n")
    })
    .await;
    let cluster = server.cluster().await;
    let mut changes = cluster.watch("shop").await.unwrap();
    let mut found = Vec::new();
    while found.len() < 3 {
        let change = tokio::time::timeout(Duration::from_secs(10), changes.recv());
        let change = change.await.expect("in time").expect("more to come");
        assert_eq!(change.container, "order-1");
        found.push(change.state);
    }
    let states = [
        InstanceState::Created,
        InstanceState::Running,
        InstanceState::Dead,
    ];
    assert_eq!(found, states);
    let lists = server.queries("/namespaces/shop/pods");
    let label = "app.kubernetes.io%2Fpart-of%3Dshop";
    assert!(lists.iter().all(|it| it.contains(label)), "{lists:?}");
}

#[tokio::test]
async fn live_use_comes_from_the_metrics_of_the_cluster() {
    let server = Server::start(|target| {
        if !target.starts_with("/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods?") {
            return otherwise(target);
        }
        let of = |name: &str, cpu: &str| {
            json!({ "metadata": { "name": name, "labels": { "app.kubernetes.io/name": "order" } },
                "containers": [
                    { "name": "a-proxy", "usage": { "cpu": "1", "memory": "1Gi" } },
                    { "name": "order", "usage": { "cpu": cpu, "memory": "7168Ki" } }] })
        };
        let items = [of("order-1", "250m"), of("order-2", "1m")];
        Reply::Json(
            200,
            json!({ "kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1",
                "metadata": {}, "items": items }),
        )
    })
    .await;
    let cluster = server.cluster().await;
    let asked = ["order-1".to_owned(), "gone".to_owned()];
    let found = cluster.usage(&asked).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let used = found["order-1"];
    assert!((used.cpu - 0.25).abs() < 1e-9, "{used:?}");
    assert_eq!(used.memory, 7 << 20);
}

#[tokio::test]
async fn a_cluster_that_measures_nothing_is_no_error() {
    for code in [403, 404, 503] {
        let server = Server::start(move |target| {
            if target.contains("metrics") {
                return status(code, "no");
            }
            otherwise(target)
        })
        .await;
        let cluster = server.cluster().await;
        let found = cluster.usage(&["order-1".to_owned()]).await.unwrap();
        assert!(found.is_empty(), "{found:?}");
    }
    let server = Server::start(|target| {
        if target.contains("metrics") {
            return status(500, "broken");
        }
        otherwise(target)
    })
    .await;
    let cluster = server.cluster().await;
    let error = cluster.usage(&["order-1".to_owned()]).await.unwrap_err();
    assert!(error.to_string().contains("broken"), "{error}");
}
