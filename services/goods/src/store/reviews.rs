//! Reviews: one for each article of an order that bought it.

use shop_kit::{Kind, Problem};
use sqlx::SqliteConnection;

use super::stock;
use crate::model::{NewReview, Review};

/// Lists the reviews of an article, newest first, from before `before` on.
pub async fn list(
    db: &mut SqliteConnection,
    sku: &str,
    before: Option<i64>,
    rows: i64,
) -> Result<Vec<Review>, Problem> {
    stock::get(db, sku).await?;
    let rows: Vec<(i64, String, i64, i64)> = sqlx::query_as(
        "SELECT rating, text, created_at, seq FROM reviews WHERE sku = ?1 AND (?2 IS NULL OR seq < ?2) ORDER BY seq DESC LIMIT ?3",
    )
    .bind(sku)
    .bind(before)
    .bind(rows)
    .fetch_all(db)
    .await?;
    let review = |(rating, text, created_at, seq)| Review {
        sku: sku.to_owned(),
        rating,
        text,
        created_at,
        seq,
    };
    Ok(rows.into_iter().map(review).collect())
}

/// Adds a review. That the order bought the article is known from its committed reservation.
pub async fn create(
    db: &mut SqliteConnection,
    sku: &str,
    new: &NewReview,
    now: i64,
) -> Result<Review, Problem> {
    stock::get(db, sku).await?;
    let bought: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM reservations JOIN reservation_items ON reservation_id = id
         WHERE id = ? AND sku = ? AND state = 'committed' AND returned < qty)",
    )
    .bind(&new.order_id)
    .bind(sku)
    .fetch_one(&mut *db)
    .await?;
    if !bought {
        return Err(Problem::new(
            Kind::NotPurchased,
            format!("order {} did not buy {sku}", new.order_id),
        ));
    }
    let reviewed: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM reviews WHERE sku = ? AND order_id = ?)")
            .bind(sku)
            .bind(&new.order_id)
            .fetch_one(&mut *db)
            .await?;
    if reviewed {
        return Err(Problem::new(
            Kind::AlreadyReviewed,
            format!("order {} has reviewed {sku}", new.order_id),
        ));
    }
    let added = sqlx::query(
        "INSERT INTO reviews (sku, order_id, rating, text, created_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(sku)
    .bind(&new.order_id)
    .bind(new.rating)
    .bind(&new.text)
    .bind(now)
    .execute(db)
    .await?;
    Ok(Review {
        sku: sku.to_owned(),
        rating: new.rating,
        text: new.text.clone(),
        created_at: now,
        seq: added.last_insert_rowid(),
    })
}
