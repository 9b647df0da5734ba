//! `/goods` and `/goods/{sku}`.

use axum::extract::State;
use shop_kit::body::{Json, Path, Query};
use shop_kit::etag::IfMatch;
use shop_kit::page::{Page, PageQuery};
use shop_kit::{Kind, Problem, Reply};
use utoipa::IntoParams;

use crate::model::{Good, GoodContent, GoodPatch, NewGood, is_name};
use crate::store::{Store, goods};

#[derive(Debug, serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Part of the number, name or description.
    q: Option<String>,
    /// The category.
    category: Option<String>,
    /// Entries at most: 1 to 200, 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists articles by number.
#[utoipa::path(get, path = "/goods", tag = "goods", params(ListQuery),
    responses((status = 200, body = Page<Good>), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(store): State<Store>,
    Query(query): Query<ListQuery>,
) -> Result<Reply, Problem> {
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let text = query.q.filter(|text| !text.is_empty());
    let filter = goods::Filter {
        text,
        category: query.category,
        after: page.after()?,
        rows: page.rows(),
    };
    let found = goods::list(&mut *store.db.read().await?, &filter).await?;
    Reply::json(200, &page.page(found, |good| good.sku.clone()))
}

/// Adds an article.
#[utoipa::path(post, path = "/goods", tag = "goods", request_body = NewGood,
    responses((status = 201, body = Good), (status = 400, body = Problem), (status = 409, description = "already-exists", body = Problem)))]
pub(super) async fn create(
    State(store): State<Store>,
    Json(new): Json<NewGood>,
) -> Result<Reply, Problem> {
    check_sku(&new.sku)?;
    new.content.check()?;
    let mut tx = store.db.write().await?;
    let good = goods::create(&mut tx, &new.sku, &new.content, store.clock.now()).await?;
    tx.commit().await?;
    Reply::json(201, &good)
}

/// Returns an article with its stock.
#[utoipa::path(get, path = "/goods/{sku}", tag = "goods", params(("sku" = String, Path)),
    responses((status = 200, body = Good), (status = 404, body = Problem)))]
pub(super) async fn read(
    State(store): State<Store>,
    Path(sku): Path<String>,
) -> Result<Reply, Problem> {
    Reply::json(200, &goods::get(&mut *store.db.read().await?, &sku).await?)
}

/// Adds or replaces an article; its stock stays.
#[utoipa::path(put, path = "/goods/{sku}", tag = "goods", request_body = GoodContent,
    params(("sku" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Good), (status = 201, body = Good), (status = 400, body = Problem), (status = 412, body = Problem)))]
pub(super) async fn replace(
    State(store): State<Store>,
    Path(sku): Path<String>,
    if_match: IfMatch,
    Json(content): Json<GoodContent>,
) -> Result<Reply, Problem> {
    check_sku(&sku)?;
    content.check()?;
    let now = store.clock.now();
    let mut tx = store.db.write().await?;
    let reply = match goods::update(&mut tx, &sku, &if_match, |_| Ok(content.clone()), now).await {
        Err(problem) if problem.is(Kind::NotFound) => {
            Reply::json(201, &goods::create(&mut tx, &sku, &content, now).await?)?
        }
        outcome => Reply::json(200, &outcome?)?,
    };
    tx.commit().await?;
    Ok(reply)
}

/// Changes parts of an article.
#[utoipa::path(patch, path = "/goods/{sku}", tag = "goods", request_body = GoodPatch,
    params(("sku" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Good), (status = 400, body = Problem), (status = 404, body = Problem), (status = 412, body = Problem)))]
pub(super) async fn patch(
    State(store): State<Store>,
    Path(sku): Path<String>,
    if_match: IfMatch,
    Json(change): Json<GoodPatch>,
) -> Result<Reply, Problem> {
    let apply = |old| {
        let content = change.apply(old);
        content.check().map(|()| content)
    };
    let mut tx = store.db.write().await?;
    let good = goods::update(&mut tx, &sku, &if_match, apply, store.clock.now()).await?;
    tx.commit().await?;
    Reply::json(200, &good)
}

fn check_sku(sku: &str) -> Result<(), Problem> {
    if is_name(sku) {
        Ok(())
    } else {
        Err(Problem::field(
            "/sku",
            "must have 1 to 64 letters, digits, '.', '_' or '-'",
        ))
    }
}
