//! Where goods, stock, reservations and reviews are kept: the only module that knows the database.
//!
//! Each change is one transaction that holds the write lock from its start, so what it read is still true when it writes.
//! A refusal is decided before the first write of a transaction.

pub mod goods;
pub mod reservations;
pub mod reviews;
pub mod stock;

use shop_kit::Problem;
use shop_kit::clock::Clock;
use shop_kit::sqlite::{self, Db, events, keys};

/// The tables, step by step.
pub const SCHEMA: &[&str] = &[sqlite::SCHEMA, TABLES];

/// The checks on `stock` are a second line of defence: no bug of ours can make the database oversell.
const TABLES: &str = "
    CREATE TABLE goods (
        sku TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, category TEXT,
        amount INTEGER NOT NULL, currency TEXT NOT NULL,
        version INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE stock (
        sku TEXT PRIMARY KEY REFERENCES goods (sku),
        on_hand INTEGER NOT NULL DEFAULT 0 CHECK (on_hand >= 0),
        reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved BETWEEN 0 AND on_hand),
        sold INTEGER NOT NULL DEFAULT 0 CHECK (sold >= 0)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE reservations (
        id TEXT PRIMARY KEY, state TEXT NOT NULL, expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX reservations_due ON reservations (expires_at) WHERE state = 'held';
    CREATE TABLE reservation_items (
        reservation_id TEXT NOT NULL REFERENCES reservations (id), sku TEXT NOT NULL REFERENCES goods (sku),
        qty INTEGER NOT NULL CHECK (qty > 0), returned INTEGER NOT NULL DEFAULT 0 CHECK (returned BETWEEN 0 AND qty),
        name TEXT NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL,
        PRIMARY KEY (reservation_id, sku)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE reviews (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, sku TEXT NOT NULL REFERENCES goods (sku), order_id TEXT NOT NULL,
        rating INTEGER NOT NULL, text TEXT NOT NULL, created_at INTEGER NOT NULL,
        UNIQUE (sku, order_id)
    ) STRICT;
";

/// Keys are kept this long.
const KEYS_KEPT: i64 = 24 * 3600 * 1000;

/// The store, with what it must know to keep it.
#[derive(Debug, Clone)]
pub struct Store {
    /// The database.
    pub db: Db,
    /// What time it is.
    pub clock: Clock,
    /// How long a reservation holds, in milliseconds, unless it says otherwise.
    pub reservation_ttl: i64,
    /// Fewer available units than this make the event `stock.low`.
    pub low_stock: i64,
    /// How long events are kept, in milliseconds.
    pub events_kept: i64,
}

impl Store {
    /// Gives back what expired reservations held, and forgets what is old. One replica does this for all.
    pub async fn keep_house(&self) -> Result<(), Problem> {
        let now = self.clock.now();
        while reservations::any_due(&mut *self.db.read().await?, now).await? {
            let mut tx = self.db.write().await?;
            reservations::expire_due(&mut tx, now).await?;
            tx.commit().await?;
        }
        if self.is_anything_old(now).await? {
            let mut tx = self.db.write().await?;
            keys::forget(&mut tx, now - KEYS_KEPT).await?;
            events::forget(&mut tx, now - self.events_kept).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn is_anything_old(&self, now: i64) -> Result<bool, Problem> {
        let mut reader = self.db.read().await?;
        Ok(keys::any_before(&mut reader, now - KEYS_KEPT).await?
            || events::any_before(&mut reader, now - self.events_kept).await?)
    }
}
