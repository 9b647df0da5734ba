//! A whole shop inside a test: the real order service, the real goods service, a watched payment provider, and one clock
//! for all that the test moves by hand.

use std::collections::BTreeMap;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use order::payment::{Answer, Charge, Provider, TestProvider, Unreachable, Verdict};
use serde_json::{Value, json};
use shop_kit::clock::Clock;
use shop_kit::money::Money;
use shop_kit::testing::{Running, TempDir, Told, eventually, folder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A payment provider that keeps books, and can be cut off.
#[derive(Debug, Default)]
pub(crate) struct Till {
    books: Mutex<Books>,
    cut_off: AtomicBool,
}

/// What the provider did, by our ids; doing it again changes nothing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) authorised: BTreeMap<String, i64>,
    pub(crate) captured: BTreeMap<String, i64>,
    pub(crate) voided: Vec<String>,
    pub(crate) refunded: BTreeMap<String, i64>,
}

impl Till {
    pub(crate) fn books(&self) -> Books {
        self.books.lock().unwrap().clone()
    }

    pub(crate) fn cut_off(&self, yes: bool) {
        self.cut_off.store(yes, Ordering::SeqCst);
    }

    fn answer<T: Send + 'static>(&self, change: impl FnOnce(&mut Books) -> T) -> Answer<T> {
        if self.cut_off.load(Ordering::SeqCst) {
            return Box::pin(ready(Err(Unreachable("cut off by the test".to_owned()))));
        }
        let answer = change(&mut self.books.lock().unwrap());
        Box::pin(ready(Ok(answer)))
    }
}

impl Provider for Till {
    fn authorise(&self, charge: &Charge) -> Answer<Verdict> {
        if charge.token != "tok_ok" {
            return TestProvider.authorise(charge);
        }
        self.answer(|books| {
            books
                .authorised
                .insert(charge.payment.clone(), charge.amount.amount);
            Verdict::Authorised
        })
    }

    fn capture(&self, payment: &str) -> Answer<()> {
        self.answer(|books| {
            let amount = books.authorised[payment];
            books.captured.insert(payment.to_owned(), amount);
        })
    }

    fn void(&self, payment: &str) -> Answer<()> {
        self.answer(|books| books.voided.push(payment.to_owned()))
    }

    fn refund(&self, _: &str, refund: &str, amount: Money) -> Answer<()> {
        self.answer(|books| {
            books.refunded.insert(refund.to_owned(), amount.amount);
        })
    }
}

pub(crate) struct Shop {
    pub(crate) order: Running,
    pub(crate) goods: Option<Running>,
    pub(crate) clock: Clock,
    pub(crate) till: Arc<Till>,
    goods_address: SocketAddr,
    order_folder: TempDir,
    goods_folder: TempDir,
}

impl Shop {
    pub(crate) fn open() -> Self {
        Self::open_with(&[])
    }

    /// Opens a shop whose order service has further settings.
    pub(crate) fn open_with(settings: &[(&str, &str)]) -> Self {
        let (order_folder, goods_folder) = (folder(), folder());
        let clock = Clock::manual(1_800_000_000_000);
        let till = Arc::new(Till::default());
        let goods = start_goods(&goods_folder, &clock, "127.0.0.1:0");
        let goods_address = goods.address;
        let order = start_order(&order_folder, &clock, &till, goods_address, settings);
        Self {
            order,
            goods: Some(goods),
            clock,
            till,
            goods_address,
            order_folder,
            goods_folder,
        }
    }

    /// Starts another replica of the order service, which may reach goods by another way.
    pub(crate) fn another_order(
        &self,
        goods: Option<SocketAddr>,
        settings: &[(&str, &str)],
    ) -> Running {
        start_order(
            &self.order_folder,
            &self.clock,
            &self.till,
            goods.unwrap_or(self.goods_address),
            settings,
        )
    }

    pub(crate) fn stop_goods(&mut self) {
        self.goods.take().unwrap().stop();
    }

    /// Starts goods again, where it was, with what it had.
    pub(crate) fn goods_again(&self) -> Running {
        start_goods(
            &self.goods_folder,
            &self.clock,
            &self.goods_address.to_string(),
        )
    }

    pub(crate) fn start_goods(&mut self) {
        self.goods = Some(self.goods_again());
    }

    pub(crate) fn goods(&self) -> &Running {
        self.goods.as_ref().unwrap()
    }

    pub(crate) fn goods_address(&self) -> SocketAddr {
        self.goods_address
    }

    /// Opens the order service's file beside it, for what has no route yet.
    pub(crate) async fn in_order_file(&self, sql: &'static str, id: &str) {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.order_folder.path().join("order.db"));
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        assert_eq!(
            sqlx::query(sql)
                .bind(id)
                .execute(&pool)
                .await
                .unwrap()
                .rows_affected(),
            1
        );
        pool.close().await;
    }

