//! What happens when goods or the provider fail, at each step.

use std::time::Duration;

use serde_json::json;

use shop_kit::testing::eventually;

use crate::support::{Shop, id, order_body, swallow_answers_of};

const IMPATIENT: &[(&str, &str)] = &[("GOODS_TIMEOUT", "300ms")];

#[tokio::test]
async fn without_goods_a_creation_is_refused_for_now_and_succeeds_later() {
    let mut shop = Shop::open_with(IMPATIENT);
    shop.article("A1", 1999, 20).await;
    shop.stop_goods();
    let told = shop.create("k1", &[("A1", 1)]).await;
    assert_eq!((told.status, told.slug()), (503, "unavailable"));
    shop.start_goods();
    shop.created("k1", &[("A1", 1)]).await;
    assert_eq!(shop.stock("A1").await, [20, 1, 19, 0]);
}

#[tokio::test]
async fn a_retry_on_another_replica_takes_over_a_half_done_creation_at_once() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let deaf = shop.another_order(
        Some(swallow_answers_of(shop.goods_address()).await),
        IMPATIENT,
    );
    assert_eq!(
        deaf.post("/orders", "k1", order_body(&[("A1", 1)]))
            .await
            .status,
        503
    );
    assert_eq!(
        shop.stock("A1").await,
        [20, 1, 19, 0],
        "goods did its part and nobody heard of it"
    );
    let made = shop.create("k1", &[("A1", 1)]).await.expect(201);
    assert_eq!(shop.stock("A1").await, [20, 1, 19, 0]);
    assert_eq!(
        deaf.get(&format!("/orders/{}", id(&made)))
            .await
            .expect(200),
        made
    );
    assert_eq!(
        deaf.post("/orders", "k1", order_body(&[("A1", 1)]))
            .await
            .expect(201),
        made
    );
}

#[tokio::test]
async fn a_creation_that_nobody_takes_up_gives_its_units_back() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let deaf = shop.another_order(
        Some(swallow_answers_of(shop.goods_address()).await),
        IMPATIENT,
    );
    assert_eq!(
        deaf.post("/orders", "k1", order_body(&[("A1", 1)]))
            .await
            .status,
        503
    );
    deaf.stop();
    shop.clock.advance(Duration::from_secs(61));
    shop.eventually_stock("A1", [20, 0, 20, 0]).await;
    shop.created("k1", &[("A1", 1)]).await;
    assert_eq!(
        shop.stock("A1").await,
        [20, 1, 19, 0],
        "a very late retry begins anew"
    );
}

#[tokio::test]
async fn without_goods_a_payment_is_at_work_until_goods_is_back() {
    let mut shop = Shop::open_with(IMPATIENT);
    shop.article("A1", 1999, 20).await;
    let id = shop.created("k1", &[("A1", 1)]).await;
    shop.stop_goods();
    assert_eq!(
        shop.pay(&id, "p1", "tok_ok").await.expect(202)["state"],
        "pending_payment"
    );
    assert_eq!(
        shop.pay(&id, "p2", "tok_ok").await.slug(),
        "idempotency-in-progress"
    );
    assert_eq!(
        shop.cancel(&id, "c1").await.slug(),
        "idempotency-in-progress"
    );
    assert!(
        shop.till.books().captured.is_empty(),
        "no money is taken for units that are not sold"
    );
    shop.start_goods();
    shop.clock.advance(Duration::from_secs(16));
    shop.eventually_state(&id, "paid").await;
    assert_eq!(
        shop.pay(&id, "p1", "tok_ok").await.expect(200)["state"],
        "paid",
        "the key tells how it ended"
    );
    assert_eq!(shop.till.books().captured.len(), 1);
    assert_eq!(shop.stock("A1").await, [19, 0, 19, 1]);
}

