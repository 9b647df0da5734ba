//! Random walks over stock and reservations, step by step compared with a model of twenty lines.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::json;
use shop_kit::clock::Clock;
use shop_kit::testing::{Running, Told, folder};

const TTL_S: u64 = 100;

#[derive(Debug, Clone)]
enum Step {
    Count(i64),
    Adjust(i64),
    Reserve { order: u8, qty: i64 },
    Commit { order: u8 },
    Release { order: u8 },
    Return { order: u8, qty: i64 },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let order = || 0..6_u8;
    prop_oneof![
        1 => (0..12_i64).prop_map(Step::Count),
        2 => (-4..5_i64).prop_filter("zero is no change", |delta| *delta != 0).prop_map(Step::Adjust),
        5 => (order(), 1..5_i64).prop_map(|(order, qty)| Step::Reserve { order, qty }),
        3 => order().prop_map(|order| Step::Commit { order }),
        2 => order().prop_map(|order| Step::Release { order }),
        2 => (order(), 1..4_i64).prop_map(|(order, qty)| Step::Return { order, qty }),
        2 => (1..TTL_S).prop_map(Step::Wait),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Hold {
    Held { qty: i64, until: u64 },
    Committed { qty: i64, returned: i64 },
    Released,
    Expired,
}

/// What the service should be, in memory.
#[derive(Debug, Default)]
struct Model {
    now: u64,
    on_hand: i64,
    holds: BTreeMap<u8, Hold>,
}

impl Model {
    fn reserved(&self) -> i64 {
        self.holds
            .values()
            .map(|hold| {
                if let Hold::Held { qty, .. } = hold {
                    *qty
                } else {
                    0
                }
            })
            .sum()
    }

    fn sold(&self) -> i64 {
        self.holds
            .values()
            .map(|hold| {
                if let Hold::Committed { qty, returned } = hold {
                    qty - returned
                } else {
                    0
                }
            })
            .sum()
    }

    /// Takes a step and returns the status that the service must answer.
    fn take(&mut self, step: &Step) -> u16 {
        let reserved = self.reserved();
        match *step {
            Step::Wait(seconds) => {
                self.now += seconds;
                for hold in self.holds.values_mut() {
                    if matches!(hold, Hold::Held { until, .. } if *until <= self.now) {
                        *hold = Hold::Expired;
                    }
                }
                200
            }
            Step::Count(on_hand) if on_hand < reserved => 409,
            Step::Count(on_hand) => {
                self.on_hand = on_hand;
                200
            }
            Step::Adjust(delta) if self.on_hand + delta < reserved => 409,
            Step::Adjust(delta) => {
                self.on_hand += delta;
                200
            }
            Step::Reserve { order, qty } => match self.holds.get(&order) {
                Some(Hold::Held { qty: held, .. } | Hold::Committed { qty: held, .. }) => {
                    if *held == qty { 201 } else { 422 }
                }
                Some(Hold::Released) => 409,
                None | Some(Hold::Expired) if qty > self.on_hand - reserved => 409,
                None | Some(Hold::Expired) => {
                    self.holds.insert(
                        order,
                        Hold::Held {
                            qty,
                            until: self.now + TTL_S,
                        },
                    );
                    201
                }
            },
            Step::Commit { order } => match self.holds.get_mut(&order) {
                None => 404,
                Some(Hold::Released) => 409,
                Some(Hold::Expired) => 410,
                Some(Hold::Committed { .. }) => 200,
                Some(hold @ Hold::Held { .. }) => {
                    let Hold::Held { qty, .. } = *hold else {
                        unreachable!()
                    };
                    self.on_hand -= qty;
                    *hold = Hold::Committed { qty, returned: 0 };
                    200
                }
            },
            Step::Release { order } => match self.holds.get_mut(&order) {
                None => 404,
                Some(Hold::Committed { .. }) => 409,
                Some(Hold::Expired | Hold::Released) => 204,
                Some(hold) => {
                    *hold = Hold::Released;
                    204
                }
            },
            Step::Return { order, qty: back } => match self.holds.get_mut(&order) {
                None => 404,
                Some(Hold::Committed { qty, returned }) => {
                    if *returned + back > *qty {
                        return 400;
                    }
                    *returned += back;
                    self.on_hand += back;
                    200
                }
                Some(_) => 409,
            },
        }
    }
}

async fn take(goods: &Running, clock: &Clock, number: usize, step: &Step) -> Option<Told> {
    let key = format!("key-{number}");
    let path = |order: &u8, what: &str| format!("/reservations/o{order}{what}");
    Some(match step {
        Step::Wait(seconds) => {
            clock.advance(Duration::from_secs(*seconds));
            return None;
        }
        Step::Count(on_hand) => {
            goods
                .put("/goods/A1/stock", json!({ "on_hand": on_hand }))
                .await
        }
        Step::Adjust(delta) => {
            goods
                .post(
                    "/goods/A1/stock/adjust",
                    &key,
                    json!({ "delta": delta, "reason": "x" }),
                )
                .await
        }
        Step::Reserve { order, qty } => {
            let body = json!({ "order_id": format!("o{order}"), "items": [{ "sku": "A1", "qty": qty }], "ttl_s": TTL_S });
            goods.post("/reservations", &key, body).await
        }
        Step::Commit { order } => goods.call("POST", &path(order, "/commit"), &[], None).await,
        Step::Release { order } => goods.call("DELETE", &path(order, ""), &[], None).await,
        Step::Return { order, qty } => {
            goods
                .post(
                    &path(order, "/return"),
                    &key,
                    json!({ "items": [{ "sku": "A1", "qty": qty }] }),
                )
                .await
        }
    })
}

proptest! {
    #![proptest_config(Config { cases: 48, failure_persistence: None, max_shrink_iters: 100, ..Config::default() })]

    #[test]
    fn every_step_does_what_the_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let clock = Clock::manual(1_800_000_000_000);
            let service_clock = clock.clone();
            let folder = folder();
            let start = async move |host: &mut shop_kit::Host| goods::start_at(host, service_clock).await;
            let goods = Running::start(goods::ABOUT, folder.path(), &[], start);
            goods.put("/goods/A1", json!({ "name": "Cup", "price": { "amount": 1, "currency": "EUR" } })).await.expect(201);
            let mut model = Model::default();
            for (number, step) in steps.iter().enumerate() {
                let status = model.take(step);
                if let Some(told) = take(&goods, &clock, number, step).await {
                    assert_eq!(told.status, status, "{number}: {step:?} {}", told.body);
                    if matches!(step, Step::Release { .. }) {
                        continue;
                    }
                }
                // Expiry is noticed at the latest by the next reservation or commit; this one is refused.
                let nudge = json!({ "order_id": "nudge", "items": [{ "sku": "A1", "qty": 1_000_000 }] });
                assert_eq!(goods.post("/reservations", &format!("nudge-{number}"), nudge).await.slug(), "out-of-stock");
                let stock = goods.get("/goods/A1/stock").await.expect(200);
                let expected = json!({ "on_hand": model.on_hand, "reserved": model.reserved(),
                    "available": model.on_hand - model.reserved(), "sold": model.sold() });
                assert_eq!(stock, expected, "{number}: {step:?}");
            }
        });
    }
}
