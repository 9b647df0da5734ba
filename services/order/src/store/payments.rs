//! Payments. A pending one is fixed before the provider is called, so that anybody can bring it to its end.

use shop_kit::Problem;
use sqlx::SqliteConnection;

use crate::model::{Method, Order};
use crate::payment::Charge;

/// How a payment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "lowercase")]
pub enum PaymentState {
    /// It has not ended.
    Pending,
    /// The money was taken.
    Captured,
    /// The provider said no.
    Declined,
    /// The money was set aside and given back.
    Voided,
}

/// A payment.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Payment {
    /// Its id.
    pub id: String,
    /// Its order.
    pub order_id: String,
    /// How it ended.
    pub state: PaymentState,
    method: String,
    token: Option<String>,
}

impl Payment {
    /// Returns what the provider is asked for.
    pub fn charge(&self, order: &Order) -> Result<Charge, Problem> {
        let method: Method =
            serde_json::from_value(self.method.clone().into()).map_err(Problem::internal)?;
        Ok(Charge {
            payment: self.id.clone(),
            amount: order.total,
            method,
            token: self.token.clone().unwrap_or_default(),
        })
    }
}

/// Adds a pending payment.
pub async fn insert(
    db: &mut SqliteConnection,
    id: &str,
    order: &str,
    method: Method,
    token: &str,
    now: i64,
) -> Result<(), Problem> {
    let method = serde_json::to_value(method).map_err(Problem::internal)?;
    sqlx::query("INSERT INTO payments (id, order_id, state, method, token, started_at) VALUES (?, ?, 'pending', ?, ?, ?)")
        .bind(id)
        .bind(order)
        .bind(method.as_str())
        .bind(token)
        .bind(now)
        .execute(db)
        .await?;
    Ok(())
}

/// Returns a payment.
pub async fn get(db: &mut SqliteConnection, id: &str) -> Result<Payment, Problem> {
    let found: Option<Payment> = sqlx::query_as("SELECT * FROM payments WHERE id = ?")
        .bind(id)
        .fetch_optional(db)
        .await?;
    found.ok_or_else(|| Problem::not_found("payment", id))
}

/// Returns the id of an order's payment in a state, if there is one.
pub async fn of_order(
    db: &mut SqliteConnection,
    order: &str,
    state: PaymentState,
) -> Result<Option<String>, Problem> {
    let query = "SELECT id FROM payments WHERE order_id = ? AND state = ?";
    Ok(sqlx::query_scalar(query)
        .bind(order)
        .bind(state)
        .fetch_optional(db)
        .await?)
}

/// Ends a payment. The token has done its work and is forgotten.
pub async fn end(db: &mut SqliteConnection, id: &str, state: PaymentState) -> Result<(), Problem> {
    sqlx::query("UPDATE payments SET state = ?, token = NULL WHERE id = ?")
        .bind(state)
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// Lists pending payments that were begun before `before`.
pub async fn stalled(
    db: &mut SqliteConnection,
    before: i64,
    rows: i64,
) -> Result<Vec<String>, Problem> {
    let query = "SELECT id FROM payments WHERE state = 'pending' AND started_at < ? ORDER BY started_at LIMIT ?";
    Ok(sqlx::query_scalar(query)
        .bind(before)
        .bind(rows)
        .fetch_all(db)
        .await?)
}