#[tokio::test]
async fn the_key_of_a_payment_at_work_takes_it_over() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let id = shop.created("k1", &[("A1", 1)]).await;
    let deaf = shop.another_order(
        Some(swallow_answers_of(shop.goods_address()).await),
        IMPATIENT,
    );
    let pay = json!({ "method": "card", "token": "tok_ok" });
    let path = format!("/orders/{id}/pay");
    assert_eq!(deaf.post(&path, "p1", pay.clone()).await.status, 202);
    assert_eq!(
        shop.stock("A1").await,
        [19, 0, 19, 1],
        "goods sold the units and nobody heard of it"
    );
    assert_eq!(
        shop.order.post(&path, "p1", pay).await.expect(200)["state"],
        "paid"
    );
    assert_eq!(shop.till.books().captured.len(), 1);
    assert_eq!(shop.stock("A1").await, [19, 0, 19, 1]);
}

#[tokio::test]
async fn another_operation_ends_what_bars_its_way() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let id = shop.created("k1", &[("A1", 1)]).await;
    let deaf = shop.another_order(
        Some(swallow_answers_of(shop.goods_address()).await),
        IMPATIENT,
    );
    let pay = json!({ "method": "card", "token": "tok_ok" });
    assert_eq!(
        deaf.post(&format!("/orders/{id}/pay"), "p1", pay)
            .await
            .status,
        202
    );
    assert_eq!(
        shop.cancel(&id, "c1").await.expect(200)["state"],
        "refunded",
        "first paid, then refunded"
    );
    assert_eq!(
        shop.events(&id).await,
        [
            "order.created",
            "order.paid",
            "order.refunding",
            "order.refunded"
        ]
    );
    assert_eq!(shop.stock("A1").await, [20, 0, 20, 0]);
}

#[tokio::test]
async fn without_goods_a_refund_is_pending_until_goods_is_back() {
    let mut shop = Shop::open_with(IMPATIENT);
    shop.article("A1", 1999, 20).await;
    let id = shop.created("k1", &[("A1", 1)]).await;
    shop.pay(&id, "p1", "tok_ok").await.expect(200);
    shop.stop_goods();
    let told = shop
        .refund(&id, "r1", json!({ "reason": "x" }))
        .await
        .expect(202);
    assert_eq!(
        (&told["refund"]["state"], &told["order"]["state"]),
        (&json!("pending"), &json!("refunding"))
    );
    shop.start_goods();
    shop.clock.advance(Duration::from_secs(16));
    shop.eventually_state(&id, "refunded").await;
    let again = shop
        .refund(&id, "r1", json!({ "reason": "x" }))
        .await
        .expect(202);
    assert_eq!(
        (&again["refund"]["state"], &again["order"]["state"]),
        (&json!("succeeded"), &json!("refunded"))
    );
    assert_eq!(again["refund"]["id"], told["refund"]["id"]);
    assert_eq!(shop.till.books().refunded.len(), 1);
    assert_eq!(shop.stock("A1").await, [20, 0, 20, 0]);
}

#[tokio::test]
async fn without_goods_a_cancellation_holds_and_the_units_follow() {
    let mut shop = Shop::open_with(IMPATIENT);
    shop.article("A1", 1999, 20).await;
    let id = shop.created("k1", &[("A1", 1)]).await;
    shop.stop_goods();
    assert_eq!(
        shop.cancel(&id, "c1").await.expect(200)["state"],
        "cancelled"
    );
    shop.start_goods();
    shop.eventually_stock("A1", [20, 0, 20, 0]).await;
}

#[tokio::test]
async fn a_stopped_service_ends_what_is_in_flight_and_takes_nothing_new() {
    let mut shop = Shop::open_with(&[("GOODS_TIMEOUT", "10s")]);
    shop.article("A1", 1999, 20).await;
    shop.stop_goods();
    let (told, _goods) = tokio::join!(
        shop.order.post("/orders", "k1", order_body(&[("A1", 1)])),
        async {
            let in_flight = async || {
                shop.order
                    .admin("/metrics")
                    .await
                    .1
                    .contains("http_requests_in_flight 1\n")
            };
            eventually("the request is in flight, waiting for goods", in_flight).await;
            shop.order.begin_stop();
            eventually("readiness goes first", async || {
                shop.order.admin("/readyz").await.0 == 503
            })
            .await;
            shop.goods_again()
        }
    );
    told.expect(201);
    shop.order.stop();
}
