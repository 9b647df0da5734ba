//! The routes. A handler reads the request and hands it to [`crate::flow`]; it decides nothing itself.

mod orders;

use axum::Router;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::flow::Shop;

/// The scope of the keys with which orders are created.
pub const CREATE_SCOPE: &str = "POST /orders";

#[derive(OpenApi)]
#[openapi(info(
    title = "order",
    description = "Orders, from their creation to their payment, cancellation or refund. Refusals are problem details (RFC 9457)."
))]
struct Document;

/// Returns all routes, with their description at `/openapi.json`.
pub fn routes(shop: Shop) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(orders::list, orders::create))
        .routes(routes!(orders::read))
        .routes(routes!(orders::events))
        .routes(routes!(orders::pay))
        .routes(routes!(orders::cancel))
        .routes(routes!(orders::refund))
        .with_state(shop)
        .split_for_parts();
    router.route("/openapi.json", get(async move || axum::Json(document)))
}
