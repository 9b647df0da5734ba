//! Events reach their subscribers: in order, at least once, also after the subscriber or the service was away.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;
use shop_kit::testing::eventually;
use tokio::net::TcpListener;

use crate::support::{Shop, text};

/// A subscriber that refuses while it is told to.
#[derive(Clone, Default)]
struct Subscriber(Arc<Mutex<(bool, Vec<Value>)>>);

impl Subscriber {
    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/inbox", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/inbox", post(take))
            .with_state(self.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        url
    }

    fn refuse(&self, yes: bool) {
        self.0.lock().unwrap().0 = yes;
    }

    fn types(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap()
            .1
            .iter()
            .map(|event| text(&event["type"]))
            .collect()
    }
}

async fn take(State(subscriber): State<Subscriber>, body: String) -> StatusCode {
    let mut inbox = subscriber.0.lock().unwrap();
    if inbox.0 {
        return StatusCode::BAD_GATEWAY;
    }
    inbox.1.push(serde_json::from_str(&body).unwrap());
    StatusCode::NO_CONTENT
}

#[tokio::test]
async fn events_are_delivered_in_order_once_the_subscriber_takes_them() {
    let (awake, asleep) = (Subscriber::default(), Subscriber::default());
    asleep.refuse(true);
    let urls = format!("{},{}", asleep.listen().await, awake.listen().await);
    let shop = Shop::open_with(&[("SUBSCRIBERS", &urls)]);
    shop.article("A1", 1999, 20).await;
    let id = shop.created("k1", &[("A1", 1)]).await;
    shop.pay(&id, "p1", "tok_ok").await.expect(200);
    let expected = ["order.created", "order.paid"];
    eventually("the one that takes them has them", async || {
        awake.types() == expected
    })
    .await;
    assert!(asleep.types().is_empty());
    asleep.refuse(false);
    eventually("the other has them too", async || {
        asleep.types() == expected
    })
    .await;

    let inbox = awake.0.lock().unwrap().1.clone();
    assert_eq!(
        (
            &inbox[1]["subject"],
            &inbox[1]["source"],
            &inbox[1]["specversion"]
        ),
        (&id.into(), &"order".into(), &"1.0".into())
    );
    assert_eq!(inbox[1]["data"]["state"], "paid");
    let listed = shop
        .order
        .get(&format!("/orders/{}/events", text(&inbox[1]["subject"])))
        .await
        .expect(200);
    assert_eq!(
        listed["items"],
        Value::Array(inbox),
        "what is posted is what is listed"
    );
}

#[tokio::test]
async fn one_replica_delivers_and_another_goes_on_after_it() {
    let subscriber = Subscriber::default();
    let url = subscriber.listen().await;
    let shop = Shop::open_with(&[("SUBSCRIBERS", &url)]);
    let other = shop.another_order(None, &[("SUBSCRIBERS", &url)]);
    shop.article("A1", 1999, 20).await;
    for n in 0..10 {
        shop.created(&format!("k{n}"), &[("A1", 1)]).await;
    }
    eventually("ten are delivered", async || subscriber.types().len() >= 10).await;
    shop.order.begin_stop();
    other
        .post("/orders", "k10", crate::support::order_body(&[("A1", 1)]))
        .await
        .expect(201);
    eventually(
        "the next is delivered by the replica that is left",
        async || subscriber.types().len() >= 11,
    )
    .await;
    assert_eq!(
        subscriber.types().len(),
        11,
        "nobody died, so nothing came twice"
    );
}
