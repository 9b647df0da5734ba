//! Units kept for orders.
//!
//! ```text
//! (none) ─▶ held ─▶ committed ─▶ (units may come back)
//!            │ ╲
//!            ▼  ▼
//!      released  expired ─▶ held   (a payment that came late tries again)
//! ```
//!
//! Units move with the state, in one transaction: held counts in `reserved`, committed moves from `on_hand` to `sold`, and
//! leaving `held` otherwise gives them back. Since each step first looks at the state, repeating one changes nothing.

use serde_json::{Value, json};
use shop_kit::sqlite::events;
use shop_kit::{Kind, Problem};
use sqlx::SqliteConnection;

use super::goods::{self, money};
use super::stock::note_low;
use crate::model::{NewReservation, Reservation, ReservationState, ReservedItem, ReturnedItem};

/// So many reservations expire in one transaction, to keep it short.
const EXPIRE_BATCH: i64 = 50;

/// Returns a reservation.
pub async fn get(db: &mut SqliteConnection, id: &str) -> Result<Reservation, Problem> {
    find(db, id)
        .await?
        .ok_or_else(|| Problem::not_found("reservation", id))
}

async fn find(db: &mut SqliteConnection, id: &str) -> Result<Option<Reservation>, Problem> {
    let row: Option<(ReservationState, i64)> =
        sqlx::query_as("SELECT state, expires_at FROM reservations WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *db)
            .await?;
    let Some((state, expires_at)) = row else {
        return Ok(None);
    };
    let rows: Vec<(String, i64, i64, String, i64, String)> = sqlx::query_as(
        "SELECT sku, qty, returned, name, amount, currency FROM reservation_items WHERE reservation_id = ? ORDER BY sku",
    )
    .bind(id)
    .fetch_all(db)
    .await?;
    let items = rows
        .into_iter()
        .map(|(sku, qty, returned, name, amount, currency)| {
            Ok(ReservedItem {
                sku,
                qty,
                returned,
                name,
                price: money(amount, currency)?,
            })
        });
    let items = items.collect::<Result<_, Problem>>()?;
    Ok(Some(Reservation {
        id: id.to_owned(),
        order_id: id.to_owned(),
        state,
        items,
        expires_at,
    }))
}

/// Keeps units for an order: all of them or none. An order that has a reservation gets that one.
pub async fn create(
    db: &mut SqliteConnection,
    wanted: &NewReservation,
    ttl: i64,
    low: i64,
    now: i64,
) -> Result<Reservation, Problem> {
    expire_due(db, now).await?;
    let id = wanted.order_id.as_str();
    let known = find(db, id).await?;
    if let Some(known) = &known {
        match known.state {
            ReservationState::Held | ReservationState::Committed => return same(wanted, known),
            ReservationState::Released => return Err(Problem::transition("released", "held")),
            ReservationState::Expired => {}
        }
    }
    let items = available(db, wanted).await?;
    if known.is_some() {
        sqlx::query("DELETE FROM reservation_items WHERE reservation_id = ?")
            .bind(id)
            .execute(&mut *db)
            .await?;
    }
    sqlx::query(
        "INSERT INTO reservations (id, state, expires_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET state = ?2, expires_at = ?3",
    )
    .bind(id)
    .bind(ReservationState::Held)
    .bind(now + ttl)
    .execute(&mut *db)
    .await?;
    for (item, before) in &items {
        sqlx::query("UPDATE stock SET reserved = reserved + ? WHERE sku = ?")
            .bind(item.qty)
            .bind(&item.sku)
            .execute(&mut *db)
            .await?;
        sqlx::query("INSERT INTO reservation_items (reservation_id, sku, qty, name, amount, currency) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(id)
            .bind(&item.sku)
            .bind(item.qty)
            .bind(&item.name)
            .bind(item.price.amount)
            .bind(item.price.currency.code())
            .execute(&mut *db)
            .await?;
        note_low(db, &item.sku, *before, low, now).await?;
    }
    let made = get(db, id).await?;
    events::append(db, "stock.reserved", id, &units(&made.items), now).await?;
    Ok(made)
}

fn same(wanted: &NewReservation, known: &Reservation) -> Result<Reservation, Problem> {
    let mut lines: Vec<_> = wanted
        .items
        .iter()
        .map(|item| (item.sku.as_str(), item.qty))
        .collect();
    lines.sort_unstable();
    if lines
        .iter()
        .copied()
        .eq(known.items.iter().map(|item| (item.sku.as_str(), item.qty)))
    {
        return Ok(known.clone());
    }
    Err(Problem::new(
        Kind::IdempotencyKeyReused,
        format!("order {} holds a reservation of other items", known.id),
    ))
}

/// Returns the lines to keep, each with the units available before, or every reason against it.
async fn available(
    db: &mut SqliteConnection,
    wanted: &NewReservation,
) -> Result<Vec<(ReservedItem, i64)>, Problem> {
    let mut items = Vec::new();
    let mut repriced = Vec::new();
    let mut short = Vec::new();
    for (n, want) in wanted.items.iter().enumerate() {
        let good = match goods::get(db, &want.sku).await {
            Err(problem) if problem.is(Kind::NotFound) => {
                return Err(Problem::field(
                    &format!("/items/{n}/sku"),
                    format!("there is no article {}", want.sku),
                ));
            }
            other => other?,
        };
        if let Some(expected) = want.price.filter(|expected| *expected != good.price) {
            repriced.push(json!({ "sku": want.sku, "expected": expected, "actual": good.price }));
        }
        if want.qty > good.stock.available {
            short.push(json!({ "sku": want.sku, "requested": want.qty, "available": good.stock.available }));
        }
        let item = ReservedItem {
            sku: good.sku,
            qty: want.qty,
            returned: 0,
            name: good.name,
            price: good.price,
        };
        items.push((item, good.stock.available));
    }
    if !repriced.is_empty() {
        return Err(
            Problem::new(Kind::PriceChanged, "read the articles again").with("items", repriced)
        );
    }
    if !short.is_empty() {
        return Err(Problem::new(Kind::OutOfStock, "nothing was reserved").with("items", short));
    }
    Ok(items)
}

/// Sells what is held.
pub async fn commit(db: &mut SqliteConnection, id: &str, now: i64) -> Result<Reservation, Problem> {
    expire_due(db, now).await?;
    let reservation = get(db, id).await?;
    match reservation.state {
        ReservationState::Committed => return Ok(reservation),
        ReservationState::Expired => {
            return Err(Problem::new(
                Kind::ReservationExpired,
                format!("the hold of {id} has ended"),
            ));
        }
        ReservationState::Released => return Err(Problem::transition("released", "committed")),
        ReservationState::Held => {}
    }
    for item in &reservation.items {
        sqlx::query("UPDATE stock SET on_hand = on_hand - ?1, reserved = reserved - ?1, sold = sold + ?1 WHERE sku = ?2")
            .bind(item.qty)
            .bind(&item.sku)
            .execute(&mut *db)
            .await?;
    }
    enter(
        db,
        &reservation,
        ReservationState::Committed,
        "stock.committed",
        now,
    )
    .await?;
    get(db, id).await
}

/// Gives up what is held. What is not held any more stays as it is; what was sold cannot be given up.
pub async fn release(db: &mut SqliteConnection, id: &str, now: i64) -> Result<(), Problem> {
    let reservation = get(db, id).await?;
    match reservation.state {
        ReservationState::Held => {
            give_back(db, &reservation, ReservationState::Released, now).await
        }
        ReservationState::Released | ReservationState::Expired => Ok(()),
        ReservationState::Committed => Err(Problem::transition("committed", "released")),
    }
}

/// Takes sold units back into stock: the given ones, or all that have not come back yet.
pub async fn take_back(
    db: &mut SqliteConnection,
    id: &str,
    items: Option<&[ReturnedItem]>,
    now: i64,
) -> Result<Reservation, Problem> {
    let reservation = get(db, id).await?;
    if reservation.state != ReservationState::Committed {
        return Err(Problem::transition(reservation.state.name(), "returned"));
    }
    let left = |item: &ReservedItem| ReturnedItem {
        sku: item.sku.clone(),
        qty: item.qty - item.returned,
    };
    let back: Vec<ReturnedItem> = match items {
        Some(items) => items.to_vec(),
        None => reservation
            .items
            .iter()
            .map(left)
            .filter(|item| item.qty > 0)
            .collect(),
    };
    for (n, item) in back.iter().enumerate() {
        let sold = reservation
            .items
            .iter()
            .find(|sold| sold.sku == item.sku)
            .map_or(0, |sold| sold.qty - sold.returned);
        if item.qty > sold {
            return Err(Problem::field(
                &format!("/items/{n}/qty"),
                format!("only {sold} units of {} were sold", item.sku),
            ));
        }
    }
    for item in &back {
        sqlx::query("UPDATE stock SET on_hand = on_hand + ?1, sold = sold - ?1 WHERE sku = ?2")
            .bind(item.qty)
            .bind(&item.sku)
            .execute(&mut *db)
            .await?;
        sqlx::query("UPDATE reservation_items SET returned = returned + ? WHERE reservation_id = ? AND sku = ?")
            .bind(item.qty)
            .bind(id)
            .bind(&item.sku)
            .execute(&mut *db)
            .await?;
    }
    let data = json!({ "items": back });
    events::append(db, "stock.returned", id, &data, now).await?;
    get(db, id).await
}

/// Tells whether a hold has ended and its units are not back yet.
pub async fn any_due(db: &mut SqliteConnection, now: i64) -> Result<bool, Problem> {
    let due = "SELECT EXISTS (SELECT 1 FROM reservations WHERE state = 'held' AND expires_at <= ?)";
    Ok(sqlx::query_scalar(due).bind(now).fetch_one(db).await?)
}

/// Ends holds whose time is over.
pub async fn expire_due(db: &mut SqliteConnection, now: i64) -> Result<(), Problem> {
    let due: Vec<String> =
        sqlx::query_scalar("SELECT id FROM reservations WHERE state = 'held' AND expires_at <= ? ORDER BY expires_at LIMIT ?")
            .bind(now)
            .bind(EXPIRE_BATCH)
            .fetch_all(&mut *db)
            .await?;
    for id in due {
        let reservation = get(db, &id).await?;
        give_back(db, &reservation, ReservationState::Expired, now).await?;
    }
    Ok(())
}

async fn give_back(
    db: &mut SqliteConnection,
    reservation: &Reservation,
    to: ReservationState,
    now: i64,
) -> Result<(), Problem> {
    for item in &reservation.items {
        sqlx::query("UPDATE stock SET reserved = reserved - ? WHERE sku = ?")
            .bind(item.qty)
            .bind(&item.sku)
            .execute(&mut *db)
            .await?;
    }
    enter(db, reservation, to, "stock.released", now).await
}

async fn enter(
    db: &mut SqliteConnection,
    reservation: &Reservation,
    to: ReservationState,
    event: &str,
    now: i64,
) -> Result<(), Problem> {
    sqlx::query("UPDATE reservations SET state = ? WHERE id = ?")
        .bind(to)
        .bind(&reservation.id)
        .execute(&mut *db)
        .await?;
    let mut data = units(&reservation.items);
    data["state"] = Value::from(to.name());
    events::append(db, event, &reservation.id, &data, now).await
}

fn units(items: &[ReservedItem]) -> Value {
    let lines: Vec<Value> = items
        .iter()
        .map(|item| json!({ "sku": item.sku, "qty": item.qty }))
        .collect();
    json!({ "items": lines })
}
