//! Paying: fix the payment, authorise, sell the units, capture, note it.
//!
//! Units are sold between authorise and capture, so money is never taken for units that are gone. If they are gone (the
//! hold ended while the payment was under way), a new hold is tried; failing that, the money is given back.

use serde_json::json;
use shop_kit::sqlite::keys::{self, Known};
use shop_kit::{Kind, Problem, Reply};
use sqlx::SqliteConnection;

use super::{Next, Pending, Shop, Ticket, new_id, pending};
use crate::model::{NewItem, Order, Pay};
use crate::payment::Verdict;
use crate::state::State;
use crate::store::orders::{self, Hold};
use crate::store::payments::{self, PaymentState};
use shop_kit::sqlite::events;

/// The new hold of a late payment needs to last only until it is sold.
const LATE_TTL_S: i64 = 60;

#[derive(Debug)]
enum Ending {
    Captured,
    Declined(String),
    Voided,
}

impl Shop {
    pub(super) async fn begin_payment(
        &self,
        id: &str,
        ticket: &Ticket,
        pay: &Pay,
    ) -> Result<Next, Problem> {
        let now = self.now();
        let mut tx = self.store.db.write().await?;
        match ticket.find(&mut tx).await? {
            Some(Known::Done(reply)) => return Ok(Next::Answer(reply)),
            Some(Known::Begun { resource, .. }) => {
                return Ok(Next::Own(Pending::Payment(resource)));
            }
            None => {}
        }
        let order = orders::get(&mut tx, id).await?;
        if let Some(other) = pending(&mut tx, id).await? {
            return Ok(Next::Other(other));
        }
        ticket.if_match.check(order.version)?;
        if let Err(problem) = payable(&mut tx, &order, now).await? {
            return ticket
                .conclude(tx, Err(problem), now)
                .await
                .map(Next::Answer);
        }
        let payment = new_id();
        payments::insert(&mut tx, &payment, id, pay.method, &pay.token, now).await?;
        ticket.begin(&mut tx, &payment, now).await?;
        tx.commit().await?;
        Ok(Next::Own(Pending::Payment(payment)))
    }

    /// Brings a payment to its end, whoever began it.
    pub(super) async fn settle_payment(&self, id: &str) -> Result<Reply, Problem> {
        let mut reader = self.store.db.read().await?;
        let payment = payments::get(&mut reader, id).await?;
        let order = orders::get(&mut reader, &payment.order_id).await?;
        drop(reader);
        if payment.state != PaymentState::Pending {
            return ended(payment.state, &order);
        }
        let ending = match self.provider.authorise(&payment.charge(&order)?).await? {
            Verdict::Declined(reason) => Ending::Declined(reason),
            Verdict::Authorised if self.sell(&order, id).await? => {
                self.provider.capture(id).await?;
                Ending::Captured
            }
            Verdict::Authorised => {
                self.provider.void(id).await?;
                Ending::Voided
            }
        };
        self.end_payment(id, ending).await
    }

    /// Sells the units of an order; false when there are none to sell any more.
    async fn sell(&self, order: &Order, payment: &str) -> Result<bool, Problem> {
        match self.goods.commit(&order.id).await {
            Ok(()) => return Ok(true),
            Err(problem) if problem.is_transient() => return Err(problem),
            Err(problem) if problem.is(Kind::ReservationExpired) || problem.is(Kind::NotFound) => {}
            Err(_) => return Ok(false),
        }
        let items: Vec<NewItem> = order
            .items
            .iter()
            .map(|i| NewItem {
                sku: i.sku.clone(),
                qty: i.qty,
                price: None,
            })
            .collect();
        let outcome = match self
            .goods
            .reserve(&order.id, payment, &items, LATE_TTL_S)
            .await
        {
            Ok(_) => self.goods.commit(&order.id).await,
            Err(problem) => Err(problem),
        };
        match outcome {
            Ok(()) => Ok(true),
            Err(problem) if problem.is_transient() => Err(problem),
            Err(_) => Ok(false),
        }
    }

    async fn end_payment(&self, id: &str, ending: Ending) -> Result<Reply, Problem> {
        let now = self.now();
        let mut tx = self.store.db.write().await?;
        let payment = payments::get(&mut tx, id).await?;
        let order = orders::get(&mut tx, &payment.order_id).await?;
        if payment.state != PaymentState::Pending {
            return ended(payment.state, &order);
        }
        let reply = match &ending {
            Ending::Captured => {
                payments::end(&mut tx, id, PaymentState::Captured).await?;
                orders::set_hold(&mut tx, &order.id, Hold::Committed).await?;
                let data = json!({ "total": order.total });
                Reply::json(
                    200,
                    &orders::enter(&mut tx, &order, State::Paid, "order.paid", data, now).await?,
                )?
            }
            Ending::Declined(reason) => {
                payments::end(&mut tx, id, PaymentState::Declined).await?;
                events::append(
                    &mut tx,
                    "order.payment_failed",
                    &order.id,
                    &json!({ "reason": reason }),
                    now,
                )
                .await?;
                let problem = Problem::new(
                    Kind::PaymentDeclined,
                    "the order still waits; use another means of payment",
                );
                Reply::from(&problem.with("reason", reason.as_str()))
            }
            Ending::Voided => {
                payments::end(&mut tx, id, PaymentState::Voided).await?;
                orders::set_hold(&mut tx, &order.id, Hold::Released).await?;
                orders::enter(
                    &mut tx,
                    &order,
                    State::Expired,
                    "order.expired",
                    json!({}),
                    now,
                )
                .await?;
                Reply::from(&expired(&order))
            }
        };
        keys::finish_resource(&mut tx, id, &reply).await?;
        tx.commit().await?;
        self.count(match ending {
            Ending::Captured => "paid",
            Ending::Declined(_) => "payment_failed",
            Ending::Voided => "expired",
        });
        Ok(reply)
    }
}

/// Tells whether an order can be paid. One whose hold has just ended is expired on the way.
async fn payable(
    db: &mut SqliteConnection,
    order: &Order,
    now: i64,
) -> Result<Result<(), Problem>, Problem> {
    Ok(match (order.state, order.reservation_expires_at) {
        (State::PendingPayment, Some(until)) if now >= until => {
            expire(db, order, now).await?;
            Err(expired(order))
        }
        (State::PendingPayment, _) => Ok(()),
        (State::Expired, _) => Err(expired(order)),
        (state, _) => Err(Problem::transition(state.name(), State::Paid.name())),
    })
}

/// Ends an unpaid order; its units are given up by recovery.
pub(super) async fn expire(
    db: &mut SqliteConnection,
    order: &Order,
    now: i64,
) -> Result<(), Problem> {
    orders::set_hold(db, &order.id, Hold::Releasing).await?;
    orders::enter(db, order, State::Expired, "order.expired", json!({}), now)
        .await
        .map(drop)
}

fn expired(order: &Order) -> Problem {
    Problem::new(
        Kind::ReservationExpired,
        format!("order {} was not paid in time", order.id),
    )
}

/// Answers for a payment that somebody else has brought to its end.
fn ended(state: PaymentState, order: &Order) -> Result<Reply, Problem> {
    match state {
        PaymentState::Declined => Ok(Reply::from(&Problem::new(
            Kind::PaymentDeclined,
            "the order still waits",
        ))),
        PaymentState::Voided => Ok(Reply::from(&expired(order))),
        PaymentState::Captured | PaymentState::Pending => Reply::json(200, order),
    }
}
