//! The routes. A handler checks the request, runs one transaction of the store, and answers; it decides nothing else.

mod goods;
mod reservations;
mod reviews;
mod stock;

use axum::Router;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::store::Store;

#[derive(OpenApi)]
#[openapi(info(
    title = "goods",
    description = "Articles, their stock, reservations of it, and reviews. Refusals are problem details (RFC 9457)."
))]
struct Document;

/// Returns all routes, with their description at `/openapi.json`.
pub fn routes(store: Store) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(goods::list, goods::create))
        .routes(routes!(goods::read, goods::replace, goods::patch))
        .routes(routes!(stock::read, stock::set))
        .routes(routes!(stock::adjust))
        .routes(routes!(reservations::create))
        .routes(routes!(reservations::read, reservations::release))
        .routes(routes!(reservations::commit))
        .routes(routes!(reservations::take_back))
        .routes(routes!(reviews::list, reviews::create))
        .with_state(store)
        .split_for_parts();
    router.route("/openapi.json", get(async move || axum::Json(document)))
}
