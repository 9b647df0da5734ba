//! The order service through its port, with the real goods service behind it.

use crate::support::{Shop, id, order_body, text};
use serde_json::{Value, json};

#[tokio::test]
async fn the_wire_format() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let made = shop.create("k1", &[("A1", 2)]).await;
    assert_eq!(made.etag.as_deref(), Some("\"v1\""));
    let made = made.expect(201);
    let id = id(&made);
    let eur = |amount: i64| json!({ "amount": amount, "currency": "EUR" });
    assert_eq!(
        made,
        json!({ "id": id, "state": "pending_payment", "total": eur(3998), "refunded": eur(0),
            "items": [{ "sku": "A1", "name": "Cup", "qty": 2, "price": eur(1999) }],
            "address": order_body(&[])["address"], "reservation_expires_at": "2027-01-15T08:15:00Z",
            "created_at": "2027-01-15T08:00:00Z", "updated_at": "2027-01-15T08:00:00Z", "version": 1 })
    );
    assert_eq!(shop.stock("A1").await, [20, 2, 18, 0]);

    let paid = shop.pay(&id, "k2", "tok_ok").await.expect(200);
    assert_eq!(
        (&paid["state"], &paid["reservation_expires_at"]),
        (&json!("paid"), &Value::Null)
    );
    assert_eq!(shop.stock("A1").await, [18, 0, 18, 2]);

    let refunded = shop
        .refund(&id, "k3", json!({ "reason": "too small" }))
        .await
        .expect(202);
    let refund = text(&refunded["refund"]["id"]);
    assert_eq!(
        refunded,
        json!({ "refund": { "id": refund, "state": "succeeded", "amount": eur(3998) }, "order": { "id": id, "state": "refunded" } })
    );
    assert_eq!(shop.stock("A1").await, [20, 0, 20, 0]);
    assert_eq!(
        shop.events(&id).await,
        [
            "order.created",
            "order.paid",
            "order.refunding",
            "order.refunded"
        ]
    );
    let books = shop.till.books();
    assert_eq!(books.captured.values().sum::<i64>(), 3998);
    assert_eq!(books.refunded, [(refund, 3998)].into());
}

#[tokio::test]
async fn the_wire_format_without_keys_after_the_creation() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let id = shop.created("k1", &[("A1", 1)]).await;
    let bare = async |what: &str, body: Value| {
        shop.order
            .call("POST", &format!("/orders/{id}/{what}"), &[], Some(&body))
            .await
    };
    let pay = json!({ "method": "card", "token": "tok_ok" });
    assert_eq!(bare("pay", pay.clone()).await.expect(200)["state"], "paid");
    assert_eq!(bare("pay", pay).await.slug(), "invalid-transition");
    assert_eq!(
        bare("refund", json!({ "amount": 1 })).await.slug(),
        "idempotency-key-missing",
        "a retry could repeat a part"
    );
    assert_eq!(
        bare("refund", json!({ "reason": "x" })).await.expect(202)["order"]["state"],
        "refunded"
    );
    assert_eq!(
        bare("refund", json!({ "reason": "x" })).await.slug(),
        "invalid-transition"
    );
    let other = shop.created("k2", &[("A1", 1)]).await;
    let cancelled = shop
        .order
        .call("POST", &format!("/orders/{other}/cancel"), &[], None)
        .await;
    assert_eq!(cancelled.expect(200)["state"], "cancelled");
}

#[tokio::test]
async fn a_key_names_one_request() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let first = shop.create("k1", &[("A1", 1)]).await;
    assert_eq!(shop.create("k1", &[("A1", 1)]).await, first);
    assert_eq!(
        shop.create("\"k1\"", &[("A1", 1)]).await,
        first,
        "the quoted key is the same key"
    );
    let other = shop.create("k1", &[("A1", 2)]).await;
    assert_eq!(
        (other.status, other.slug()),
        (422, "idempotency-key-reused")
    );
    let without = shop
        .order
        .call("POST", "/orders", &[], Some(&order_body(&[("A1", 1)])))
        .await;
    assert_eq!(
        (without.status, without.slug()),
        (400, "idempotency-key-missing")
    );
    assert_eq!(shop.stock("A1").await, [20, 1, 19, 0]);
}

