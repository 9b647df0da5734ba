//! What happens when all come at once, to two replicas on one file.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Shop, id, order_body};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_creation_many_times_at_once_is_one_order() {
    let shop = Shop::open();
    shop.article("A1", 1999, 100).await;
    let other = shop.another_order(None, &[]);
    let calls = (0..40).map(|n| {
        let replica = if n % 2 == 0 { &shop.order } else { &other };
        // Every eighth comes with another body under the same key.
        let items = [("A1", if n % 8 == 7 { 2 } else { 1 })];
        async move {
            (
                n % 8 == 7,
                replica.post("/orders", "k1", order_body(&items)).await,
            )
        }
    });
    let told = join_all(calls).await;
    let made: BTreeMap<bool, Vec<_>> =
        told.into_iter()
            .fold(BTreeMap::new(), |mut made, (other, told)| {
                made.entry(other).or_default().push(told);
                made
            });
    // Whichever body came first won; all of that body got the same order, all of the other were refused.
    let (winners, losers) = if made[&false][0].status == 201 {
        (&made[&false], &made[&true])
    } else {
        (&made[&true], &made[&false])
    };
    assert!(
        winners
            .iter()
            .all(|told| *told == winners[0] && told.status == 201),
        "{winners:?}"
    );
    assert!(losers.iter().all(|told| told.status == 422), "{losers:?}");
    let listed = shop.order.get("/orders").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let units = winners[0].body["items"][0]["qty"].as_i64().unwrap();
    assert_eq!(shop.stock("A1").await, [100, units, 100 - units, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_payment_many_times_at_once_is_one_charge() {
    let shop = Shop::open();
    shop.article("A1", 1999, 100).await;
    let other = shop.another_order(None, &[]);
    let id = shop.created("k1", &[("A1", 1)]).await;
    let pay = json!({ "method": "card", "token": "tok_ok" });
    let path = format!("/orders/{id}/pay");
    let calls = (0..30)
        .map(|n| if n % 2 == 0 { &shop.order } else { &other }.post(&path, "p1", pay.clone()));
    let told = join_all(calls).await;
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    assert_eq!(told[0].status, 200);
    assert_eq!(shop.till.books().captured.len(), 1);
    assert_eq!(shop.stock("A1").await, [99, 0, 99, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_payments_of_one_order_are_one_charge() {
    let shop = Shop::open();
    shop.article("A1", 1999, 100).await;
    let other = shop.another_order(None, &[]);
    let id = shop.created("k1", &[("A1", 1)]).await;
    let pay = json!({ "method": "card", "token": "tok_ok" });
    let path = format!("/orders/{id}/pay");
    let keys: Vec<String> = (0..20).map(|n| format!("p{n}")).collect();
    let calls = keys.iter().enumerate().map(|(n, key)| {
        if n % 2 == 0 { &shop.order } else { &other }.post(&path, key, pay.clone())
    });
    let statuses: Vec<u16> = join_all(calls)
        .await
        .into_iter()
        .map(|told| told.status)
        .collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 409).count(),
        19,
        "{statuses:?}"
    );
    assert_eq!(shop.till.books().captured.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refunds_at_once_never_exceed_what_was_paid() {
    let shop = Shop::open();
    shop.article("A1", 1000, 100).await;
    let other = shop.another_order(None, &[]);
    let id = shop.created("k1", &[("A1", 1)]).await;
    shop.pay(&id, "p1", "tok_ok").await.expect(200);
    let path = format!("/orders/{id}/refund");
    let keys: Vec<String> = (0..8).map(|n| format!("r{n}")).collect();
    let calls = keys.iter().enumerate().map(|(n, key)| {
        if n % 2 == 0 { &shop.order } else { &other }.post(&path, key, json!({ "amount": 300 }))
    });
    let told = join_all(calls).await;
    let accepted = told.iter().filter(|told| told.status == 202).count();
    assert!(
        told.iter().all(|told| matches!(told.status, 202 | 409)),
        "{told:?}"
    );
    assert!((1..=3).contains(&accepted), "{told:?}");
    let refunded: i64 = shop.till.books().refunded.values().sum();
    assert_eq!(refunded, 300 * i64::try_from(accepted).unwrap());
    assert_eq!(
        shop.order.get(&format!("/orders/{id}")).await.expect(200)["refunded"]["amount"],
        refunded
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_units_go_to_as_many_as_there_are() {
    let shop = Shop::open();
    shop.article("A1", 1999, 10).await;
    let other = shop.another_order(None, &[]);
    let keys: Vec<String> = (0..60).map(|n| format!("k{n}")).collect();
    let calls = keys.iter().enumerate().map(|(n, key)| {
        if n % 2 == 0 { &shop.order } else { &other }.post("/orders", key, order_body(&[("A1", 1)]))
    });
    let told = join_all(calls).await;
    let made: BTreeSet<String> = told
        .iter()
        .filter(|told| told.status == 201)
        .map(|told| id(&told.body))
        .collect();
    assert_eq!(made.len(), 10);
    assert_eq!(
        told.iter()
            .filter(|told| told.slug() == "out-of-stock")
            .count(),
        50
    );
    assert_eq!(shop.stock("A1").await, [10, 10, 0, 0]);
}
