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
use shop_kit::testing::{TempDir, eventually, folder};

const CLIENTS: usize = 500;
const UNITS: i64 = 50;
const REPLICAS: usize = 3;

/// The replica of each service that is killed, and after how many answers: early, while units are still being won.
const VICTIM: usize = 0;
const KILL_ORDER_AFTER: usize = 3;
const KILL_GOODS_AFTER: usize = 20;

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
        // The log is read to the end, so that a full pipe never stops the process.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
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

/// The six processes and the way to them.
struct Shop {
    orders: Vec<Replica>,
    goods: Vec<Replica>,
    to_orders: Arc<[Client]>,
    to_goods: Client,
    _data: [TempDir; 2],
}

impl Shop {
    async fn open() -> Self {
        let data = [folder(), folder()];
        let binary = goods_binary();
        let start = |_| Replica::start(&binary, data[0].path(), &[]);
        let goods: Vec<Replica> = (0..REPLICAS).map(start).collect();
        let urls: Vec<String> = goods
            .iter()
            .map(|replica| format!("http://{}", replica.address))
            .collect();
        let urls = urls.join(",");
        let binary = Path::new(env!("CARGO_BIN_EXE_order"));
        let start = |_| Replica::start(binary, data[1].path(), &[("GOODS_URL", &urls)]);
        let orders: Vec<Replica> = (0..REPLICAS).map(start).collect();
        for replica in goods.iter().chain(&orders) {
            replica.ready().await;
        }
        let to_orders = orders
            .iter()
            .map(|replica| client(replica.address))
            .collect();
        let to_goods = client(goods[VICTIM + 1].address);
        Self {
            orders,
            goods,
            to_orders,
            to_goods,
            _data: data,
        }
    }

    async fn stock_up(&self) {
        let article =
            json!({ "sku": "A1", "name": "Cup", "price": { "amount": 1999, "currency": "EUR" } });
        let made = self
            .to_goods
            .send(&Call::new(Method::POST, "/goods").json(&article).unwrap())
            .await;
        assert_eq!(made.unwrap().status, 201);
        let count = Call::new(Method::PUT, "/goods/A1/stock")
            .json(&json!({ "on_hand": UNITS }))
            .unwrap();
        assert_eq!(self.to_goods.send(&count).await.unwrap().status, 200);
    }

    /// Lets all clients loose and kills two replicas meanwhile; returns what each client was told in the end.
    async fn race(&mut self) -> Vec<Answer> {
        let (answered, retried) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let customers = (0..CLIENTS).map(|number| {
            let (replicas, answered, retried) =
                (self.to_orders.clone(), answered.clone(), retried.clone());
            tokio::spawn(async move { buy(number, &replicas, &answered, &retried).await })
        });
        let customers = join_all(customers.collect::<Vec<_>>());
        let victims = [
            (&mut self.orders[VICTIM], KILL_ORDER_AFTER),
            (&mut self.goods[VICTIM], KILL_GOODS_AFTER),
        ];
        let killer = async {
            for (victim, after) in victims {
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
        assert!(
            answered_at_last_kill < CLIENTS * 9 / 10,
            "both died while clients still waited"
        );
        assert!(
            retried.load(Ordering::SeqCst) > 0,
            "the death of a replica was felt"
        );
        answers.into_iter().map(Result::unwrap).collect()
    }

    async fn stock(&self) -> [i64; 4] {
        let stock = get(&self.to_goods, "/goods/A1/stock").await;
        ["on_hand", "reserved", "available", "sold"].map(|name| stock[name].as_i64().unwrap())
    }

    /// Returns the orders that exist, by id.
    async fn orders(&self) -> BTreeMap<String, String> {
        let listed = get(&self.to_orders[VICTIM + 1], "/orders?limit=200").await;
        listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|order| (text(order, "id"), text(order, "state")))
            .collect()
    }

    async fn pay(&self, ids: &BTreeSet<String>) {
        let pay = json!({ "method": "card", "token": "tok_ok" });
        let payments = ids.iter().enumerate().map(|(n, id)| {
            let call = Call::new(Method::POST, format!("/orders/{id}/pay"))
                .json(&pay)
                .unwrap()
                .key("pay")
                .once();
            let replica = self.to_orders[VICTIM + 1 + n % (REPLICAS - 1)].clone();
            async move { replica.send(&call).await.unwrap().status.as_u16() }
        });
        assert!(
            join_all(payments)
                .await
                .into_iter()
                .all(|status| status == 200)
        );
    }

    fn close(mut self) {
        for replica in self.orders.iter_mut().chain(&mut self.goods) {
            if replica.child.try_wait().unwrap().is_none() {
                replica.terminate();
            }
        }
    }
}

async fn get(client: &Client, path: &str) -> Value {
    let answer = client.send(&Call::new(Method::GET, path)).await.unwrap();
    assert_eq!(answer.status, 200);
    answer.json().unwrap()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or("").to_owned()
}

/// Checks that every client was told one of two things, and returns the orders of those who won.
fn winners(answers: &[Answer]) -> BTreeSet<String> {
    let mut told: BTreeMap<(u16, String), i64> = BTreeMap::new();
    let mut won = BTreeSet::new();
    for answer in answers {
        let body: Value = answer.json().unwrap();
        let status = answer.status.as_u16();
        let what = if status == 201 { "state" } else { "type" };
        *told.entry((status, text(&body, what))).or_default() += 1;
        if status == 201 {
            won.insert(text(&body, "id"));
        }
    }
    let refused = i64::try_from(CLIENTS).unwrap() - UNITS;
    let expected = [
        ((201, "pending_payment".to_owned()), UNITS),
        ((409, "urn:shop:problem:out-of-stock".to_owned()), refused),
    ];
    assert_eq!(told, expected.into());
    won
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_of_five_hundred_win_though_replicas_die() {
    let mut shop = Shop::open().await;
    shop.stock_up().await;
    let answers = shop.race().await;
    let won = winners(&answers);

    let in_state = |state: &str| {
        won.iter()
            .map(|id| (id.clone(), state.to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(
        shop.orders().await,
        in_state("pending_payment"),
        "every order that exists is one that a client knows of"
    );
    assert_eq!(shop.stock().await, [UNITS, UNITS, 0, 0]);
    shop.pay(&won).await;
    assert_eq!(shop.orders().await, in_state("paid"));
    assert_eq!(shop.stock().await, [0, 0, 0, UNITS]);
    shop.close();
}
