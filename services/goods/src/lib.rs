//! The goods service: articles, their stock, reservations of it, and reviews.
//!
//! In reading order: [`model`] is what is sent and answered, with its checks; [`store`] keeps it and is the only place that
//! knows the database; [`api`] is the routes. The promise of this service stands in [`store::reservations`]: what is
//! reserved and not yet sold never exceeds what is on hand.
//!
//! Settings beside those of [`shop_kit::host`] and [`shop_kit::sqlite`]: `RESERVATION_TTL` (15m), `LOW_STOCK` (5),
//! `SUBSCRIBERS` (URLs that events are posted to), `EVENTS_KEPT` (168h).

pub mod api;
pub mod model;
pub mod store;

use std::time::Duration;

use axum::Router;
use shop_kit::clock::{Clock, millis};
use shop_kit::sqlite::{Db, duty, events::Outbox};
use shop_kit::{About, Host, StartError};

use store::Store;

/// Name, version, port.
pub const ABOUT: About = About {
    name: "goods",
    version: env!("CARGO_PKG_VERSION"),
    port: 8001,
};

const EXPIRE_EVERY: Duration = Duration::from_millis(250);
const DELIVER_EVERY: Duration = Duration::from_millis(200);

/// Opens the store, starts the duties, returns the routes.
pub async fn start(host: &mut Host) -> Result<Router, StartError> {
    start_at(host, Clock::system()).await
}

/// Does what [`start`] does, on a clock that a test may move.
pub async fn start_at(host: &mut Host, clock: Clock) -> Result<Router, StartError> {
    let outbox = Outbox::new(ABOUT.name, "SUBSCRIBERS", host.env.list("SUBSCRIBERS"))?;
    let db = Db::open(&Db::path(&host.env, ABOUT.name)?, store::SCHEMA).await?;
    let store = Store {
        db: db.clone(),
        clock,
        reservation_ttl: millis(
            host.env
                .duration("RESERVATION_TTL", Duration::from_mins(15))?,
        ),
        low_stock: host.env.number("LOW_STOCK", 5)?,
        events_kept: millis(
            host.env
                .duration("EVENTS_KEPT", Duration::from_hours(168))?,
        ),
    };
    let keeper = store.clone();
    let expiry = db.clone();
    host.spawn(|stop| {
        duty::run(expiry, "expiry", EXPIRE_EVERY, stop, async move || {
            keeper.keep_house().await
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
    Ok(api::routes(store))
}
