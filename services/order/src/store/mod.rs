//! Where orders, payments and refunds are kept: the only module that knows the database.
//!
//! Functions here work inside the caller's transaction, which holds the write lock from its start, and move one thing each;
//! the sequence is the business of [`crate::flow`]. Every change of state goes through [`orders::enter`], which checks the
//! table and writes the event.

pub mod orders;
pub mod payments;
pub mod refunds;

use shop_kit::clock::Clock;
use shop_kit::sqlite::{self, Db};

/// The tables, step by step.
pub const SCHEMA: &[&str] = &[sqlite::SCHEMA, TABLES];

/// `hold` follows what goods keeps for an order: `held`, `committed`, `releasing` (to be given up, and goods was not told
/// yet), `released`. The unique indexes allow one payment and one refund of an order at a time.
const TABLES: &str = "
    CREATE TABLE orders (
        id TEXT PRIMARY KEY, state TEXT NOT NULL, line TEXT, amount INTEGER NOT NULL, currency TEXT NOT NULL,
        refunded INTEGER NOT NULL DEFAULT 0 CHECK (refunded BETWEEN 0 AND amount),
        address TEXT NOT NULL, hold TEXT NOT NULL, hold_until INTEGER NOT NULL,
        version INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX orders_by_state ON orders (state, id);
    CREATE INDEX orders_unpaid ON orders (hold_until) WHERE state = 'pending_payment';
    CREATE INDEX orders_releasing ON orders (id) WHERE hold = 'releasing';
    CREATE TABLE order_items (
        order_id TEXT NOT NULL REFERENCES orders (id), n INTEGER NOT NULL, sku TEXT NOT NULL, name TEXT NOT NULL,
        qty INTEGER NOT NULL, amount INTEGER NOT NULL,
        refunded_qty INTEGER NOT NULL DEFAULT 0 CHECK (refunded_qty BETWEEN 0 AND qty),
        PRIMARY KEY (order_id, n)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE payments (
        id TEXT PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders (id), state TEXT NOT NULL, method TEXT NOT NULL,
        token TEXT, started_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX payments_pending ON payments (order_id) WHERE state = 'pending';
    CREATE UNIQUE INDEX payments_captured ON payments (order_id) WHERE state = 'captured';
    CREATE TABLE refunds (
        id TEXT PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders (id), state TEXT NOT NULL,
        amount INTEGER NOT NULL CHECK (amount >= 0), items TEXT, restock INTEGER NOT NULL, cancels INTEGER NOT NULL,
        reason TEXT NOT NULL, started_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX refunds_pending ON refunds (order_id) WHERE state = 'pending';
";

/// The store, with what it must know to keep it.
#[derive(Debug, Clone)]
pub struct Store {
    /// The database.
    pub db: Db,
    /// What time it is.
    pub clock: Clock,
    /// How long an order waits for its payment, in milliseconds.
    pub hold: i64,
}
