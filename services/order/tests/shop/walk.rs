//! Random walks: whatever is asked in whatever order, orders move only along the table, money and units are conserved.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::{Shop, id, text};

const PRICE: i64 = 1000;

/// The table once more, written independently of the service.
const FOLLOWS: &[(&str, &[&str])] = &[
    ("pending_payment", &["paid", "expired", "cancelled"]),
    ("paid", &["refunding"]),
    ("refunding", &["refunded", "partially_refunded"]),
    ("partially_refunded", &["refunding"]),
    ("expired", &[]),
    ("cancelled", &[]),
    ("refunded", &[]),
];

#[derive(Debug, Clone)]
enum Step {
    Create {
        qty: i64,
    },
    Pay {
        order: prop::sample::Index,
        accepted: bool,
    },
    Cancel {
        order: prop::sample::Index,
    },
    RefundAll {
        order: prop::sample::Index,
    },
    RefundAmount {
        order: prop::sample::Index,
        amount: i64,
    },
    RefundUnits {
        order: prop::sample::Index,
        qty: i64,
    },
    Deliver {
        units: i64,
    },
    Wait {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let order = any::<prop::sample::Index>;
    prop_oneof![
        4 => (1..5_i64).prop_map(|qty| Step::Create { qty }),
        4 => (order(), any::<bool>()).prop_map(|(order, accepted)| Step::Pay { order, accepted }),
        1 => order().prop_map(|order| Step::Cancel { order }),
        1 => order().prop_map(|order| Step::RefundAll { order }),
        2 => (order(), 1..3 * PRICE).prop_map(|(order, amount)| Step::RefundAmount { order, amount }),
        2 => (order(), 1..3_i64).prop_map(|(order, qty)| Step::RefundUnits { order, qty }),
        1 => (1..6_i64).prop_map(|units| Step::Deliver { units }),
        2 => (1..600_u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// What the test knows of the shop from its own steps.
struct Walk {
    shop: Shop,
    ids: Vec<String>,
    delivered: i64,
    units_back: BTreeMap<String, i64>,
    steps: usize,
}

impl Walk {
    async fn take(&mut self, step: &Step) {
        self.steps += 1;
        let key = format!("key-{}", self.steps);
        let chosen = |order: &prop::sample::Index| {
            (!self.ids.is_empty()).then(|| order.get(&self.ids).clone())
        };
        let (told, allowed): (_, &[u16]) = match step {
            Step::Create { qty } => {
                let told = self.shop.create(&key, &[("A1", *qty)]).await;
                if told.status == 201 {
                    self.ids.push(id(&told.body));
                }
                (told, &[201, 409])
            }
            Step::Pay { order, accepted } => {
                let Some(order) = chosen(order) else { return };
                let token = if *accepted { "tok_ok" } else { "tok_declined" };
                (
                    self.shop.pay(&order, &key, token).await,
                    if *accepted {
                        &[200, 409, 410]
                    } else {
                        &[402, 409, 410]
                    },
                )
            }
            Step::Cancel { order } => {
                let Some(order) = chosen(order) else { return };
                (self.shop.cancel(&order, &key).await, &[200, 409])
            }
            Step::RefundAll { order } => {
                let Some(order) = chosen(order) else { return };
                (self.shop.refund(&order, &key, json!({})).await, &[202, 409])
            }
            Step::RefundAmount { order, amount } => {
                let Some(order) = chosen(order) else { return };
                (
                    self.shop
                        .refund(&order, &key, json!({ "amount": amount }))
                        .await,
                    &[202, 409],
                )
            }
            Step::RefundUnits { order, qty } => {
                let Some(order) = chosen(order) else { return };
                let told = self
                    .shop
                    .refund(
                        &order,
                        &key,
                        json!({ "items": [{ "sku": "A1", "qty": qty }] }),
                    )
                    .await;
                if told.status == 202 {
                    *self.units_back.entry(order).or_default() += qty;
                }
                (told, &[202, 409])
            }
            Step::Deliver { units } => {
                self.delivered += units;
                let change = json!({ "delta": units, "reason": "delivery" });
                (
                    self.shop
                        .goods()
                        .post("/goods/A1/stock/adjust", &key, change)
                        .await,
                    &[200],
                )
            }
            Step::Wait { seconds } => {
                self.shop.clock.advance(Duration::from_secs(*seconds));
                return;
            }
        };
        assert!(allowed.contains(&told.status), "{step:?}: {told:?}");
        self.check_stock().await;
    }

    /// What holds at every moment.
    async fn check_stock(&self) {
        let [on_hand, reserved, available, sold] = self.shop.stock("A1").await;
        assert_eq!(on_hand + sold, self.delivered, "units are conserved");
        assert!(reserved >= 0 && available >= 0, "never oversold");
    }

    /// What holds once all that lags behind has caught up.
    async fn check_end(&self) {
        let mut orders = Vec::new();
        for id in &self.ids {
            orders.push(
                self.shop
                    .order
                    .get(&format!("/orders/{id}"))
                    .await
                    .expect(200),
            );
            self.check_events(id).await;
        }
        let qty = |order: &Value| order["items"][0]["qty"].as_i64().unwrap();
        let state = |order: &Value| text(&order["state"]);
        let sold: i64 = orders
            .iter()
            .filter(|order| matches!(state(order).as_str(), "paid" | "partially_refunded"))
            .map(|order| qty(order) - self.units_back.get(&id(order)).unwrap_or(&0))
            .sum();
        let waiting: Vec<String> = orders
            .iter()
            .filter(|order| state(order) == "pending_payment")
            .map(id)
            .collect();
        // An order that still waits may expire while this is read; then both sides move.
        let held = async || {
            let mut units = 0;
            for id in &waiting {
                let order = self
                    .shop
                    .order
                    .get(&format!("/orders/{id}"))
                    .await
                    .expect(200);
                units += if state(&order) == "pending_payment" {
                    qty(&order)
                } else {
                    0
                };
            }
            units
        };
        shop_kit::testing::eventually(
            "units are held for waiting orders and for nobody else",
            async || {
                let [on_hand, reserved, ..] = self.shop.stock("A1").await;
                reserved == held().await && on_hand == self.delivered - sold
            },
        )
        .await;
        self.check_money(&orders);
    }

    fn check_money(&self, orders: &[Value]) {
        let books = self.shop.till.books();
        let amount = |order: &Value, field: &str| order[field]["amount"].as_i64().unwrap();
        let paid = |order: &&Value| {
            !matches!(
                text(&order["state"]).as_str(),
                "pending_payment" | "expired" | "cancelled"
            )
        };
        let captured: i64 = orders
            .iter()
            .filter(paid)
            .map(|order| amount(order, "total"))
            .sum();
        assert_eq!(books.captured.values().sum::<i64>(), captured);
        let refunded: i64 = orders.iter().map(|order| amount(order, "refunded")).sum();
        assert_eq!(books.refunded.values().sum::<i64>(), refunded);
        for order in orders {
            let (refunded, total) = (amount(order, "refunded"), amount(order, "total"));
            assert!(refunded <= total);
            assert_eq!(
                text(&order["state"]) == "refunded",
                refunded == total,
                "{order}"
            );
        }
    }

    async fn check_events(&self, id: &str) {
        let page = self
            .shop
            .order
            .get(&format!("/orders/{id}/events"))
            .await
            .expect(200);
        let mut state = "pending_payment".to_owned();
        for event in &page["items"].as_array().unwrap()[1..] {
            let data = &event["data"];
            if event["type"] == "order.payment_failed" {
                assert_eq!(state, "pending_payment");
                continue;
            }
            assert_eq!(data["from"], state, "{event}");
            let next = text(&data["state"]);
            let follows = FOLLOWS.iter().find(|(from, _)| *from == state).unwrap().1;
            assert!(follows.contains(&next.as_str()), "{state} > {next}");
            state = next;
        }
    }
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "how often the walks came by each kind of event is part of the result"
)]
fn money_and_units_are_conserved() {
    let config = Config {
        cases: 24,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    };
    let seen = RefCell::new(BTreeMap::<String, usize>::new());
    let outcome = TestRunner::new(config).run(&prop::collection::vec(step(), 5..40), |steps| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let shop = Shop::open();
            shop.article("A1", PRICE, 10).await;
            let mut walk = Walk {
                shop,
                ids: Vec::new(),
                delivered: 10,
                units_back: BTreeMap::new(),
                steps: 0,
            };
            for step in &steps {
                walk.take(step).await;
            }
            walk.check_end().await;
            for id in &walk.ids {
                for event in walk.shop.events(id).await {
                    *seen.borrow_mut().entry(event).or_default() += 1;
                }
            }
        });
        Ok(())
    });
    outcome.unwrap();
    let seen = seen.into_inner();
    println!("{seen:?}");
    let kinds = [
        "created",
        "paid",
        "payment_failed",
        "cancelled",
        "expired",
        "refunding",
        "refunded",
    ];
    for kind in kinds {
        assert!(
            seen.contains_key(&format!("order.{kind}")),
            "no walk came by {kind}: {seen:?}"
        );
    }
}
