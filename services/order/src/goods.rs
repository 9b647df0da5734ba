//! The goods service, as the order service calls it.
//!
//! Every call here may be repeated and is, on another replica, until it is answered or its time is up. A refusal comes back
//! as the problem that goods answered; no answer comes back as a problem that [`Problem::is_transient`].

use axum::http::Method;
use serde::{Deserialize, Serialize};
use shop_kit::client::{Answer, Call, Client};
use shop_kit::money::Money;
use shop_kit::{Kind, Problem};

use crate::model::{NewItem, RefundItem};

/// Calls the goods service.
#[derive(Debug, Clone)]
pub struct Goods {
    client: Client,
}

/// What goods keeps for an order.
#[derive(Debug, Clone, Deserialize)]
pub struct Reserved {
    /// The lines.
    pub items: Vec<ReservedItem>,
}

/// A line of it.
#[derive(Debug, Clone, Deserialize)]
pub struct ReservedItem {
    /// The article.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// Units.
    pub qty: i64,
    /// The price of one unit.
    pub price: Money,
}

#[derive(Serialize)]
struct Wanted<'a> {
    order_id: &'a str,
    items: &'a [NewItem],
    ttl_s: i64,
}

#[derive(Serialize)]
struct Back<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<&'a [RefundItem]>,
}

impl Goods {
    /// Returns a caller.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Has units kept for an order. The order's own call uses its id as the key; a later try needs a key of its own.
    pub async fn reserve(
        &self,
        order: &str,
        key: &str,
        items: &[NewItem],
        ttl_s: i64,
    ) -> Result<Reserved, Problem> {
        let call = Call::new(Method::POST, "/reservations")
            .key(key)
            .json(&Wanted {
                order_id: order,
                items,
                ttl_s,
            })?;
        self.call(&call).await?.json()
    }

    /// Sells what is kept.
    pub async fn commit(&self, order: &str) -> Result<(), Problem> {
        let call = Call::new(Method::POST, format!("/reservations/{order}/commit")).repeatable();
        self.call(&call).await.map(drop)
    }

    /// Gives up what is kept, if anything is.
    pub async fn release(&self, order: &str) -> Result<(), Problem> {
        let call = Call::new(Method::DELETE, format!("/reservations/{order}"));
        match self.call(&call).await {
            Err(problem) if problem.is(Kind::NotFound) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Puts sold units back into stock: the given ones, or all that are left.
    pub async fn take_back(
        &self,
        order: &str,
        key: &str,
        items: Option<&[RefundItem]>,
    ) -> Result<(), Problem> {
        let call = Call::new(Method::POST, format!("/reservations/{order}/return"))
            .key(key)
            .json(&Back { items })?;
        self.call(&call).await.map(drop)
    }

    async fn call(&self, call: &Call) -> Result<Answer, Problem> {
        match self.client.send(call).await {
            Ok(answer) if answer.status.is_success() => Ok(answer),
            Ok(answer) if answer.status.is_client_error() => Err(answer
                .problem()
                .unwrap_or_else(|| Problem::internal(format!("goods answered {}", answer.status)))),
            Ok(answer) => Err(unavailable(&format!("goods answered {}", answer.status))),
            Err(error) => Err(unavailable(&error.to_string())),
        }
    }
}

fn unavailable(cause: &str) -> Problem {
    tracing::warn!(cause, "the goods service cannot be used");
    Problem::unavailable("the goods service cannot be reached")
}
