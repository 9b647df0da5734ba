//! Refunding: fix the refund, pay back, put units back into stock if they have not left the house, note it.

use serde_json::json;
use shop_kit::money::Money;
use shop_kit::sqlite::keys::{self, Known};
use shop_kit::{Kind, Problem, Reply};
use sqlx::SqliteConnection;

use super::{Next, Pending, Shop, Ticket, new_id, pending};
use crate::model::{
    NewRefund, Order, OrderStateView, RefundAmount, RefundAnswer, RefundItem, RefundView,
};
use crate::state::State;
use crate::store::orders;
use crate::store::payments::{self, PaymentState};
use crate::store::refunds::{self, Refund};

impl Shop {
    pub(super) async fn begin_refund(
        &self,
        id: &str,
        ticket: &Ticket,
        new: &NewRefund,
    ) -> Result<Next, Problem> {
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
        let refund = match plan(&order, new) {
            Ok(refund) => refund,
            Err(problem) => {
                return ticket
                    .conclude(tx, Err(problem), now)
                    .await
                    .map(Next::Answer);
            }
        };
        fix(&mut tx, &order, &refund, now).await?;
        ticket.begin(&mut tx, &refund.id, now).await?;
        tx.commit().await?;
        Ok(Next::Own(Pending::Refund(refund.id)))
    }

    /// Brings a refund to its end, whoever began it.
    pub(super) async fn settle_refund(&self, id: &str) -> Result<Reply, Problem> {
        let mut reader = self.store.db.read().await?;
        let refund = refunds::get(&mut reader, id).await?;
        let order = orders::get(&mut reader, &refund.order_id).await?;
        let payment = payments::of_order(&mut reader, &order.id, PaymentState::Captured).await?;
        drop(reader);
        if refund.succeeded {
            return answer(&refund, &order);
        }
        let payment = payment.ok_or_else(|| {
            Problem::internal(format!("order {} has a refund and no payment", order.id))
        })?;
        self.provider
            .refund(
                &payment,
                id,
                Money::new(refund.amount, order.total.currency),
            )
            .await?;
        if refund.restock {
            match self
                .goods
                .take_back(&order.id, id, refund.items.as_deref())
                .await
            {
                Err(problem) if problem.is_transient() => return Err(problem),
                // The money is back already; units that goods does not take are for its keeper to count.
                Err(problem) => tracing::error!(
                    order = order.id,
                    detail = problem.detail,
                    "goods took no units back"
                ),
                Ok(()) => {}
            }
        }
        self.end_refund(id).await
    }

    async fn end_refund(&self, id: &str) -> Result<Reply, Problem> {
        let mut tx = self.store.db.write().await?;
        let mut refund = refunds::get(&mut tx, id).await?;
        let order = orders::get(&mut tx, &refund.order_id).await?;
        if refund.succeeded {
            return answer(&refund, &order);
        }
        refunds::succeed(&mut tx, id).await?;
        refund.succeeded = true;
        orders::add_refunded(&mut tx, &order.id, refund.amount).await?;
        let whole = refund.amount == order.refundable().amount;
        let to = if whole {
            State::Refunded
        } else {
            State::PartiallyRefunded
        };
        let data = json!({ "refund": id, "amount": Money::new(refund.amount, order.total.currency), "reason": refund.reason });
        let order = orders::enter(&mut tx, &order, to, "order.refunded", data, self.now()).await?;
        let reply = answer(&refund, &order)?;
        keys::finish_resource(&mut tx, id, &reply).await?;
        tx.commit().await?;
        self.count("refunded");
        Ok(reply)
    }
}

/// Decides how much goes back and which units.
fn plan(order: &Order, new: &NewRefund) -> Result<Refund, Problem> {
    if !order.state.leads_to(order.line, State::Refunding) {
        return Err(Problem::transition(
            order.state.name(),
            State::Refunding.name(),
        ));
    }
    let refundable = order.refundable();
    let exceeds = || {
        let detail = format!(
            "{} {} can be refunded",
            refundable.amount, refundable.currency
        );
        Problem::new(Kind::RefundExceedsPaid, detail).with("refundable", json!(refundable))
    };
    let mut worth = Money::new(0, refundable.currency);
    for (n, back) in new.items.iter().flatten().enumerate() {
        let item = order.items.iter().find(|item| item.sku == back.sku);
        let item = item.ok_or_else(|| {
            Problem::field(&format!("/items/{n}/sku"), "is not part of the order")
        })?;
        if back.qty > item.qty - item.refunded_qty {
            return Err(exceeds());
        }
        worth = item
            .price
            .times(back.qty)
            .and_then(|line| worth.plus(line))
            .ok_or_else(exceeds)?;
    }
    let amount = match new.amount {
        Some(RefundAmount::Money(money)) if money.currency != refundable.currency => {
            return Err(Problem::field(
                "/amount/currency",
                format!("the order is in {}", refundable.currency),
            ));
        }
        Some(RefundAmount::Money(Money { amount, .. }) | RefundAmount::Minor(amount)) => amount,
        None if new.items.is_some() => worth.amount,
        None => refundable.amount,
    };
    if amount > refundable.amount {
        return Err(exceeds());
    }
    let everything = new.items.is_none() && amount == refundable.amount;
    Ok(Refund {
        id: new_id(),
        order_id: order.id.clone(),
        succeeded: false,
        amount,
        items: new.items.clone(),
        restock: order.line().is_before_shipping() && (everything || new.items.is_some()),
        cancels: false,
        reason: new.reason.clone(),
    })
}

/// Plans the refund of everything that is left, as the answer to a cancellation.
pub(super) fn plan_cancellation(order: &Order) -> Result<Refund, Problem> {
    let new = NewRefund {
        reason: "cancelled".to_owned(),
        ..NewRefund::default()
    };
    Ok(Refund {
        cancels: true,
        ..plan(order, &new)?
    })
}

/// Notes a refund that is to be carried out.
pub(super) async fn fix(
    db: &mut SqliteConnection,
    order: &Order,
    refund: &Refund,
    now: i64,
) -> Result<(), Problem> {
    refunds::insert(db, refund, now).await?;
    for RefundItem { sku, qty } in refund.items.iter().flatten() {
        orders::add_refunded_units(db, &order.id, sku, *qty).await?;
    }
    let data = json!({ "refund": refund.id });
    orders::enter(db, order, State::Refunding, "order.refunding", data, now)
        .await
        .map(drop)
}

/// Answers for a refund, as far as it has come.
pub(super) fn answer(refund: &Refund, order: &Order) -> Result<Reply, Problem> {
    if refund.cancels {
        return Reply::json(200, order);
    }
    let state = if refund.succeeded {
        "succeeded"
    } else {
        "pending"
    };
    let amount = Money::new(refund.amount, order.total.currency);
    let body = RefundAnswer {
        refund: RefundView {
            id: refund.id.clone(),
            state: state.to_owned(),
            amount,
        },
        order: OrderStateView {
            id: order.id.clone(),
            state: order.state,
        },
    };
    Reply::json(202, &body)
}