#[tokio::test]
async fn refusals_of_a_creation() {
    let shop = Shop::open();
    shop.article("A1", 1999, 1).await;
    shop.article("B1", i64::MAX, 5).await;
    let yen = json!({ "name": "Fan", "price": { "amount": 100, "currency": "JPY" } });
    shop.goods().put("/goods/Y1", yen).await.expect(201);
    shop.goods()
        .put("/goods/Y1/stock", json!({ "on_hand": 5 }))
        .await
        .expect(200);

    let short = shop.create("k1", &[("A1", 2)]).await;
    assert_eq!((short.status, short.slug()), (409, "out-of-stock"));
    assert_eq!(
        short.body["items"],
        json!([{ "sku": "A1", "requested": 2, "available": 1 }])
    );
    assert_eq!(
        shop.create("k1", &[("A1", 2)]).await,
        short,
        "a refusal is an answer too"
    );

    let unknown = shop.create("k2", &[("A1", 1), ("X", 1)]).await;
    assert_eq!(
        (unknown.slug(), &unknown.body["errors"][0]["pointer"]),
        ("validation", &json!("/items/1/sku"))
    );
    for (key, items) in [
        ("k3", [("A1", 1), ("Y1", 1)]),
        ("k4", [("A1", 1), ("B1", 2)]),
    ] {
        let sum = shop.create(key, &items).await;
        assert_eq!(
            (sum.status, &sum.body["errors"][0]["pointer"]),
            (400, &json!("/items/1")),
            "{}",
            sum.body
        );
    }
    let mut dearer = order_body(&[("A1", 1)]);
    dearer["items"][0]["price"] = json!({ "amount": 1, "currency": "EUR" });
    let repriced = shop.order.post("/orders", "k5", dearer).await;
    assert_eq!((repriced.status, repriced.slug()), (422, "price-changed"));

    for (field, value) in [
        ("name", json!("")),
        ("country", json!("Germany")),
        ("city", json!(7)),
        ("line1", Value::Null),
    ] {
        let mut body = order_body(&[("A1", 1)]);
        body["address"][field] = value;
        let wrong = shop.order.post("/orders", "k6", body).await;
        assert_eq!(
            wrong.body["errors"][0]["pointer"],
            format!("/address/{field}"),
            "{}",
            wrong.body
        );
    }
    for items in [vec![], vec![("A1", 0)], vec![("A1", 1), ("A1", 1)]] {
        assert_eq!(shop.create("k7", &items).await.slug(), "validation");
    }
    assert_eq!(
        shop.stock("A1").await,
        [1, 0, 1, 0],
        "no refusal keeps units"
    );
    assert_eq!(shop.stock("Y1").await, [5, 0, 5, 0]);
    assert!(
        shop.order.get("/orders").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_declined_payment_leaves_the_order_waiting() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let id = shop.created("k1", &[("A1", 1)]).await;
    let declined = shop.pay(&id, "p1", "tok_declined").await;
    assert_eq!(
        (declined.status, declined.slug(), &declined.body["reason"]),
        (402, "payment-declined", &json!("card_declined"))
    );
    assert_eq!(shop.state(&id).await, "pending_payment");
    assert_eq!(shop.pay(&id, "p1", "tok_declined").await, declined);
    assert_eq!(
        shop.pay(&id, "p1", "tok_ok").await.slug(),
        "idempotency-key-reused"
    );
    assert_eq!(
        shop.order
            .post(
                &format!("/orders/{id}/pay"),
                "p2",
                json!({ "method": "cash", "token": "x" })
            )
            .await
            .status,
        400
    );
    assert_eq!(
        shop.pay(&id, "p3", "tok_ok").await.expect(200)["state"],
        "paid"
    );
    assert_eq!(
        shop.pay(&id, "p4", "tok_ok").await.slug(),
        "invalid-transition"
    );
    assert_eq!(
        shop.events(&id).await,
        ["order.created", "order.payment_failed", "order.paid"]
    );
    assert_eq!(shop.till.books().captured.len(), 1);
}

#[tokio::test]
async fn cancelling() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let unpaid = shop.created("k1", &[("A1", 1)]).await;
    assert_eq!(
        shop.cancel(&unpaid, "c1").await.expect(200)["state"],
        "cancelled"
    );
    assert_eq!(shop.stock("A1").await, [20, 0, 20, 0]);
    assert_eq!(
        shop.cancel(&unpaid, "c2").await.expect(200)["state"],
        "cancelled"
    );
    assert_eq!(
        shop.pay(&unpaid, "p1", "tok_ok").await.slug(),
        "invalid-transition"
    );

    let paid = shop.created("k2", &[("A1", 1)]).await;
    shop.pay(&paid, "p2", "tok_ok").await.expect(200);
    assert_eq!(
        shop.cancel(&paid, "c3").await.expect(200)["state"],
        "refunded"
    );
    assert_eq!(shop.till.books().refunded.values().sum::<i64>(), 1999);
    assert_eq!(shop.stock("A1").await, [20, 0, 20, 0]);

    let shipped = shop.created("k3", &[("A1", 1)]).await;
    shop.pay(&shipped, "p3", "tok_ok").await.expect(200);
    shop.in_order_file("UPDATE orders SET state = 'shipped' WHERE id = ?", &shipped)
        .await;
    let told = shop.cancel(&shipped, "c4").await;
    assert_eq!(
        (
            told.status,
            told.slug(),
            &told.body["from"],
            &told.body["to"]
        ),
        (
            409,
            "invalid-transition",
            &json!("shipped"),
            &json!("cancelled")
        )
    );
    assert_eq!(shop.cancel("nothing", "c5").await.status, 404);
}

