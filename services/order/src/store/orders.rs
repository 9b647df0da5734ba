//! Orders and their items.

use serde_json::{Value, json};
use shop_kit::Problem;
use shop_kit::money::{Currency, Money};
use shop_kit::sqlite::events;
use sqlx::SqliteConnection;

use crate::model::{Item, Order};
use crate::state::State;

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    state: State,
    line: Option<State>,
    amount: i64,
    currency: String,
    refunded: i64,
    address: String,
    hold_until: i64,
    version: i64,
    created_at: i64,
    updated_at: i64,
}

impl Row {
    fn order(self, items: Vec<Item>) -> Result<Order, Problem> {
        let currency = currency(self.currency)?;
        Ok(Order {
            id: self.id,
            state: self.state,
            items,
            total: Money::new(self.amount, currency),
            refunded: Money::new(self.refunded, currency),
            address: serde_json::from_str(&self.address).map_err(Problem::internal)?,
            reservation_expires_at: (self.state == State::PendingPayment)
                .then_some(self.hold_until),
            created_at: self.created_at,
            updated_at: self.updated_at,
            version: self.version,
            line: self.line,
        })
    }
}

fn currency(code: String) -> Result<Currency, Problem> {
    Currency::try_from(code).map_err(Problem::internal)
}

/// Returns an order.
pub async fn get(db: &mut SqliteConnection, id: &str) -> Result<Order, Problem> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM orders WHERE id = ?")
        .bind(id)
        .fetch_optional(&mut *db)
        .await?;
    let row = row.ok_or_else(|| Problem::not_found("order", id))?;
    let items = items(db, &row).await?;
    row.order(items)
}

async fn items(db: &mut SqliteConnection, order: &Row) -> Result<Vec<Item>, Problem> {
    let currency = currency(order.currency.clone())?;
    let rows: Vec<(String, String, i64, i64, i64)> =
        sqlx::query_as("SELECT sku, name, qty, amount, refunded_qty FROM order_items WHERE order_id = ? ORDER BY n")
            .bind(&order.id)
            .fetch_all(db)
            .await?;
    let item = |(sku, name, qty, amount, refunded_qty)| Item {
        sku,
        name,
        qty,
        price: Money::new(amount, currency),
        refunded_qty,
    };
    Ok(rows.into_iter().map(item).collect())
}

/// Lists orders, newest first, from before `before` on.
pub async fn list(
    db: &mut SqliteConnection,
    state: Option<State>,
    before: Option<&str>,
    rows: i64,
) -> Result<Vec<Order>, Problem> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM orders WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3",
    )
    .bind(state)
    .bind(before)
    .bind(rows)
    .fetch_all(&mut *db)
    .await?;
    let mut orders = Vec::with_capacity(rows.len());
    for row in rows {
        let items = items(db, &row).await?;
        orders.push(row.order(items)?);
    }
    Ok(orders)
}

/// Adds an order that waits for its payment.
pub async fn insert(
    db: &mut SqliteConnection,
    order: &Order,
    hold_until: i64,
) -> Result<(), Problem> {
    let address = serde_json::to_string(&order.address).map_err(Problem::internal)?;
    sqlx::query(
        "INSERT INTO orders (id, state, amount, currency, address, hold, hold_until, version, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, 'held', ?, ?, ?, ?)",
    )
    .bind(&order.id)
    .bind(order.state)
    .bind(order.total.amount)
    .bind(order.total.currency.code())
    .bind(address)
    .bind(hold_until)
    .bind(order.version)
    .bind(order.created_at)
    .bind(order.updated_at)
    .execute(&mut *db)
    .await?;
    for (n, item) in (0_i64..).zip(&order.items) {
        sqlx::query("INSERT INTO order_items (order_id, n, sku, name, qty, amount) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(&order.id)
            .bind(n)
            .bind(&item.sku)
            .bind(&item.name)
            .bind(item.qty)
            .bind(item.price.amount)
            .execute(&mut *db)
            .await?;
    }
    let lines: Vec<Value> = order
        .items
        .iter()
        .map(|item| json!({ "sku": item.sku, "qty": item.qty }))
        .collect();
    let data = json!({ "state": order.state, "total": order.total, "items": lines });
    events::append(db, "order.created", &order.id, &data, order.created_at).await
}

/// Moves an order into a state that may follow its own, writes the event, and returns the order as it is now.
pub async fn enter(
    db: &mut SqliteConnection,
    order: &Order,
    to: State,
    event: &str,
    mut data: Value,
    now: i64,
) -> Result<Order, Problem> {
    if !order.state.leads_to(order.line, to) {
        return Err(Problem::transition(order.state.name(), to.name()));
    }
    let line = match to {
        State::Refunding => Some(order.line()),
        State::PartiallyRefunded => order.line,
        _ => None,
    };
    sqlx::query(
        "UPDATE orders SET state = ?, line = ?, version = version + 1, updated_at = ? WHERE id = ?",
    )
    .bind(to)
    .bind(line)
    .bind(now)
    .bind(&order.id)
    .execute(&mut *db)
    .await?;
    data["from"] = json!(order.state);
    data["state"] = json!(to);
    events::append(db, event, &order.id, &data, now).await?;
    get(db, &order.id).await
}

/// Notes what goods keeps for an order.
pub async fn set_hold(db: &mut SqliteConnection, id: &str, hold: Hold) -> Result<(), Problem> {
    sqlx::query("UPDATE orders SET hold = ? WHERE id = ?")
        .bind(hold)
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// What goods keeps for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "lowercase")]
pub enum Hold {
    /// Units.
    Held,
    /// Nothing: they are sold.
    Committed,
    /// Units that are to be given up.
    Releasing,
    /// Nothing.
    Released,
}

/// Adds to what was refunded.
pub async fn add_refunded(db: &mut SqliteConnection, id: &str, amount: i64) -> Result<(), Problem> {
    sqlx::query("UPDATE orders SET refunded = refunded + ? WHERE id = ?")
        .bind(amount)
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// Adds to the units of an item that were refunded.
pub async fn add_refunded_units(
    db: &mut SqliteConnection,
    id: &str,
    sku: &str,
    qty: i64,
) -> Result<(), Problem> {
    sqlx::query(
        "UPDATE order_items SET refunded_qty = refunded_qty + ? WHERE order_id = ? AND sku = ?",
    )
    .bind(qty)
    .bind(id)
    .bind(sku)
    .execute(db)
    .await?;
    Ok(())
}

/// Lists unpaid orders whose hold has ended and of which no payment is at work.
pub async fn unpaid(
    db: &mut SqliteConnection,
    now: i64,
    rows: i64,
) -> Result<Vec<String>, Problem> {
    let query = "SELECT id FROM orders WHERE state = 'pending_payment' AND hold_until <= ?
         AND NOT EXISTS (SELECT 1 FROM payments WHERE order_id = orders.id AND payments.state = 'pending')
         ORDER BY hold_until LIMIT ?";
    Ok(sqlx::query_scalar(query)
        .bind(now)
        .bind(rows)
        .fetch_all(db)
        .await?)
}

/// Lists orders whose units goods must be told to give back.
pub async fn releasing(db: &mut SqliteConnection, rows: i64) -> Result<Vec<String>, Problem> {
    let query = "SELECT id FROM orders WHERE hold = 'releasing' ORDER BY id LIMIT ?";
    Ok(sqlx::query_scalar(query).bind(rows).fetch_all(db).await?)
}
