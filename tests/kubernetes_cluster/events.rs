//! What happens to the objects of a stack: told once, in order, with the service it is about.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use serde_json::Value;
use serde_json::json;
use shopctl::backend::EventQuery;
use shopctl::backend::Events as _;
use shopctl::state::happening::Happening;
use tokio::sync::mpsc::Receiver;

use crate::world::World;

cases! {
    what_happens_is_told_with_its_service,
    what_has_happened_is_told_where_it_is_asked_for,
}

impl World {
    pub(crate) fn query(&self, since: Option<i64>, until: Option<i64>) -> EventQuery {
        EventQuery {
            stack: self.stack.clone(),
            services: ["order", "order_api"].map(str::to_owned).into(),
            since,
            until,
        }
    }

    /// A namespace of the stack.
    pub(crate) async fn space(&self) {
        self.take("one").await.unwrap().release().await.unwrap();
    }

    /// An object of the stack or of somebody else.
    async fn object(&self, name: &str, labels: Value) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.stack);
        let object = json!({ "metadata": { "name": name, "labels": labels } });
        let object: ConfigMap = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    pub(crate) fn happened(&self) -> Api<Event> {
        Api::namespaced(self.client.clone(), &self.stack)
    }

    /// Somebody tells what happened to an object.
    pub(crate) async fn happens(&self, name: &str, object: (&str, &str), more: Value) {
        let mut event = json!({
            "metadata": { "name": name, "namespace": self.stack },
            "involvedObject": { "kind": object.0, "name": object.1, "namespace": self.stack },
            "reason": "Tested", "message": format!("{name} of a test"), "type": "Normal",
        });
        for (key, value) in more.as_object().unwrap() {
            event[key] = value.clone();
        }
        let event: Event = serde_json::from_value(event).unwrap();
        let created = self.happened().create(&PostParams::default(), &event).await;
        created.unwrap();
    }
}

pub(crate) async fn next(happenings: &mut Receiver<Happening>) -> Happening {
    let next = tokio::time::timeout(Duration::from_secs(20), happenings.recv()).await;
    next.expect("in time").expect("more to come")
}

/// Service, object, words, and how often.
pub(crate) fn told(happening: &Happening) -> (&str, &str, &str, &str) {
    (
        &happening.service,
        &happening.object,
        &happening.message,
        happening.details.get("count").map_or("1", String::as_str),
    )
}

async fn what_happens_is_told_with_its_service(world: World) {
    world.space().await;
    let stack = world.stack.as_str();
    let ours = |name: &str| {
        json!({ "app.kubernetes.io/managed-by": "shopctl", "app.kubernetes.io/part-of": stack,
            "app.kubernetes.io/name": name })
    };
    world.object("settings", ours("order-api")).await;
    world.object("order-theirs", json!({ "a": "b" })).await;
    world
        .happens("before", ("ConfigMap", "settings"), json!({}))
        .await;
    let query = world.query(None, None);
    let mut happenings = world.cluster.events(&query).await.unwrap();
    // Somebody else's, though it is called as a service is.
    world
        .happens("theirs", ("ConfigMap", "order-theirs"), json!({}))
        .await;
    let at = "2026-01-02T03:04:05Z";
    let warning = json!({ "type": "Warning", "lastTimestamp": at });
    world.happens("a", ("ConfigMap", "settings"), warning).await;
    let found = next(&mut happenings).await;
    let want = Happening {
        at: 1_767_323_045_000,
        service: "order_api".to_owned(),
        replica: None,
        object: "ConfigMap settings".to_owned(),
        action: "Tested".to_owned(),
        warning: true,
        message: "a of a test".to_owned(),
        details: [].into(),
    };
    assert_eq!(found, want);
    // What is gone is known by its name, and the service of two with the longer one.
    world.happens("b", ("Pod", "order-7c9-x2"), json!({})).await;
    world
        .happens("c", ("ReplicaSet", "order-api-5d9f"), json!({}))
        .await;
    world.happens("d", ("Pod", "other-1"), json!({})).await;
    let again = Patch::Merge(json!({ "count": 3 }));
    let params = PatchParams::default();
    world.happened().patch("a", &params, &again).await.unwrap();
    for want in [
        ("order", "Pod order-7c9-x2", "b of a test", "1"),
        ("order_api", "ReplicaSet order-api-5d9f", "c of a test", "1"),
        ("order_api", "ConfigMap settings", "a of a test", "3"),
    ] {
        assert_eq!(told(&next(&mut happenings).await), want);
    }
}

async fn what_has_happened_is_told_where_it_is_asked_for(world: World) {
    world.space().await;
    let now = Timestamp::now().as_second();
    let pod = ("Pod", "order-1");
    let at = |ago: i64| Timestamp::from_second(now - ago).unwrap().to_string();
    // One says when in one way, and one in the other.
    world
        .happens("late", pod, json!({ "lastTimestamp": at(10) }))
        .await;
    let micro = format!("{}.000000Z", at(20).trim_end_matches('Z'));
    let early = json!({ "eventTime": micro, "reportingComponent": "test", "action": "Test",
        "reportingInstance": "test" });
    world.happens("early", pod, early).await;
    world
        .happens("old", pod, json!({ "lastTimestamp": at(300) }))
        .await;
    let all = async |since: i64, until: i64| {
        let query = world.query(Some(now - since), Some(now - until));
        let mut happenings = world.cluster.events(&query).await.unwrap();
        let mut all = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), async {
            while let Some(one) = happenings.recv().await {
                all.push(one.message);
            }
        });
        ended.await.expect("it ends");
        all
    };
    assert_eq!(all(60, 0).await, ["early of a test", "late of a test"]);
    assert_eq!(all(60, 15).await, ["early of a test"]);
    // A time that is still to come is waited for, and what happens until then is told.
    let query = world.query(Some(now - 15), Some(now + 3));
    let mut happenings = world.cluster.events(&query).await.unwrap();
    assert_eq!(next(&mut happenings).await.message, "late of a test");
    world
        .happens("new", pod, json!({ "lastTimestamp": at(0) }))
        .await;
    assert_eq!(next(&mut happenings).await.message, "new of a test");
    let end = tokio::time::timeout(Duration::from_secs(20), happenings.recv());
    assert_eq!(end.await.expect("it ends"), None);
}
