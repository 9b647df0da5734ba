//! `/orders` and what hangs below it.

use axum::extract::State;
use shop_kit::body::{Json, Path, Query};
use shop_kit::etag::IfMatch;
use shop_kit::key::Key;
use shop_kit::page::{Page, PageQuery};
use shop_kit::sqlite::events::{self, Event};
use shop_kit::{Kind, Problem, Reply};
use utoipa::IntoParams;

use crate::ABOUT;
use crate::flow::{Operation, Shop, Ticket};
use crate::model::{NewOrder, NewRefund, Order, Pay, RefundAnswer};
use crate::state::State as OrderState;
use crate::store::orders;

#[derive(Debug, serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only orders in this state.
    #[serde(alias = "state")]
    status: Option<String>,
    /// Entries at most: 1 to 200, 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists orders, newest first.
#[utoipa::path(get, path = "/orders", tag = "orders", params(ListQuery),
    responses((status = 200, body = Page<Order>), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(shop): State<Shop>,
    Query(query): Query<ListQuery>,
) -> Result<Reply, Problem> {
    let named = |name: String| {
        OrderState::named(&name)
            .ok_or_else(|| Problem::field("/status", "is not a state of an order"))
    };
    let state = query.status.map(named).transpose()?;
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let before = page.after()?;
    let found = orders::list(
        &mut *shop.store.db.read().await?,
        state,
        before.as_deref(),
        page.rows(),
    )
    .await?;
    Reply::json(200, &page.page(found, |order| order.id.clone()))
}

/// Creates an order; its units are kept until it is paid, cancelled, or its time is over.
#[utoipa::path(post, path = "/orders", tag = "orders", request_body = NewOrder, params(("Idempotency-Key" = String, Header)),
    responses((status = 201, body = Order), (status = 400, body = Problem),
        (status = 409, description = "out-of-stock, with the short items", body = Problem),
        (status = 422, description = "price-changed, idempotency-key-reused", body = Problem),
        (status = 503, description = "send it again with the same key", body = Problem)))]
pub(super) async fn create(
    State(shop): State<Shop>,
    key: Key,
    Json(new): Json<NewOrder>,
) -> Result<Reply, Problem> {
    shop.create(&key, &new).await
}

/// Returns an order.
#[utoipa::path(get, path = "/orders/{id}", tag = "orders", params(("id" = String, Path)),
    responses((status = 200, body = Order), (status = 404, body = Problem)))]
pub(super) async fn read(
    State(shop): State<Shop>,
    Path(id): Path<String>,
) -> Result<Reply, Problem> {
    Reply::json(
        200,
        &orders::get(&mut *shop.store.db.read().await?, &id).await?,
    )
}

/// Lists what happened to an order, oldest first.
#[utoipa::path(get, path = "/orders/{id}/events", tag = "orders", params(("id" = String, Path)),
    responses((status = 200, body = Page<Event>), (status = 404, body = Problem)))]
pub(super) async fn events(
    State(shop): State<Shop>,
    Path(id): Path<String>,
) -> Result<Reply, Problem> {
    let mut reader = shop.store.db.read().await?;
    orders::get(&mut reader, &id).await?;
    let items = events::of_subject(&mut reader, ABOUT.name, &id).await?;
    Reply::json(
        200,
        &Page {
            items,
            next_cursor: None,
        },
    )
}

/// Pays an order. Without a key the state of the order alone guards against paying twice.
#[utoipa::path(post, path = "/orders/{id}/pay", tag = "orders", request_body = Pay,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Order), (status = 202, description = "at work", body = Order), (status = 400, body = Problem),
        (status = 402, description = "payment-declined", body = Problem), (status = 404, body = Problem),
        (status = 409, description = "invalid-transition, idempotency-in-progress", body = Problem),
        (status = 410, description = "reservation-expired", body = Problem)))]
pub(super) async fn pay(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    key: Option<Key>,
    if_match: IfMatch,
    Json(pay): Json<Pay>,
) -> Result<Reply, Problem> {
    pay.check()?;
    let ticket = Ticket::new(key, if_match, &pay)?;
    shop.carry_out(&id, &ticket, &Operation::Pay(pay)).await
}

/// Cancels an order that has not been shipped; a paid one is refunded.
#[utoipa::path(post, path = "/orders/{id}/cancel", tag = "orders",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Order), (status = 202, description = "at work", body = Order), (status = 404, body = Problem),
        (status = 409, description = "invalid-transition, idempotency-in-progress", body = Problem)))]
pub(super) async fn cancel(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    key: Option<Key>,
    if_match: IfMatch,
) -> Result<Reply, Problem> {
    let ticket = Ticket::new(key, if_match, &())?;
    shop.carry_out(&id, &ticket, &Operation::Cancel).await
}

/// Refunds an order: everything that is left, an amount, or items. A refund of a part needs a key.
#[utoipa::path(post, path = "/orders/{id}/refund", tag = "orders", request_body = NewRefund,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 202, body = RefundAnswer), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "refund-exceeds-paid, invalid-transition, idempotency-in-progress", body = Problem)))]
pub(super) async fn refund(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    key: Option<Key>,
    if_match: IfMatch,
    Json(new): Json<NewRefund>,
) -> Result<Reply, Problem> {
    if key.is_none() && (new.amount.is_some() || new.items.is_some()) {
        return Err(Problem::new(
            Kind::IdempotencyKeyMissing,
            "without a key, a retry could refund the part twice",
        ));
    }
    new.check()?;
    let ticket = Ticket::new(key, if_match, &new)?;
    shop.carry_out(&id, &ticket, &Operation::Refund(new)).await
}
