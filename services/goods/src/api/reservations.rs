//! `/reservations`.

use axum::extract::State;
use shop_kit::body::{Json, Path};
use shop_kit::key::{self, Key};
use shop_kit::sqlite::keys::{self, Known};
use shop_kit::{Problem, Reply};

use crate::model::{NewReservation, Reservation, Return};
use crate::store::{Store, reservations};

/// Keeps units for an order: all of them, or none.
#[utoipa::path(post, path = "/reservations", tag = "reservations", request_body = NewReservation,
    params(("Idempotency-Key" = String, Header)),
    responses((status = 201, body = Reservation), (status = 400, body = Problem),
        (status = 409, description = "out-of-stock, with the short items; or invalid-transition", body = Problem),
        (status = 422, description = "price-changed, idempotency-key-reused", body = Problem)))]
pub(super) async fn create(
    State(store): State<Store>,
    key: Key,
    Json(wanted): Json<NewReservation>,
) -> Result<Reply, Problem> {
    wanted.check()?;
    let fingerprint = key::fingerprint(&wanted)?;
    let now = store.clock.now();
    let ttl = wanted
        .ttl_s
        .map_or(store.reservation_ttl, |seconds| seconds * 1000);
    let mut tx = store.db.write().await?;
    if let Some(Known::Done(reply)) = keys::find(&mut tx, &key, &fingerprint).await? {
        return Ok(reply);
    }
    let outcome = reservations::create(&mut tx, &wanted, ttl, store.low_stock, now).await;
    keys::conclude(
        tx,
        &key,
        &fingerprint,
        outcome.and_then(|made| Reply::json(201, &made)),
        now,
    )
    .await
}

/// Returns a reservation.
#[utoipa::path(get, path = "/reservations/{id}", tag = "reservations", params(("id" = String, Path)),
    responses((status = 200, body = Reservation), (status = 404, body = Problem)))]
pub(super) async fn read(
    State(store): State<Store>,
    Path(id): Path<String>,
) -> Result<Reply, Problem> {
    Reply::json(
        200,
        &reservations::get(&mut *store.db.read().await?, &id).await?,
    )
}

/// Sells what is held. Repeating it changes nothing.
#[utoipa::path(post, path = "/reservations/{id}/commit", tag = "reservations", params(("id" = String, Path)),
    responses((status = 200, body = Reservation), (status = 404, body = Problem),
        (status = 409, description = "invalid-transition", body = Problem), (status = 410, description = "reservation-expired", body = Problem)))]
pub(super) async fn commit(
    State(store): State<Store>,
    Path(id): Path<String>,
) -> Result<Reply, Problem> {
    let mut tx = store.db.write().await?;
    let outcome = reservations::commit(&mut tx, &id, store.clock.now()).await;
    if outcome
        .as_ref()
        .err()
        .is_none_or(|problem| !problem.is_transient())
    {
        // A refusal may have found holds that have ended; that they ended is kept.
        tx.commit().await?;
    }
    Reply::json(200, &outcome?)
}

/// Gives up what is held. Repeating it changes nothing.
#[utoipa::path(delete, path = "/reservations/{id}", tag = "reservations", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, description = "invalid-transition: it is sold", body = Problem)))]
pub(super) async fn release(
    State(store): State<Store>,
    Path(id): Path<String>,
) -> Result<Reply, Problem> {
    let mut tx = store.db.write().await?;
    reservations::release(&mut tx, &id, store.clock.now()).await?;
    tx.commit().await?;
    Ok(Reply::empty())
}

/// Takes sold units back into stock.
#[utoipa::path(post, path = "/reservations/{id}/return", tag = "reservations", request_body = Return,
    params(("id" = String, Path), ("Idempotency-Key" = String, Header)),
    responses((status = 200, body = Reservation), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "invalid-transition: it is not sold", body = Problem)))]
pub(super) async fn take_back(
    State(store): State<Store>,
    Path(id): Path<String>,
    key: Key,
    Json(back): Json<Return>,
) -> Result<Reply, Problem> {
    back.check()?;
    let fingerprint = key::fingerprint(&back)?;
    let now = store.clock.now();
    let mut tx = store.db.write().await?;
    if let Some(Known::Done(reply)) = keys::find(&mut tx, &key, &fingerprint).await? {
        return Ok(reply);
    }
    let outcome = reservations::take_back(&mut tx, &id, back.items.as_deref(), now).await;
    keys::conclude(
        tx,
        &key,
        &fingerprint,
        outcome.and_then(|left| Reply::json(200, &left)),
        now,
    )
    .await
}
