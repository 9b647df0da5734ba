//! The goods service through its port: the wire format, the refusals, the repeats.
#![expect(clippy::unwrap_used, reason = "a test may end on a surprise")]

use std::time::Duration;

use serde_json::{Value, json};
use shop_kit::clock::Clock;
use shop_kit::testing::{Running, TempDir, eventually, folder};

struct Shop {
    goods: Running,
    clock: Clock,
    _folder: TempDir,
}

impl Shop {
    fn open() -> Self {
        Self::open_with(&[])
    }

    fn open_with(settings: &[(&str, &str)]) -> Self {
        let folder = folder();
        let clock = Clock::manual(1_800_000_000_000);
        let service_clock = clock.clone();
        let start =
            async move |host: &mut shop_kit::Host| goods::start_at(host, service_clock).await;
        Self {
            goods: Running::start(goods::ABOUT, folder.path(), settings, start),
            clock,
            _folder: folder,
        }
    }

    async fn article(&self, sku: &str, on_hand: i64) {
        let body =
            json!({ "sku": sku, "name": "Cup", "price": { "amount": 1999, "currency": "EUR" } });
        self.goods
            .call("POST", "/goods", &[], Some(&body))
            .await
            .expect(201);
        self.goods
            .put(
                &format!("/goods/{sku}/stock"),
                json!({ "on_hand": on_hand }),
            )
            .await
            .expect(200);
    }

    async fn stock(&self, sku: &str) -> [i64; 4] {
        let stock = self
            .goods
            .get(&format!("/goods/{sku}/stock"))
            .await
            .expect(200);
        ["on_hand", "reserved", "available", "sold"].map(|name| stock[name].as_i64().unwrap())
    }

    async fn reserve(&self, order: &str, sku: &str, qty: i64) -> shop_kit::testing::Told {
        let body = json!({ "order_id": order, "items": [{ "sku": sku, "qty": qty }], "ttl_s": 60 });
        self.goods.post("/reservations", order, body).await
    }

