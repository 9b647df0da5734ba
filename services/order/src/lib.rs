//! The order service: orders from their creation to their payment, cancellation, expiry or refund.
//!
//! In reading order: [`state`] is the table of states; [`model`] is what is sent and answered; [`payment`] and [`goods`] are
//! the two others in the play; [`store`] keeps orders and is the only place that knows the database; [`flow`] is the
//! sequence of steps of each operation, safe to break off and to repeat at any step; [`api`] is the routes.
//!
//! Settings beside those of [`shop_kit::host`] and [`shop_kit::sqlite`]: `GOODS_URL` (`http://goods:8001`, or several with
//! commas), `GOODS_TIMEOUT` (7s), `ORDER_HOLD` (15m: how long an order waits for its payment), `SUBSCRIBERS` (URLs that
//! events are posted to).

pub mod api;
pub mod flow;
pub mod goods;
pub mod model;
pub mod payment;
pub mod state;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use shop_kit::client::{Client, Limits};
use shop_kit::clock::{Clock, millis};
use shop_kit::sqlite::events::Outbox;
use shop_kit::sqlite::{Db, duty};
use shop_kit::{About, Host, StartError};

use flow::Shop;
use goods::Goods;
use payment::{Provider, TestProvider};
use store::Store;

/// Name, version, port.
pub const ABOUT: About = About {
    name: "order",
    version: env!("CARGO_PKG_VERSION"),
    port: 8000,
};

const EXPIRE_EVERY: Duration = Duration::from_millis(250);
const RECOVER_EVERY: Duration = Duration::from_millis(500);
const DELIVER_EVERY: Duration = Duration::from_millis(200);

/// Opens the store, starts the duties, returns the routes.
pub async fn start(host: &mut Host) -> Result<Router, StartError> {
    start_with(host, Clock::system(), Arc::new(TestProvider)).await
}

/// Does what [`start`] does, with a clock that a test may move and a provider that it may watch.
pub async fn start_with(
    host: &mut Host,
    clock: Clock,
    provider: Arc<dyn Provider>,
) -> Result<Router, StartError> {
    let outbox = Outbox::new(ABOUT.name, "SUBSCRIBERS", host.env.list("SUBSCRIBERS"))?;
    let limits = Limits::default();
    let limits = Limits {
        total: host.env.duration("GOODS_TIMEOUT", limits.total)?,
        ..limits
    };
    let client = Client::new(
        "GOODS_URL",
        host.env.get_or("GOODS_URL", "http://goods:8001"),
        limits,
    )?;
    let db = Db::open(&Db::path(&host.env, ABOUT.name)?, store::SCHEMA).await?;
    let shop = Shop {
        store: Store {
            db: db.clone(),
            clock,
            hold: millis(host.env.duration("ORDER_HOLD", Duration::from_mins(15))?),
        },
        goods: Goods::new(client),
        provider,
        metrics: host.metrics.clone(),
    };
    let (expiry, recovery) = (shop.clone(), shop.clone());
    host.spawn(|stop| {
        let db = db.clone();
        duty::run(db, "expiry", EXPIRE_EVERY, stop, async move || {
            expiry.expire_due().await
        })
    });
    host.spawn(|stop| {
        let db = db.clone();
        duty::run(db, "recovery", RECOVER_EVERY, stop, async move || {
            recovery.recover().await
        })
    });
    if !outbox.is_empty() {
        host.spawn(|stop| {
            let log = db.clone();
            duty::run(db, "outbox", DELIVER_EVERY, stop, async move || {
                outbox.deliver(&log).await
            })
        });
    }
    Ok(api::routes(shop))
}
