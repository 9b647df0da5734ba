//! Refunds. A pending one is fixed before the provider is called, so that anybody can bring it to its end.

use shop_kit::Problem;
use sqlx::SqliteConnection;

use crate::model::RefundItem;

/// A refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// Its id.
    pub id: String,
    /// Its order.
    pub order_id: String,
    /// Whether the money is back.
    pub succeeded: bool,
    /// How much, in minor units.
    pub amount: i64,
    /// What comes back; everything that is left when absent.
    pub items: Option<Vec<RefundItem>>,
    /// Whether units go back into stock.
    pub restock: bool,
    /// Whether it answers a cancellation.
    pub cancels: bool,
    /// Why.
    pub reason: String,
}

/// Adds a pending refund.
pub async fn insert(db: &mut SqliteConnection, refund: &Refund, now: i64) -> Result<(), Problem> {
    let items = refund
        .items
        .as_ref()
        .map(serde_json::to_string)
        .transpose()
        .map_err(Problem::internal)?;
    sqlx::query(
        "INSERT INTO refunds (id, order_id, state, amount, items, restock, cancels, reason, started_at)
         VALUES (?, ?, 'pending', ?, ?, ?, ?, ?, ?)",
    )
    .bind(&refund.id)
    .bind(&refund.order_id)
    .bind(refund.amount)
    .bind(items)
    .bind(refund.restock)
    .bind(refund.cancels)
    .bind(&refund.reason)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// Returns a refund.
pub async fn get(db: &mut SqliteConnection, id: &str) -> Result<Refund, Problem> {
    type Row = (String, String, i64, Option<String>, bool, bool, String);
    let row: Option<Row> = sqlx::query_as(
        "SELECT order_id, state, amount, items, restock, cancels, reason FROM refunds WHERE id = ?",
    )
    .bind(id)
    .fetch_optional(db)
    .await?;
    let (order_id, state, amount, items, restock, cancels, reason) =
        row.ok_or_else(|| Problem::not_found("refund", id))?;
    let items = items
        .map(|items| serde_json::from_str(&items))
        .transpose()
        .map_err(Problem::internal)?;
    Ok(Refund {
        id: id.to_owned(),
        order_id,
        succeeded: state == "succeeded",
        amount,
        items,
        restock,
        cancels,
        reason,
    })
}

/// Returns the id of an order's pending refund, if there is one.
pub async fn pending(db: &mut SqliteConnection, order: &str) -> Result<Option<String>, Problem> {
    let query = "SELECT id FROM refunds WHERE order_id = ? AND state = 'pending'";
    Ok(sqlx::query_scalar(query)
        .bind(order)
        .fetch_optional(db)
        .await?)
}

/// Ends a refund.
pub async fn succeed(db: &mut SqliteConnection, id: &str) -> Result<(), Problem> {
    sqlx::query("UPDATE refunds SET state = 'succeeded' WHERE id = ?")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// Lists pending refunds that were begun before `before`.
pub async fn stalled(
    db: &mut SqliteConnection,
    before: i64,
    rows: i64,
) -> Result<Vec<String>, Problem> {
    let query = "SELECT id FROM refunds WHERE state = 'pending' AND started_at < ? ORDER BY started_at LIMIT ?";
    Ok(sqlx::query_scalar(query)
        .bind(before)
        .bind(rows)
        .fetch_all(db)
        .await?)
}
