//! `/goods/{sku}/reviews`.

use axum::extract::State;
use shop_kit::body::{Json, Path, Query};
use shop_kit::page::{Page, PageQuery};
use shop_kit::{Problem, Reply};

use crate::model::{NewReview, Review};
use crate::store::{Store, reviews};

/// Lists the reviews of an article, newest first.
#[utoipa::path(get, path = "/goods/{sku}/reviews", tag = "reviews", params(("sku" = String, Path), PageQuery),
    responses((status = 200, body = Page<Review>), (status = 404, body = Problem)))]
pub(super) async fn list(
    State(store): State<Store>,
    Path(sku): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Reply, Problem> {
    let before = page.after()?.map(|seq| {
        seq.parse()
            .map_err(|_| Problem::field("/cursor", "must be the next_cursor of a page"))
    });
    let found = reviews::list(
        &mut *store.db.read().await?,
        &sku,
        before.transpose()?,
        page.rows(),
    )
    .await?;
    Reply::json(200, &page.page(found, |review| review.seq.to_string()))
}

/// Reviews an article that an order bought.
#[utoipa::path(post, path = "/goods/{sku}/reviews", tag = "reviews", request_body = NewReview, params(("sku" = String, Path)),
    responses((status = 201, body = Review), (status = 400, body = Problem), (status = 403, description = "not-purchased", body = Problem),
        (status = 404, body = Problem), (status = 409, description = "already-reviewed", body = Problem)))]
pub(super) async fn create(
    State(store): State<Store>,
    Path(sku): Path<String>,
    Json(new): Json<NewReview>,
) -> Result<Reply, Problem> {
    new.check()?;
    let mut tx = store.db.write().await?;
    let review = reviews::create(&mut tx, &sku, &new, store.clock.now()).await?;
    tx.commit().await?;
    Reply::json(201, &review)
}