    async fn state(&self, order: &str) -> String {
        let reservation = self
            .goods
            .get(&format!("/reservations/{order}"))
            .await
            .expect(200);
        reservation["state"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn an_article_from_its_making_to_its_change() {
    let shop = Shop::open();
    let body =
        json!({ "sku": "A1", "name": "Cup", "price": { "amount": 1999, "currency": "EUR" } });
    let made = shop.goods.call("POST", "/goods", &[], Some(&body)).await;
    assert_eq!(made.etag.as_deref(), Some("\"v1\""));
    assert_eq!(
        made.expect(201),
        json!({ "sku": "A1", "name": "Cup", "description": "", "category": null, "price": { "amount": 1999, "currency": "EUR" },
            "stock": { "on_hand": 0, "reserved": 0, "available": 0, "sold": 0 }, "version": 1,
            "created_at": "2027-01-15T08:00:00Z", "updated_at": "2027-01-15T08:00:00Z" })
    );
    assert_eq!(
        shop.goods
            .call("POST", "/goods", &[], Some(&body))
            .await
            .slug(),
        "already-exists"
    );
    let stock = shop
        .goods
        .put("/goods/A1/stock", json!({ "on_hand": 20 }))
        .await
        .expect(200);
    assert_eq!(
        stock,
        json!({ "on_hand": 20, "reserved": 0, "available": 20, "sold": 0 })
    );

    let patch = json!({ "price": { "amount": 2099, "currency": "EUR" } });
    let stale = shop
        .goods
        .call(
            "PATCH",
            "/goods/A1",
            &[("if-match", "\"v7\"")],
            Some(&patch),
        )
        .await;
    assert_eq!((stale.status, stale.slug()), (412, "version-mismatch"));
    let changed = shop
        .goods
        .call(
            "PATCH",
            "/goods/A1",
            &[("if-match", "\"v1\"")],
            Some(&patch),
        )
        .await
        .expect(200);
    assert_eq!(
        (
            &changed["price"]["amount"],
            &changed["name"],
            &changed["version"]
        ),
        (&json!(2099), &json!("Cup"), &json!(2))
    );

    let content = json!({ "name": "Mug", "category": "kitchen", "price": { "amount": 5, "currency": "EUR" } });
    assert_eq!(
        shop.goods
            .put("/goods/A1", content.clone())
            .await
            .expect(200)["stock"]["on_hand"],
        20
    );
    assert_eq!(
        shop.goods.put("/goods/A2", content).await.expect(201)["version"],
        1
    );
}

#[tokio::test]
async fn lists_filter_and_page() {
    let shop = Shop::open();
    for n in 0..5 {
        let body = json!({ "name": format!("Cup 100% no. {n}"), "category": if n < 4 { "cups" } else { "mugs" }, "price": { "amount": n, "currency": "EUR" } });
        shop.goods
            .put(&format!("/goods/C{n}"), body)
            .await
            .expect(201);
    }
    let skus = |page: &Value| {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|g| g["sku"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = shop
        .goods
        .get("/goods?category=cups&limit=3")
        .await
        .expect(200);
    assert_eq!(skus(&first), ["C0", "C1", "C2"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = shop
        .goods
        .get(&format!("/goods?category=cups&limit=3&cursor={cursor}"))
        .await
        .expect(200);
    assert_eq!(skus(&second), ["C3"]);
    assert_eq!(second["next_cursor"], Value::Null);
    assert_eq!(
        skus(&shop.goods.get("/goods?q=100%25").await.expect(200)).len(),
        5
    );
    assert_eq!(
        skus(&shop.goods.get("/goods?q=NO.%204").await.expect(200)),
        ["C4"]
    );
    assert!(
        skus(&shop.goods.get("/goods?q=_").await.expect(200)).is_empty(),
        "wildcards of the database must not leak"
    );
    assert_eq!(shop.goods.get("/goods?cursor=zz").await.status, 400);
    assert_eq!(shop.goods.get("/goods?limit=many").await.status, 400);
}

#[tokio::test]
async fn wrong_requests_are_refused_with_problem_details() {
    let shop = Shop::open();
    shop.article("A1", 5).await;
    let refusals = [
        (
            "POST",
            "/goods",
            json!({ "sku": "a/b", "name": "x", "price": { "amount": 1, "currency": "EUR" } }),
            400,
            "validation",
        ),
        (
            "POST",
            "/goods",
            json!({ "sku": "A2", "name": " ", "price": { "amount": 1, "currency": "EUR" } }),
            400,
            "validation",
        ),
        (
            "POST",
            "/goods",
            json!({ "sku": "A2", "name": "x", "price": { "amount": -1, "currency": "EUR" } }),
            400,
            "validation",
        ),
        (
            "POST",
            "/goods",
            json!({ "sku": "A2", "name": "x", "price": { "amount": 1, "currency": "EUX" } }),
            400,
            "validation",
        ),
        (
            "PUT",
            "/goods/A1/stock",
            json!({ "on_hand": -1 }),
            400,
            "validation",
        ),
        (
            "PUT",
            "/goods/A1/stock",
            json!({ "on_hand": 1.5 }),
            400,
            "validation",
        ),
        (
            "PUT",
            "/goods/none/stock",
            json!({ "on_hand": 1 }),
            404,
            "not-found",
        ),
        (
            "POST",
            "/goods/A1/stock/adjust",
            json!({ "delta": 1, "reason": "x" }),
            400,
            "idempotency-key-missing",
        ),
        (
            "POST",
            "/reservations",
            json!({ "order_id": "o", "items": [] }),
            400,
            "idempotency-key-missing",
        ),
        ("DELETE", "/goods/A1", json!({}), 405, "method-not-allowed"),
        ("GET", "/nothing", json!({}), 404, "not-found"),
    ];
    for (method, path, body, status, slug) in refusals {
        let told = shop.goods.call(method, path, &[], Some(&body)).await;
        assert_eq!(
            (told.status, told.slug()),
            (status, slug),
            "{method} {path} {body}"
        );
    }
    let large = json!({ "name": "x".repeat(300_000) });
    assert_eq!(shop.goods.put("/goods/A1", large).await.slug(), "too-large");
    for items in [
        json!([]),
        json!([{ "sku": "A1", "qty": 0 }]),
        json!([{ "sku": "A1", "qty": 1 }, { "sku": "A1", "qty": 1 }]),
        json!([{ "sku": "no", "qty": 1 }]),
    ] {
        let told = shop
            .goods
            .post(
                "/reservations",
                "k",
                json!({ "order_id": "o", "items": items }),
            )
            .await;
        assert_eq!(told.slug(), "validation", "{items}");
    }
}

#[tokio::test]
async fn a_reservation_held_sold_and_returned() {
    let shop = Shop::open();
    shop.article("A1", 5).await;
    let held = shop.reserve("o1", "A1", 3).await.expect(201);
    assert_eq!(
        (&held["id"], &held["state"]),
        (&json!("o1"), &json!("held"))
    );
    assert_eq!(
        held["items"],
        json!([{ "sku": "A1", "qty": 3, "returned": 0, "name": "Cup", "price": { "amount": 1999, "currency": "EUR" } }])
    );
    assert_eq!(shop.stock("A1").await, [5, 3, 2, 0]);
    assert_eq!(
        shop.reserve("o1", "A1", 3).await.expect(201),
        held,
        "the same key"
    );
    let body = json!({ "order_id": "o1", "items": [{ "sku": "A1", "qty": 3 }] });
    assert_eq!(
        shop.goods
            .post("/reservations", "other", body.clone())
            .await
            .expect(201),
        held,
        "the same order"
    );
    assert_eq!(shop.stock("A1").await, [5, 3, 2, 0]);

    for _ in 0..2 {
        shop.goods
            .call("POST", "/reservations/o1/commit", &[], None)
            .await
            .expect(200);
        assert_eq!(shop.stock("A1").await, [2, 0, 2, 3]);
    }
    let sold = shop
        .goods
        .call("DELETE", "/reservations/o1", &[], None)
        .await;
    assert_eq!((sold.status, sold.slug()), (409, "invalid-transition"));

    let one = json!({ "items": [{ "sku": "A1", "qty": 1 }] });
    for _ in 0..2 {
        shop.goods
            .post("/reservations/o1/return", "r1", one.clone())
            .await
            .expect(200);
        assert_eq!(shop.stock("A1").await, [3, 0, 3, 2]);
    }
    let rest = shop
        .goods
        .post("/reservations/o1/return", "r2", json!({}))
        .await
        .expect(200);
    assert_eq!(rest["items"][0]["returned"], 3);
    assert_eq!(shop.stock("A1").await, [5, 0, 5, 0]);
    assert_eq!(
        shop.goods
            .post("/reservations/o1/return", "r3", one)
            .await
            .status,
        400,
        "nothing is left to come back"
    );
}

#[tokio::test]
async fn all_or_nothing_and_every_shortage_named() {
    let shop = Shop::open();
    for (sku, units) in [("A1", 5), ("B1", 1), ("C1", 0)] {
        shop.article(sku, units).await;
    }
    let items =
        json!([{ "sku": "A1", "qty": 5 }, { "sku": "B1", "qty": 2 }, { "sku": "C1", "qty": 1 }]);
    let short = shop
        .goods
        .post(
            "/reservations",
            "o1",
            json!({ "order_id": "o1", "items": items }),
        )
        .await;
    assert_eq!(short.slug(), "out-of-stock");
    assert_eq!(
        short.expect(409)["items"],
        json!([{ "sku": "B1", "requested": 2, "available": 1 }, { "sku": "C1", "requested": 1, "available": 0 }])
    );
    assert_eq!(shop.stock("A1").await, [5, 0, 5, 0]);
    assert_eq!(shop.goods.get("/reservations/o1").await.status, 404);

    let dearer = json!([{ "sku": "A1", "qty": 1, "price": { "amount": 1, "currency": "EUR" } }]);
    let told = shop
        .goods
        .post(
            "/reservations",
            "o2",
            json!({ "order_id": "o2", "items": dearer }),
        )
        .await;
    assert_eq!(told.slug(), "price-changed");
    assert_eq!(told.expect(422)["items"][0]["actual"]["amount"], 1999);
}

#[tokio::test]
async fn what_is_reserved_cannot_be_counted_away() {
    let shop = Shop::open();
    shop.article("A1", 5).await;
    shop.reserve("o1", "A1", 3).await.expect(201);
    assert_eq!(
        shop.goods
            .put("/goods/A1/stock", json!({ "on_hand": 2 }))
            .await
            .slug(),
        "out-of-stock"
    );
    let change = json!({ "delta": -3, "reason": "broken" });
    assert_eq!(
        shop.goods
            .post("/goods/A1/stock/adjust", "a", change)
            .await
            .slug(),
        "out-of-stock"
    );
    assert_eq!(shop.stock("A1").await, [5, 3, 2, 0]);
    for key in ["b", "\"b\""] {
        shop.goods
            .post(
                "/goods/A1/stock/adjust",
                key,
                json!({ "delta": -2, "reason": "broken" }),
            )
            .await
            .expect(200);
        assert_eq!(
            shop.stock("A1").await,
            [3, 3, 0, 0],
            "the quoted key is the same key"
        );
    }
    let other = shop
        .goods
        .post(
            "/goods/A1/stock/adjust",
            "b",
            json!({ "delta": 9, "reason": "broken" }),
        )
        .await;
    assert_eq!(
        (other.status, other.slug()),
        (422, "idempotency-key-reused")
    );
}

#[tokio::test]
async fn an_expired_hold_gives_back_once_and_can_be_tried_again() {
    let shop = Shop::open();
    shop.article("A1", 5).await;
    shop.reserve("o1", "A1", 3).await.expect(201);
    shop.clock.advance(Duration::from_secs(59));
    assert_eq!(shop.state("o1").await, "held");
    shop.clock.advance(Duration::from_secs(1));
    let late = shop
        .goods
        .call("POST", "/reservations/o1/commit", &[], None)
        .await;
    assert_eq!((late.status, late.slug()), (410, "reservation-expired"));
    assert_eq!(shop.state("o1").await, "expired");
    assert_eq!(shop.stock("A1").await, [5, 0, 5, 0]);
    shop.goods
        .call("DELETE", "/reservations/o1", &[], None)
        .await
        .expect(204);
    assert_eq!(shop.stock("A1").await, [5, 0, 5, 0]);

    let again = json!({ "order_id": "o1", "items": [{ "sku": "A1", "qty": 3 }] });
    assert_eq!(
        shop.goods
            .post("/reservations", "again", again)
            .await
            .expect(201)["state"],
        "held"
    );
    shop.goods
        .call("POST", "/reservations/o1/commit", &[], None)
        .await
        .expect(200);
    assert_eq!(shop.stock("A1").await, [2, 0, 2, 3]);
}

#[tokio::test]
async fn holds_expire_without_being_asked_for() {
    let shop = Shop::open();
    shop.article("A1", 200).await;
    for n in 0..120 {
        shop.reserve(&format!("o{n}"), "A1", 1).await.expect(201);
    }
    assert_eq!(shop.stock("A1").await, [200, 120, 80, 0]);
    shop.clock.advance(Duration::from_secs(61));
    eventually("all holds are back", async || {
        shop.stock("A1").await == [200, 0, 200, 0]
    })
    .await;
}

#[tokio::test]
async fn only_buyers_review_and_only_once() {
    let shop = Shop::open();
    shop.article("A1", 5).await;
    let review = |order: &str, rating: i64| json!({ "order_id": order, "rating": rating, "text": "holds tea" });
    shop.reserve("o1", "A1", 1).await.expect(201);
    let path = "/goods/A1/reviews";
    assert_eq!(
        shop.goods.post(path, "", review("o1", 5)).await.slug(),
        "not-purchased",
        "held is not bought"
    );
    shop.goods
        .call("POST", "/reservations/o1/commit", &[], None)
        .await
        .expect(200);
    assert_eq!(
        shop.goods.post(path, "", review("o1", 6)).await.slug(),
        "validation"
    );
    assert_eq!(
        shop.goods.post(path, "", review("o1", 5)).await.expect(201)["rating"],
        5
    );
    assert_eq!(
        shop.goods.post(path, "", review("o1", 5)).await.slug(),
        "already-reviewed"
    );
    assert_eq!(
        shop.goods.post(path, "", review("o2", 5)).await.slug(),
        "not-purchased"
    );
    let listed = shop.goods.get(path).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["text"], "holds tea");
    assert_eq!(shop.goods.get("/goods/none/reviews").await.status, 404);
}

#[tokio::test]
async fn every_route_is_described() {
    let shop = Shop::open();
    let document = shop.goods.get("/openapi.json").await.expect(200);
    let mut routes: Vec<String> = Vec::new();
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
    assert_eq!(
        routes,
        [
            "DELETE /reservations/{id}",
            "GET /goods",
            "GET /goods/{sku}",
            "GET /goods/{sku}/reviews",
            "GET /goods/{sku}/stock",
            "GET /reservations/{id}",
            "PATCH /goods/{sku}",
            "POST /goods",
            "POST /goods/{sku}/reviews",
            "POST /goods/{sku}/stock/adjust",
            "POST /reservations",
            "POST /reservations/{id}/commit",
            "POST /reservations/{id}/return",
            "PUT /goods/{sku}",
            "PUT /goods/{sku}/stock",
        ]
    );
    assert!(document["components"]["schemas"]["Problem"].is_object());
}
