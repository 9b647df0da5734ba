//! The race through containers: 500 clients, 50 units, three replicas of order and three of goods behind the gateway, one of
//! each killed meanwhile.
//!
//! The services are the real ones, deployed by shopctl from the stack file that users run. A client whose connection breaks,
//! or who is answered 5xx, tries once more with the same key. Afterwards exactly 50 orders exist, 450 clients were told that
//! nothing is left, nobody is left with a 5xx, and every unit is accounted for. A container that is killed through the
//! engine's API counts as stopped by hand, so no restart policy brings it back: the survivors carry the rest of the race, and
//! the next deploy mends the stack.

mod support;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use serde_json::Value;
use serde_json::json;
use support::block_on;
use support::http::Ask;
use support::shop::Shop;

const CLIENTS: u32 = 500;
const UNITS: i64 = 50;
const REPLICAS: usize = 3;

/// The last one is dead before so many answers, so that most clients still wait.
const LATEST: usize = 450;

/// Time between two arrivals.
const APART: Duration = Duration::from_millis(2);

/// After how many answers a replica dies: early, while units are still being won.
const KILLS: [(&str, usize); 2] = [("order", 3), ("goods", 20)];

/// What clients were told, and how the race went.
#[derive(Default)]
struct Race {
    answered: AtomicUsize,
    retried: AtomicUsize,
}

impl Race {
    /// One customer: an attempt, and one more with the same key if it was not answered.
    async fn buy(&self, number: u32, orders: u16) -> (u16, Value) {
        let address = json!({ "name": "Ada", "line1": "Main St 1", "city": "Berlin", "postal_code": "10115", "country": "DE" });
        let order = json!({ "items": [{ "sku": "A1", "qty": 1 }], "address": address });
        let mut ask = Ask::new(orders, Method::POST, "/orders").body(order);
        ask.key = format!("client-{number}");
        let mut answer = ask.send().await;
        if !matches!(answer, Ok((..500, _))) {
            self.retried.fetch_add(1, Ordering::SeqCst);
            answer = ask.send().await;
        }
        self.answered.fetch_add(1, Ordering::SeqCst);
        answer.unwrap_or_else(|error| panic!("client {number} was not answered: {error}"))
    }

    /// Kills the first replica of each service in turn; how many clients had their answer when the last one was dead.
    async fn kill(&self, victims: &[String]) -> usize {
        for ((_, after), victim) in KILLS.iter().zip(victims) {
            let deadline = Instant::now() + Duration::from_secs(30);
            while self.answered.load(Ordering::SeqCst) < *after {
                assert!(Instant::now() < deadline, "too few clients are answered");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let options = bollard::query_parameters::KillContainerOptionsBuilder::default()
                .signal("SIGKILL")
                .build();
            let killed = support::docker()
                .kill_container(victim, Some(options))
                .await;
            killed.expect("it runs");
        }
        self.answered.load(Ordering::SeqCst)
    }
}

/// Lets all clients loose and kills two replicas meanwhile; what each client was told in the end.
async fn race(shop: &Shop, victims: &[String]) -> Vec<(u16, Value)> {
    let race = Arc::new(Race::default());
    let orders = shop.orders;
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let race = Arc::clone(&race);
            tokio::spawn(async move {
                // They come within a second, long before the first answers.
                tokio::time::sleep(APART * number).await;
                race.buy(number, orders).await
            })
        })
        .collect();
    let (answers, at_last_kill) =
        tokio::join!(futures_util::future::join_all(clients), race.kill(victims));
    let retried = race.retried.load(Ordering::SeqCst);
    report(&format!(
        "{CLIENTS} clients in {:?}; {at_last_kill} had their answer when both victims were dead; {retried} tried again",
        started.elapsed()
    ));
    assert!(
        at_last_kill < LATEST,
        "both died while clients still waited"
    );
    assert!(retried > 0, "the death of a replica was felt");
    let answered = answers.into_iter();
    answered.map(|one| one.expect("a client")).collect()
}

#[expect(clippy::print_stdout, reason = "the figures are for the reader")]
fn report(line: &str) {
    println!("{line}");
}