#[tokio::test]
async fn refunds_in_parts() {
    let shop = Shop::open();
    shop.article("A1", 1000, 20).await;
    shop.article("B1", 300, 20).await;
    let id = shop.created("k1", &[("A1", 3), ("B1", 1)]).await;
    assert_eq!(
        shop.refund(&id, "r0", json!({})).await.slug(),
        "invalid-transition"
    );
    shop.pay(&id, "p1", "tok_ok").await.expect(200);

    let part = shop
        .refund(&id, "r1", json!({ "items": [{ "sku": "A1", "qty": 2 }] }))
        .await;
    assert_eq!(
        (
            &part.body["order"]["state"],
            &part.body["refund"]["amount"]["amount"]
        ),
        (&json!("partially_refunded"), &json!(2000))
    );
    assert_eq!(
        shop.refund(&id, "r1", json!({ "items": [{ "sku": "A1", "qty": 2 }] }))
            .await,
        part
    );
    assert_eq!(shop.stock("A1").await, [19, 0, 19, 1]);

    let amount = shop
        .refund(&id, "r2", json!({ "amount": 100, "reason": "scratched" }))
        .await
        .expect(202);
    assert_eq!(amount["refund"]["amount"]["amount"], 100);
    assert_eq!(
        shop.stock("A1").await,
        [19, 0, 19, 1],
        "an amount brings no units back"
    );

    for wrong in [
        json!({ "items": [{ "sku": "A1", "qty": 2 }] }),
        json!({ "amount": { "amount": 1201, "currency": "EUR" } }),
    ] {
        let told = shop.refund(&id, &format!("r3{wrong}"), wrong).await;
        assert_eq!((told.status, told.slug()), (409, "refund-exceeds-paid"));
        assert_eq!(
            told.body["refundable"],
            json!({ "amount": 1200, "currency": "EUR" })
        );
    }
    for wrong in [
        json!({ "items": [{ "sku": "X", "qty": 1 }] }),
        json!({ "amount": 0 }),
        json!({ "amount": { "amount": 1, "currency": "USD" } }),
    ] {
        assert_eq!(
            shop.refund(&id, &format!("r4{wrong}"), wrong).await.slug(),
            "validation"
        );
    }
    let rest = shop.refund(&id, "r5", json!({})).await.expect(202);
    assert_eq!(
        (&rest["order"]["state"], &rest["refund"]["amount"]["amount"]),
        (&json!("refunded"), &json!(1200))
    );
    assert_eq!(
        (shop.stock("A1").await, shop.stock("B1").await),
        ([20, 0, 20, 0], [20, 0, 20, 0])
    );
    assert_eq!(shop.till.books().refunded.values().sum::<i64>(), 3300);
}

