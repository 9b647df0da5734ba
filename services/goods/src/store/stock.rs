//! Units on hand, set and adjusted. Neither can take away what a reservation holds.

use serde_json::json;
use shop_kit::sqlite::events;
use shop_kit::{Kind, Problem};
use sqlx::SqliteConnection;

use crate::model::Stock;

/// Returns the stock of an article.
pub async fn get(db: &mut SqliteConnection, sku: &str) -> Result<Stock, Problem> {
    let stock = sqlx::query_as(
        "SELECT on_hand, reserved, on_hand - reserved AS available, sold FROM stock WHERE sku = ?",
    );
    let found: Option<Stock> = stock.bind(sku).fetch_optional(db).await?;
    found.ok_or_else(|| Problem::not_found("article", sku))
}

/// Sets the units on hand.
pub async fn set(
    db: &mut SqliteConnection,
    sku: &str,
    on_hand: i64,
    low: i64,
    now: i64,
) -> Result<Stock, Problem> {
    let before = get(db, sku).await?;
    write(db, sku, before, on_hand, low, now).await
}

/// Adds units, or takes them away.
pub async fn adjust(
    db: &mut SqliteConnection,
    sku: &str,
    delta: i64,
    low: i64,
    now: i64,
) -> Result<Stock, Problem> {
    let before = get(db, sku).await?;
    write(
        db,
        sku,
        before,
        before.on_hand.saturating_add(delta),
        low,
        now,
    )
    .await
}

async fn write(
    db: &mut SqliteConnection,
    sku: &str,
    before: Stock,
    on_hand: i64,
    low: i64,
    now: i64,
) -> Result<Stock, Problem> {
    if on_hand < before.reserved {
        let shortage = json!([{ "sku": sku, "requested": before.on_hand - on_hand, "available": before.available }]);
        let detail = format!("{} units of {sku} are reserved", before.reserved);
        return Err(Problem::new(Kind::OutOfStock, detail).with("items", shortage));
    }
    sqlx::query("UPDATE stock SET on_hand = ? WHERE sku = ?")
        .bind(on_hand)
        .bind(sku)
        .execute(&mut *db)
        .await?;
    note_low(db, sku, before.available, low, now).await?;
    get(db, sku).await
}

/// Writes the event `stock.low` when the available units have just fallen below the mark.
pub(super) async fn note_low(
    db: &mut SqliteConnection,
    sku: &str,
    before: i64,
    low: i64,
    now: i64,
) -> Result<(), Problem> {
    let after = get(db, sku).await?.available;
    if after < low && before >= low {
        events::append(db, "stock.low", sku, &json!({ "available": after }), now).await?;
    }
    Ok(())
}