fn told(ask: &Ask) -> Value {
    let (status, body) = block_on(ask.send()).expect("the gateway answers");
    assert!((200..300).contains(&status), "{status}: {body}");
    body
}

fn stock(shop: &Shop) -> BTreeMap<&'static str, i64> {
    let found = told(&Ask::new(shop.goods, Method::GET, "/goods/A1/stock"));
    let fields = ["on_hand", "reserved", "available", "sold"];
    let number = |name| {
        found[name]
            .as_i64()
            .unwrap_or_else(|| panic!("{name}: {found}"))
    };
    fields.map(|name| (name, number(name))).into()
}

/// Orders that exist, by id, with their state.
fn orders(shop: &Shop) -> BTreeMap<String, String> {
    let found = told(&Ask::new(shop.orders, Method::GET, "/orders?limit=200"));
    let items = found["items"].as_array().expect("orders");
    let text = |order: &Value, name: &str| order[name].as_str().unwrap_or("").to_owned();
    items
        .iter()
        .map(|order| (text(order, "id"), text(order, "state")))
        .collect()
}

/// Every client was told one of two things; the orders of those who won.
fn winners(answers: &[(u16, Value)]) -> BTreeSet<String> {
    let mut told: BTreeMap<(u16, &str), i64> = BTreeMap::new();
    let mut won = BTreeSet::new();
    for (status, body) in answers {
        let what = if *status == 201 { "state" } else { "type" };
        let word = body[what].as_str().unwrap_or("");
        *told.entry((*status, word)).or_default() += 1;
        if *status == 201 {
            won.insert(body["id"].as_str().unwrap_or("").to_owned());
        }
    }
    let refused = i64::from(CLIENTS) - UNITS;
    let expected = [
        ((201, "pending_payment"), UNITS),
        ((409, "urn:shop:problem:out-of-stock"), refused),
    ];
    assert_eq!(told, expected.into());
    won
}

#[test]
#[ignore = "engine"]
fn fifty_of_five_hundred_win_through_the_gateway_though_replicas_die() {
    let shop = Shop::new(REPLICAS);
    shop.ok(&["deploy", "--progress", "plain"]);
    let before = KILLS.map(|(service, _)| shop.stack.replicas(service));
    assert!(before.iter().all(|replicas| replicas.len() == REPLICAS));
    let victims = before.map(|replicas| replicas[0].clone());

    let article =
        json!({ "sku": "A1", "name": "Cup", "price": { "amount": 1999, "currency": "EUR" } });
    told(&Ask::new(shop.goods, Method::POST, "/goods").body(article));
    let count = json!({ "on_hand": UNITS });
    told(&Ask::new(shop.goods, Method::PUT, "/goods/A1/stock").body(count));

    let answers = block_on(race(&shop, &victims));
    let won = winners(&answers);
    let in_state = |state: &str| -> BTreeMap<String, String> {
        won.iter()
            .map(|id| (id.clone(), state.to_owned()))
            .collect()
    };
    assert_eq!(
        orders(&shop),
        in_state("pending_payment"),
        "every order that exists is one that a client knows of"
    );
    let conserved = [
        ("on_hand", UNITS),
        ("reserved", UNITS),
        ("available", 0),
        ("sold", 0),
    ];
    assert_eq!(stock(&shop), conserved.into());

    // The dead stay dead until the next deploy, which finds nothing lost.
    let states = shop.stack.containers();
    for victim in &victims {
        assert!(states[victim].ends_with("exited"), "{states:?}");
    }
    shop.ok(&["deploy", "--progress", "plain"]);
    shop.ok(&["status", "--check"]);
    for id in &won {
        let path = format!("/orders/{id}/pay");
        let pay = json!({ "method": "card", "token": "tok_ok" });
        told(&Ask::new(shop.orders, Method::POST, &path).body(pay));
    }
    assert_eq!(orders(&shop), in_state("paid"));
    let sold = [
        ("on_hand", 0),
        ("reserved", 0),
        ("available", 0),
        ("sold", UNITS),
    ];
    assert_eq!(stock(&shop), sold.into());
    shop.ok(&["down", "--volumes", "--yes"]);
    assert_eq!(shop.stack.leftovers(), Vec::<String>::new());
}
