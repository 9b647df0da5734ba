//! Cancelling: an unpaid order is given up; a paid one that has not been shipped is refunded.

use std::time::Duration;

use serde_json::json;
use shop_kit::sqlite::keys::Known;
use shop_kit::{Problem, Reply};

use super::refund::{fix, plan_cancellation};
use super::{Next, Pending, Shop, Ticket, pending};
use crate::state::State;
use crate::store::orders::{self, Hold};

/// Goods is told at once if it answers at once; otherwise recovery tells it.
const PATIENCE: Duration = Duration::from_secs(1);

impl Shop {
    pub(super) async fn begin_cancel(&self, id: &str, ticket: &Ticket) -> Result<Next, Problem> {
        let now = self.now();
        let mut tx = self.store.db.write().await?;
        match ticket.find(&mut tx).await? {
            Some(Known::Done(reply)) => return Ok(Next::Answer(reply)),
            Some(Known::Begun { resource, .. }) => return Ok(Next::Own(Pending::Refund(resource))),
            None => {}
        }
        let order = orders::get(&mut tx, id).await?;
        if let Some(other) = pending(&mut tx, id).await? {
            return Ok(Next::Other(other));
        }
        ticket.if_match.check(order.version)?;
        match order.state {
            State::Cancelled => ticket
                .conclude(tx, Reply::json(200, &order), now)
                .await
                .map(Next::Answer),
            State::PendingPayment => {
                orders::set_hold(&mut tx, id, Hold::Releasing).await?;
                let order = orders::enter(
                    &mut tx,
                    &order,
                    State::Cancelled,
                    "order.cancelled",
                    json!({}),
                    now,
                )
                .await?;
                let reply = ticket.conclude(tx, Reply::json(200, &order), now).await?;
                self.count("cancelled");
                _ = tokio::time::timeout(PATIENCE, self.release(id)).await;
                Ok(Next::Answer(reply))
            }
            _ if order.line().is_before_shipping() => {
                let refund = plan_cancellation(&order)?;
                fix(&mut tx, &order, &refund, now).await?;
                ticket.begin(&mut tx, &refund.id, now).await?;
                tx.commit().await?;
                Ok(Next::Own(Pending::Refund(refund.id)))
            }
            state => {
                let refusal = Problem::transition(state.name(), State::Cancelled.name());
                ticket
                    .conclude(tx, Err(refusal), now)
                    .await
                    .map(Next::Answer)
            }
        }
    }
}
