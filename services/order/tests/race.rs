//! The race: 500 clients, 50 units, three processes of order and three of goods, one of each killed while it runs.
//!
//! The processes are the real binaries, killed with SIGKILL. A client whose connection breaks, or who is answered 5xx, tries
//! once more with the same key at another replica, as a gateway would have it do. Afterwards exactly 50 orders exist, 450
//! clients were told that nothing is left, nobody is left with a 5xx, and every unit is accounted for.
#![expect(clippy::unwrap_used, reason = "a test may end on a surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};
use shop_kit::client::{Answer, Call, CallError, Client, Limits};
use shop_kit::testing::{eventually, folder};

const CLIENTS: usize = 500;
const UNITS: i64 = 50;
const REPLICAS: usize = 3;

/// The replica of each service that is killed, and after how many answers.
const VICTIM: usize = 0;
const KILL_ORDER_AFTER: usize = 40;
const KILL_GOODS_AFTER: usize = 80;

/// A process of a service.
struct Replica {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Replica {
    fn start(binary: &Path, data: &Path, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(binary)
            .env_clear()
            .envs([("PORT", "127.0.0.1:0"), ("ADMIN_PORT", "127.0.0.1:0")])
            .env("DATA_DIR", data)
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(first["message"], "listening", "{first}");
        let address = |name: &str| first[name].as_str().unwrap().parse().unwrap();
        let (address, admin) = (address("address"), address("admin"));
        // The log is read to the end, so that a full pipe never stops the process; warnings are shown when the test fails.
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .filter(|line| !line.contains("\"INFO\""))
                .for_each(|line| eprintln!("{line}"))
        });
        Self {
            child,
            address,
            admin,
        }
    }

    async fn ready(&self) {
        let client = client(self.admin);
        let ready = async || {
            client
                .send(&Call::new(Method::GET, "/readyz").once())
                .await
                .is_ok_and(|answer| answer.status == 200)
        };
        eventually("the replica is ready", ready).await;
    }

    fn terminate(&mut self) {
        assert!(
            Command::new("kill")
                .args(["-TERM", &self.child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        assert!(
            self.child.wait().unwrap().success(),
            "SIGTERM ends a service cleanly"
        );
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn client(address: SocketAddr) -> Client {
    let patience = Duration::from_secs(25);
    let limits = Limits {
        connect: patience,
        attempt: patience,
        total: patience,
    };
    Client::new("TEST", &format!("http://{address}"), limits).unwrap()
}

/// Returns the goods binary that lies beside the order binary, built if it is missing or older than its sources.
fn goods_binary() -> PathBuf {
    let order = Path::new(env!("CARGO_BIN_EXE_order"));
    let goods = order.with_file_name("goods");
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let built = modified(&goods);
    let sources = [services.join("goods"), services.join("kit")]
        .map(|folder| newest(&folder))
        .into_iter()
        .max()
        .unwrap();
    if built.is_none_or(|built| built < sources) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(services).args([
            "build",
            "--locked",
            "--package",
            "goods",
            "--bin",
            "goods",
        ]);
        if order
            .parent()
            .is_some_and(|folder| folder.ends_with("release"))
        {
            cargo.arg("--release");
        }
        // target/<triple>/<profile>/order
        cargo
            .arg("--target-dir")
            .arg(order.ancestors().nth(3).unwrap());
        assert!(cargo.status().unwrap().success(), "goods cannot be built");
    }
    goods
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

fn newest(folder: &Path) -> SystemTime {
    let entries = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let times = entries.map(|path| {
        if path.is_dir() {
            newest(&path)
        } else {
            modified(&path).unwrap()
        }
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn order_body() -> Value {
    let address = json!({ "name": "Ada", "line1": "Main St 1", "city": "Berlin", "postal_code": "10115", "country": "DE" });
    json!({ "items": [{ "sku": "A1", "qty": 1 }], "address": address })
}

/// One customer: an attempt, and one retry with the same key if it was not answered.
async fn buy(
    number: usize,
    replicas: &[Client],
    answered: &AtomicUsize,
    retried: &AtomicUsize,
) -> Answer {
    let call = Call::new(Method::POST, "/orders")
        .json(&order_body())
        .unwrap()
        .key(&format!("client-{number}"))
        .once();
    let first = number % REPLICAS;
    let mut outcome = replicas[first].send(&call).await;
    if !is_answered(&outcome) {
        retried.fetch_add(1, Ordering::SeqCst);
        let other = (1..REPLICAS)
            .map(|step| (first + step) % REPLICAS)
            .find(|replica| *replica != VICTIM)
            .unwrap();
        outcome = replicas[other].send(&call).await;
    }
    answered.fetch_add(1, Ordering::SeqCst);
    outcome.unwrap_or_else(|error| panic!("client {number} was not answered: {error}"))
}

fn is_answered(outcome: &Result<Answer, CallError>) -> bool {
    outcome
        .as_ref()
        .is_ok_and(|answer| !answer.status.is_server_error())
}

async fn get(client: &Client, path: &str) -> Value {
    let answer = client.send(&Call::new(Method::GET, path)).await.unwrap();
    assert_eq!(answer.status, 200);
    answer.json().unwrap()
}

async fn stock(goods: &Client) -> [i64; 4] {
    let stock = get(goods, "/goods/A1/stock").await;
    ["on_hand", "reserved", "available", "sold"].map(|name| stock[name].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_of_five_hundred_win_though_replicas_die() {
    let (order_data, goods_data) = (folder(), folder());
    let goods_binary = goods_binary();
    let mut goods: Vec<Replica> = (0..REPLICAS)
        .map(|_| Replica::start(&goods_binary, goods_data.path(), &[]))
        .collect();
    let urls: Vec<String> = goods
        .iter()
        .map(|replica| format!("http://{}", replica.address))
        .collect();
    let settings = [("GOODS_URL", urls.join(","))];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let order = Path::new(env!("CARGO_BIN_EXE_order"));
    let mut orders: Vec<Replica> = (0..REPLICAS)
        .map(|_| Replica::start(order, order_data.path(), &settings))
        .collect();
    for replica in goods.iter().chain(&orders) {
        replica.ready().await;
    }
    let order_clients: Arc<[Client]> = orders
        .iter()
        .map(|replica| client(replica.address))
        .collect();
    let living_goods = client(goods[VICTIM + 1].address);
    let article =
        json!({ "sku": "A1", "name": "Cup", "price": { "amount": 1999, "currency": "EUR" } });
    let made = living_goods
        .send(&Call::new(Method::POST, "/goods").json(&article).unwrap())
        .await
        .unwrap();
    assert_eq!(made.status, 201);
    let count = Call::new(Method::PUT, "/goods/A1/stock")
        .json(&json!({ "on_hand": UNITS }))
        .unwrap();
    assert_eq!(living_goods.send(&count).await.unwrap().status, 200);

    let (answered, retried) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let customers = (0..CLIENTS).map(|number| {
        let (clients, answered, retried) =
            (order_clients.clone(), answered.clone(), retried.clone());
        tokio::spawn(async move { buy(number, &clients, &answered, &retried).await })
    });
    let customers = join_all(customers.collect::<Vec<_>>());
    let killer = async {
        for (victim, after) in [
            (&mut orders[VICTIM], KILL_ORDER_AFTER),
            (&mut goods[VICTIM], KILL_GOODS_AFTER),
        ] {
            eventually("enough clients were answered", async || {
                answered.load(Ordering::SeqCst) >= after
            })
            .await;
            victim.child.kill().unwrap();
            victim.child.wait().unwrap();
        }
        answered.load(Ordering::SeqCst)
    };
    let (answers, answered_at_last_kill) = tokio::join!(customers, killer);
    let answers: Vec<Answer> = answers.into_iter().map(Result::unwrap).collect();
    assert!(
        answered_at_last_kill < CLIENTS - UNITS.unsigned_abs() as usize,
        "both died while most clients still waited"
    );
    assert!(
        retried.load(Ordering::SeqCst) > 0,
        "the death of a replica was felt"
    );

    let mut told: BTreeMap<(u16, String), usize> = BTreeMap::new();
    let mut won = BTreeSet::new();
    for answer in &answers {
        let body: Value = answer.json().unwrap();
        let what = if answer.status == 201 {
            "state"
        } else {
            "type"
        };
        *told
            .entry((
                answer.status.as_u16(),
                body[what].as_str().unwrap_or("").to_owned(),
            ))
            .or_default() += 1;
        if answer.status == 201 {
            won.insert(body["id"].as_str().unwrap().to_owned());
        }
    }
    let expected = [
        ((201, "pending_payment".to_owned()), 50),
        ((409, "urn:shop:problem:out-of-stock".to_owned()), 450),
    ];
    assert_eq!(told, expected.into());

    let living_order = &order_clients[VICTIM + 1];
    let listed = get(living_order, "/orders?limit=200").await;
    let existing: BTreeSet<String> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order| order["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        existing, won,
        "every order that exists is one that a client knows of"
    );
    assert!(
        listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|order| order["state"] == "pending_payment")
    );
    assert_eq!(stock(&living_goods).await, [UNITS, UNITS, 0, 0]);

    let pay = json!({ "method": "card", "token": "tok_ok" });
    let paying = won.iter().enumerate().map(|(n, id)| {
        let call = Call::new(Method::POST, format!("/orders/{id}/pay"))
            .json(&pay)
            .unwrap()
            .key("pay")
            .once();
        let client = order_clients[VICTIM + 1 + n % (REPLICAS - 1)].clone();
        async move { client.send(&call).await.unwrap().status.as_u16() }
    });
    assert!(
        join_all(paying)
            .await
            .into_iter()
            .all(|status| status == 200)
    );
    assert_eq!(stock(&living_goods).await, [0, 0, 0, UNITS]);

    for replica in orders.iter_mut().chain(&mut goods) {
        if replica.child.try_wait().unwrap().is_none() {
            replica.terminate();
        }
    }
}