    pub(crate) async fn article(&self, sku: &str, price: i64, on_hand: i64) {
        let content = json!({ "name": "Cup", "price": { "amount": price, "currency": "EUR" } });
        self.goods()
            .put(&format!("/goods/{sku}"), content)
            .await
            .expect(201);
        self.goods()
            .put(
                &format!("/goods/{sku}/stock"),
                json!({ "on_hand": on_hand }),
            )
            .await
            .expect(200);
    }

    /// Returns the units on hand, reserved, available and sold.
    pub(crate) async fn stock(&self, sku: &str) -> [i64; 4] {
        let stock = self
            .goods()
            .get(&format!("/goods/{sku}/stock"))
            .await
            .expect(200);
        ["on_hand", "reserved", "available", "sold"].map(|name| stock[name].as_i64().unwrap())
    }

    pub(crate) async fn create(&self, key: &str, items: &[(&str, i64)]) -> Told {
        self.order.post("/orders", key, order_body(items)).await
    }

    /// Creates an order that must succeed and returns its id.
    pub(crate) async fn created(&self, key: &str, items: &[(&str, i64)]) -> String {
        id(&self.create(key, items).await.expect(201))
    }

    pub(crate) async fn pay(&self, id: &str, key: &str, token: &str) -> Told {
        self.order
            .post(
                &format!("/orders/{id}/pay"),
                key,
                json!({ "method": "card", "token": token }),
            )
            .await
    }

    pub(crate) async fn cancel(&self, id: &str, key: &str) -> Told {
        self.order
            .post(&format!("/orders/{id}/cancel"), key, json!({}))
            .await
    }

    pub(crate) async fn refund(&self, id: &str, key: &str, body: Value) -> Told {
        self.order
            .post(&format!("/orders/{id}/refund"), key, body)
            .await
    }

    pub(crate) async fn state(&self, id: &str) -> String {
        text(&self.order.get(&format!("/orders/{id}")).await.expect(200)["state"])
    }

    pub(crate) async fn eventually_state(&self, id: &str, state: &str) {
        eventually(&format!("{id} is {state}"), async || {
            self.state(id).await == state
        })
        .await;
    }

    pub(crate) async fn eventually_stock(&self, sku: &str, stock: [i64; 4]) {
        eventually(&format!("the stock of {sku} is {stock:?}"), async || {
            self.stock(sku).await == stock
        })
        .await;
    }

    /// Returns the types of an order's events.
    pub(crate) async fn events(&self, id: &str) -> Vec<String> {
        let page = self
            .order
            .get(&format!("/orders/{id}/events"))
            .await
            .expect(200);
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| text(&event["type"]))
            .collect()
    }
}

fn start_goods(folder: &TempDir, clock: &Clock, port: &str) -> Running {
    let clock = clock.clone();
    let start = async move |host: &mut shop_kit::Host| goods::start_at(host, clock).await;
    Running::start(goods::ABOUT, folder.path(), &[("PORT", port)], start)
}

fn start_order(
    folder: &TempDir,
    clock: &Clock,
    till: &Arc<Till>,
    goods: SocketAddr,
    settings: &[(&str, &str)],
) -> Running {
    let (clock, till) = (clock.clone(), till.clone());
    let start = async move |host: &mut shop_kit::Host| order::start_with(host, clock, till).await;
    let url = format!("http://{goods}");
    let settings: Vec<_> = [("GOODS_URL", url.as_str())]
        .into_iter()
        .chain(settings.iter().copied())
        .collect();
    Running::start(order::ABOUT, folder.path(), &settings, start)
}

pub(crate) fn order_body(items: &[(&str, i64)]) -> Value {
    let items: Vec<Value> = items
        .iter()
        .map(|(sku, qty)| json!({ "sku": sku, "qty": qty }))
        .collect();
    let address = json!({ "name": "Ada", "line1": "Main St 1", "city": "Berlin", "postal_code": "10115", "country": "DE" });
    json!({ "items": items, "address": address })
}

pub(crate) fn id(order: &Value) -> String {
    text(&order["id"])
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Stands in front of goods, passes on every request, and keeps every answer to itself: to the caller, goods did its work
/// and died before it could say so.
pub(crate) async fn swallow_answers_of(goods: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut goods = TcpStream::connect(goods).await.unwrap();
                let (mut from_goods, mut to_goods) = goods.split();
                let pass_on = async {
                    let mut buffer = [0; 4096];
                    while let Ok(n @ 1..) = caller.read(&mut buffer).await {
                        to_goods.write_all(&buffer[..n]).await.unwrap();
                    }
                };
                let swallow = async {
                    let mut buffer = [0; 4096];
                    while let Ok(1..) = from_goods.read(&mut buffer).await {}
                };
                tokio::join!(pass_on, swallow);
            });
        }
    });
    address
}