#[tokio::test]
async fn what_was_shipped_does_not_come_back_into_stock_by_a_refund() {
    let shop = Shop::open();
    shop.article("A1", 1000, 20).await;
    let id = shop.created("k1", &[("A1", 3)]).await;
    shop.pay(&id, "p1", "tok_ok").await.expect(200);
    shop.in_order_file("UPDATE orders SET state = 'shipped' WHERE id = ?", &id)
        .await;
    let part = shop
        .refund(&id, "r1", json!({ "items": [{ "sku": "A1", "qty": 1 }] }))
        .await
        .expect(202);
    assert_eq!(part["order"]["state"], "partially_refunded");
    assert_eq!(
        shop.refund(&id, "r2", json!({})).await.expect(202)["order"]["state"],
        "refunded"
    );
    assert_eq!(shop.stock("A1").await, [17, 0, 17, 3]);
}

#[tokio::test]
async fn lists_versions_and_what_does_not_exist() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(shop.created(&format!("k{n}"), &[("A1", 1)]).await);
    }
    shop.pay(&ids[1], "p", "tok_ok").await.expect(200);
    ids.reverse();
    let listed = |page: &Value| {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(id)
            .collect::<Vec<_>>()
    };
    let first = shop.order.get("/orders?limit=3").await.expect(200);
    let second = shop
        .order
        .get(&format!(
            "/orders?limit=3&cursor={}",
            text(&first["next_cursor"])
        ))
        .await
        .expect(200);
    assert_eq!([listed(&first), listed(&second)].concat(), ids);
    assert_eq!(second["next_cursor"], Value::Null);
    assert_eq!(
        listed(&shop.order.get("/orders?status=paid").await.expect(200)),
        [ids[3].clone()]
    );
    assert_eq!(
        shop.order.get("/orders?status=lost").await.slug(),
        "validation"
    );

    let stale = [("idempotency-key", "s"), ("if-match", "\"v9\"")];
    let path = format!("/orders/{}/cancel", ids[0]);
    assert_eq!(
        shop.order.call("POST", &path, &stale, None).await.slug(),
        "version-mismatch"
    );
    let fresh = [("idempotency-key", "s"), ("if-match", "\"v1\"")];
    assert_eq!(
        shop.order
            .call("POST", &path, &fresh, None)
            .await
            .expect(200)["version"],
        2
    );
    for path in ["/orders/none", "/orders/none/events", "/none"] {
        assert_eq!(shop.order.get(path).await.slug(), "not-found");
    }
}

#[tokio::test]
async fn every_route_is_described() {
    let shop = Shop::open();
    let document = shop.order.get("/openapi.json").await.expect(200);
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        routes.extend(
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(|method| format!("{} {path}", method.to_uppercase())),
        );
    }
    routes.sort();
    let expected = [
        "GET /orders",
        "GET /orders/{id}",
        "GET /orders/{id}/events",
        "POST /orders",
        "POST /orders/{id}/cancel",
        "POST /orders/{id}/pay",
        "POST /orders/{id}/refund",
    ];
    assert_eq!(routes, expected);
}

#[tokio::test]
async fn the_admin_port_tells_health_readiness_and_metrics() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    shop.created("k1", &[("A1", 1)]).await;
    assert_eq!(shop.order.admin("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(shop.order.admin("/readyz").await.0, 200);
    let (status, text) = shop.order.admin("/metrics").await;
    assert_eq!(status, 200);
    assert!(
        text.contains("orders_total{event=\"created\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("http_requests_total{method=\"POST\",route=\"/orders\",status=\"201\"} 1\n"),
        "{text}"
    );
    assert_eq!(
        shop.order.get("/metrics").await.status,
        404,
        "the main port is for customers"
    );
}
