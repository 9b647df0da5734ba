//! `/goods/{sku}/stock`.

use axum::extract::State;
use shop_kit::body::{Json, Path};
use shop_kit::key::{self, Key};
use shop_kit::sqlite::keys::{self, Known};
use shop_kit::{Problem, Reply};

use crate::model::{Stock, StockChange, StockCount};
use crate::store::{Store, stock};

/// Returns the stock of an article.
#[utoipa::path(get, path = "/goods/{sku}/stock", tag = "stock", params(("sku" = String, Path)),
    responses((status = 200, body = Stock), (status = 404, body = Problem)))]
pub(super) async fn read(
    State(store): State<Store>,
    Path(sku): Path<String>,
) -> Result<Reply, Problem> {
    Reply::json(200, &stock::get(&mut *store.db.read().await?, &sku).await?)
}

/// Sets the units on hand, after stocktaking.
#[utoipa::path(put, path = "/goods/{sku}/stock", tag = "stock", request_body = StockCount, params(("sku" = String, Path)),
    responses((status = 200, body = Stock), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "out-of-stock: more is reserved", body = Problem)))]
pub(super) async fn set(
    State(store): State<Store>,
    Path(sku): Path<String>,
    Json(count): Json<StockCount>,
) -> Result<Reply, Problem> {
    count.check()?;
    let mut tx = store.db.write().await?;
    let stock = stock::set(
        &mut tx,
        &sku,
        count.on_hand,
        store.low_stock,
        store.clock.now(),
    )
    .await?;
    tx.commit().await?;
    Reply::json(200, &stock)
}

/// Adds units, or takes them away.
#[utoipa::path(post, path = "/goods/{sku}/stock/adjust", tag = "stock", request_body = StockChange,
    params(("sku" = String, Path), ("Idempotency-Key" = String, Header)),
    responses((status = 200, body = Stock), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "out-of-stock", body = Problem), (status = 422, description = "idempotency-key-reused", body = Problem)))]
pub(super) async fn adjust(
    State(store): State<Store>,
    Path(sku): Path<String>,
    key: Key,
    Json(change): Json<StockChange>,
) -> Result<Reply, Problem> {
    change.check()?;
    let fingerprint = key::fingerprint(&change)?;
    let now = store.clock.now();
    let mut tx = store.db.write().await?;
    if let Some(Known::Done(reply)) = keys::find(&mut tx, &key, &fingerprint).await? {
        return Ok(reply);
    }
    let outcome = stock::adjust(&mut tx, &sku, change.delta, store.low_stock, now).await;
    keys::conclude(
        tx,
        &key,
        &fingerprint,
        outcome.and_then(|stock| Reply::json(200, &stock)),
        now,
    )
    .await
}
