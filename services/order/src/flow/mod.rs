//! The steps of each operation, in their order.
//!
//! An operation that reaches beyond the own database goes in three strides: a transaction fixes what will be done and under
//! which id; the outside is told, every call being idempotent by that id; a transaction notes the outcome, unless somebody
//! else has. Between the strides the process may die: whoever comes next, be it the client's retry on another replica, an
//! operation that finds the way barred, or [`Shop::recover`], takes the same strides with the same ids and ends in the same
//! place. No lock is held while the outside is told.

mod cancel;
mod create;
mod pay;
mod recover;
mod refund;

use std::sync::Arc;

use serde::Serialize;
use shop_kit::etag::IfMatch;
use shop_kit::key::{Key, fingerprint};
use shop_kit::metrics::Metrics;
use shop_kit::sqlite::Write;
use shop_kit::sqlite::keys::{self, Known};
use shop_kit::{Kind, Problem, Reply};
use sqlx::SqliteConnection;

use crate::goods::Goods;
use crate::model::{NewRefund, Pay};
use crate::payment::{Provider, Unreachable};
use crate::store::payments::PaymentState;
use crate::store::{Store, orders, payments, refunds};

/// Goods keeps the units so much longer than the order waits, so that a payment which begins in the last moment ends in
/// time.
const SLACK: i64 = 60_000;

/// So often an operation clears what bars its way before it gives up.
const ROUNDS: usize = 4;

/// Everything an operation needs.
#[derive(Debug, Clone)]
pub struct Shop {
    /// Orders.
    pub store: Store,
    /// The goods service.
    pub goods: Goods,
    /// The payment provider.
    pub provider: Arc<dyn Provider>,
    /// Metrics.
    pub metrics: Metrics,
}

/// A request to change an order: how it is recognised when it comes again, and which version it speaks of.
#[derive(Debug, Clone)]
pub struct Ticket {
    key: Option<Key>,
    fingerprint: String,
    if_match: IfMatch,
}

impl Ticket {
    /// Makes a ticket for a body.
    pub fn new<T: Serialize>(
        key: Option<Key>,
        if_match: IfMatch,
        body: &T,
    ) -> Result<Self, Problem> {
        Ok(Self {
            key,
            fingerprint: fingerprint(body)?,
            if_match,
        })
    }

    async fn find(&self, db: &mut SqliteConnection) -> Result<Option<Known>, Problem> {
        match &self.key {
            Some(key) => keys::find(db, key, &self.fingerprint).await,
            None => Ok(None),
        }
    }

    async fn begin(
        &self,
        db: &mut SqliteConnection,
        resource: &str,
        now: i64,
    ) -> Result<(), Problem> {
        match &self.key {
            Some(key) => keys::begin(db, key, &self.fingerprint, resource, now).await,
            None => Ok(()),
        }
    }

    async fn conclude(
        &self,
        tx: Write,
        outcome: Result<Reply, Problem>,
        now: i64,
    ) -> Result<Reply, Problem> {
        match (&self.key, outcome) {
            (Some(key), outcome) => keys::conclude(tx, key, &self.fingerprint, outcome, now).await,
            (None, Err(problem)) if problem.is_transient() => Err(problem),
            (None, outcome) => {
                tx.commit().await?;
                outcome
            }
        }
    }
}

/// What is asked of an order.
#[derive(Debug, Clone)]
pub enum Operation {
    /// To be paid.
    Pay(Pay),
    /// To be cancelled.
    Cancel,
    /// To be refunded.
    Refund(NewRefund),
}

/// What is at work on an order.
#[derive(Debug)]
enum Pending {
    Payment(String),
    Refund(String),
}

/// How an operation goes on after its first transaction.
#[derive(Debug)]
enum Next {
    /// It is over.
    Answer(Reply),
    /// Its own second and third stride are left.
    Own(Pending),
    /// Something else must come to its end first.
    Other(Pending),
}

impl Shop {
    fn now(&self) -> i64 {
        self.store.clock.now()
    }

    fn count(&self, outcome: &str) {
        self.metrics.count(
            "orders_total",
            "Orders by what happened to them.",
            &[("event", outcome)],
            1,
        );
    }

    /// Takes an operation through its strides.
    pub async fn carry_out(
        &self,
        order: &str,
        ticket: &Ticket,
        operation: &Operation,
    ) -> Result<Reply, Problem> {
        for _ in 0..ROUNDS {
            let next = match operation {
                Operation::Pay(pay) => self.begin_payment(order, ticket, pay).await?,
                Operation::Cancel => self.begin_cancel(order, ticket).await?,
                Operation::Refund(new) => self.begin_refund(order, ticket, new).await?,
            };
            let pending = match next {
                Next::Answer(reply) => return Ok(reply),
                Next::Other(pending) => {
                    self.settle(&pending).await.map_err(|_| in_progress())?;
                    continue;
                }
                Next::Own(pending) => pending,
            };
            let reply = match self.settle(&pending).await {
                Err(problem) if problem.is_transient() => {
                    return self.so_far(order, &pending).await;
                }
                outcome => outcome?,
            };
            // Whoever was first stored its answer; all others give the same.
            let stored = ticket.find(&mut *self.store.db.read().await?).await?;
            return Ok(if let Some(Known::Done(stored)) = stored {
                stored
            } else {
                reply
            });
        }
        Err(in_progress())
    }

    /// Answers 202 for an operation whose outside cannot be told now; recovery will.
    async fn so_far(&self, order: &str, pending: &Pending) -> Result<Reply, Problem> {
        let mut reader = self.store.db.read().await?;
        let order = orders::get(&mut reader, order).await?;
        let reply = match pending {
            Pending::Payment(_) => Reply::json(202, &order)?,
            Pending::Refund(id) => refund::answer(&refunds::get(&mut reader, id).await?, &order)?,
        };
        Ok(Reply {
            status: 202,
            ..reply
        })
    }

    async fn settle(&self, pending: &Pending) -> Result<Reply, Problem> {
        match pending {
            Pending::Payment(id) => self.settle_payment(id).await,
            Pending::Refund(id) => self.settle_refund(id).await,
        }
    }
}

/// Returns what is at work on an order.
async fn pending(db: &mut SqliteConnection, order: &str) -> Result<Option<Pending>, Problem> {
    if let Some(id) = payments::of_order(db, order, PaymentState::Pending).await? {
        return Ok(Some(Pending::Payment(id)));
    }
    Ok(refunds::pending(db, order).await?.map(Pending::Refund))
}

fn in_progress() -> Problem {
    Problem::new(
        Kind::IdempotencyInProgress,
        "another change of this order is at work; try again in a moment",
    )
}

fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl From<Unreachable> for Problem {
    fn from(error: Unreachable) -> Self {
        tracing::warn!(%error, "the payment provider cannot be used");
        Self::unavailable("the payment provider cannot be reached")
    }
}
