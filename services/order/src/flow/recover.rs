//! What one replica does for all: end unpaid orders, and take up what was left half-done.

use shop_kit::Problem;
use shop_kit::sqlite::keys;

use super::Shop;
use super::pay::expire;
use crate::api::CREATE_SCOPE;
use crate::store::orders::{self, Hold};
use crate::store::{payments, refunds};

const BATCH: i64 = 50;

/// A payment or refund that is this old was left behind by a process that died; a request at work is younger.
const STALLED: i64 = 15_000;

/// A creation this old is not taken up by its client any more.
const ABANDONED: i64 = 60_000;

/// Keys are kept this long.
const KEYS_KEPT: i64 = 24 * 3600 * 1000;

impl Shop {
    /// Ends unpaid orders whose time is over, and forgets old keys.
    pub async fn expire_due(&self) -> Result<(), Problem> {
        let now = self.now();
        while !orders::unpaid(&mut *self.store.db.read().await?, now, 1)
            .await?
            .is_empty()
        {
            let mut tx = self.store.db.write().await?;
            for id in orders::unpaid(&mut tx, now, BATCH).await? {
                let order = orders::get(&mut tx, &id).await?;
                expire(&mut tx, &order, now).await?;
                self.count("expired");
            }
            tx.commit().await?;
        }
        if keys::any_before(&mut *self.store.db.read().await?, now - KEYS_KEPT).await? {
            let mut tx = self.store.db.write().await?;
            keys::forget(&mut tx, now - KEYS_KEPT).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Takes up what was left half-done. The first answer that does not come ends the round; the next begins anew.
    pub async fn recover(&self) -> Result<(), Problem> {
        let db = &self.store.db;
        let now = self.now();
        for order in orders::releasing(&mut *db.read().await?, BATCH).await? {
            self.release(&order).await?;
        }
        for payment in payments::stalled(&mut *db.read().await?, now - STALLED, BATCH).await? {
            self.settle_payment(&payment).await?;
        }
        for refund in refunds::stalled(&mut *db.read().await?, now - STALLED, BATCH).await? {
            self.settle_refund(&refund).await?;
        }
        for order in keys::abandoned(&mut *db.read().await?, CREATE_SCOPE, now - ABANDONED).await? {
            // First the key: without it nobody can note the order any more, so its units can be given up.
            let mut tx = db.write().await?;
            keys::abandon(&mut tx, &order).await?;
            tx.commit().await?;
            self.goods.release(&order).await?;
        }
        Ok(())
    }

    /// Has goods give back what it keeps for an order that will not be paid.
    pub(super) async fn release(&self, order: &str) -> Result<(), Problem> {
        match self.goods.release(order).await {
            Err(problem) if problem.is_transient() => return Err(problem),
            Err(problem) => tracing::error!(
                order,
                detail = problem.detail,
                "goods did not give units back"
            ),
            Ok(()) => {}
        }
        let mut tx = self.store.db.write().await?;
        orders::set_hold(&mut tx, order, Hold::Released).await?;
        tx.commit().await?;
        Ok(())
    }
}
