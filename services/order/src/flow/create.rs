//! Creating an order: fix its id under the key, have goods keep the units, note the order.
//!
//! The id is fixed first and goods keeps one reservation for each order, so a retry that takes over, even while the first
//! request is still at work, can only end in the same order. No row of the order exists before its units are kept.

use shop_kit::key::{Key, fingerprint};
use shop_kit::sqlite::keys::{self, Known};
use shop_kit::{Kind, Problem, Reply};

use super::{SLACK, Shop, new_id};
use crate::goods::Reserved;
use crate::model::{Item, NewOrder, Order};
use crate::state::State;
use crate::store::orders;

/// What was fixed in the first stride.
#[derive(Debug)]
struct Begun<'a> {
    key: &'a Key,
    fingerprint: String,
    id: String,
    at: i64,
}

impl Shop {
    /// Creates an order, or answers what was answered to the same key before.
    pub async fn create(&self, key: &Key, new: &NewOrder) -> Result<Reply, Problem> {
        new.check()?;
        let begun = match self.begin_create(key, new).await? {
            Ok(begun) => begun,
            Err(reply) => return Ok(reply),
        };
        let ttl_s = (self.store.hold + SLACK) / 1000;
        match self
            .goods
            .reserve(&begun.id, &begun.id, &new.items, ttl_s)
            .await
        {
            Ok(reserved) => self.note_order(&begun, new, &reserved).await,
            Err(problem) if problem.is_transient() => Err(problem),
            // Given up by recovery while this request was under way: nothing is kept for it any more.
            Err(problem) if problem.is(Kind::InvalidTransition) => Err(given_up()),
            Err(problem) => self.note_refusal(&begun, &problem).await,
        }
    }

    async fn begin_create<'a>(
        &self,
        key: &'a Key,
        new: &NewOrder,
    ) -> Result<Result<Begun<'a>, Reply>, Problem> {
        let fingerprint = fingerprint(new)?;
        let mut tx = self.store.db.write().await?;
        let (id, at) = match keys::find(&mut tx, key, &fingerprint).await? {
            Some(Known::Done(reply)) => return Ok(Err(reply)),
            Some(Known::Begun {
                resource,
                started_at,
            }) => (resource, started_at),
            None => {
                let (id, now) = (new_id(), self.now());
                keys::begin(&mut tx, key, &fingerprint, &id, now).await?;
                tx.commit().await?;
                (id, now)
            }
        };
        Ok(Ok(Begun {
            key,
            fingerprint,
            id,
            at,
        }))
    }

    async fn note_order(
        &self,
        begun: &Begun<'_>,
        new: &NewOrder,
        reserved: &Reserved,
    ) -> Result<Reply, Problem> {
        // The hold counts from the first stride: goods cannot have begun earlier, so its own hold outlasts this one.
        let hold_until = begun.at + self.store.hold;
        let order = match order(begun, new, reserved, hold_until, self.now()) {
            Ok(order) => order,
            Err(problem) => {
                self.goods.release(&begun.id).await?;
                return self.note_refusal(begun, &problem).await;
            }
        };
        let mut tx = self.store.db.write().await?;
        match keys::find(&mut tx, begun.key, &begun.fingerprint).await? {
            Some(Known::Done(reply)) => return Ok(reply),
            Some(Known::Begun { resource, .. }) if resource == begun.id => {}
            _ => return Err(given_up()),
        }
        orders::insert(&mut tx, &order, hold_until).await?;
        let reply = Reply::json(201, &order)?;
        keys::finish(
            &mut tx,
            begun.key,
            &begun.fingerprint,
            &reply,
            order.created_at,
        )
        .await?;
        tx.commit().await?;
        self.count("created");
        Ok(reply)
    }

    async fn note_refusal(&self, begun: &Begun<'_>, problem: &Problem) -> Result<Reply, Problem> {
        let reply = Reply::from(problem);
        let mut tx = self.store.db.write().await?;
        match keys::find(&mut tx, begun.key, &begun.fingerprint).await? {
            Some(Known::Done(reply)) => return Ok(reply),
            Some(Known::Begun { resource, .. }) if resource == begun.id => {
                keys::finish(&mut tx, begun.key, &begun.fingerprint, &reply, self.now()).await?;
                tx.commit().await?;
            }
            _ => {}
        }
        self.count("refused");
        Ok(reply)
    }
}

fn order(
    begun: &Begun<'_>,
    new: &NewOrder,
    reserved: &Reserved,
    hold_until: i64,
    now: i64,
) -> Result<Order, Problem> {
    let mut items = Vec::with_capacity(new.items.len());
    let mut total = None;
    for (n, wanted) in new.items.iter().enumerate() {
        let found = reserved
            .items
            .iter()
            .find(|kept| kept.sku == wanted.sku && kept.qty == wanted.qty);
        let kept = found.ok_or_else(|| {
            Problem::internal(format!(
                "goods keeps no {} for order {}",
                wanted.sku, begun.id
            ))
        })?;
        let sum = kept
            .price
            .times(kept.qty)
            .and_then(|line| total.map_or(Some(line), |so_far| line.plus(so_far)));
        total = Some(sum.ok_or_else(|| {
            Problem::field(
                &format!("/items/{n}"),
                "cannot be added up: another currency, or too large an amount",
            )
        })?);
        items.push(Item {
            sku: kept.sku.clone(),
            name: kept.name.clone(),
            qty: kept.qty,
            price: kept.price,
            refunded_qty: 0,
        });
    }
    let total = total.ok_or_else(|| Problem::internal("an order without items"))?;
    Ok(Order {
        id: begun.id.clone(),
        state: State::PendingPayment,
        items,
        total,
        refunded: shop_kit::money::Money::new(0, total.currency),
        address: new.address.clone(),
        reservation_expires_at: Some(hold_until),
        created_at: now,
        updated_at: now,
        version: 1,
        line: None,
    })
}

fn given_up() -> Problem {
    Problem::unavailable("the request was given up meanwhile; send it again")
}
