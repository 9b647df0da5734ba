//! Articles.

use shop_kit::clock::rfc3339;
use shop_kit::etag::IfMatch;
use shop_kit::money::{Currency, Money};
use shop_kit::{Kind, Problem};
use sqlx::SqliteConnection;

use crate::model::{Good, GoodContent, Stock};

#[derive(sqlx::FromRow)]
struct Row {
    sku: String,
    name: String,
    description: String,
    category: Option<String>,
    amount: i64,
    currency: String,
    version: i64,
    created_at: i64,
    updated_at: i64,
    #[sqlx(flatten)]
    stock: Stock,
}

impl Row {
    fn good(self) -> Result<Good, Problem> {
        Ok(Good {
            sku: self.sku,
            name: self.name,
            description: self.description,
            category: self.category,
            price: money(self.amount, self.currency)?,
            stock: self.stock,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Reads a stored amount and currency.
pub(super) fn money(amount: i64, currency: String) -> Result<Money, Problem> {
    Ok(Money::new(
        amount,
        Currency::try_from(currency).map_err(Problem::internal)?,
    ))
}

/// Returns an article.
pub async fn get(db: &mut SqliteConnection, sku: &str) -> Result<Good, Problem> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT goods.*, on_hand, reserved, on_hand - reserved AS available, sold FROM goods JOIN stock USING (sku) WHERE sku = ?",
    )
    .bind(sku)
    .fetch_optional(db)
    .await?;
    row.ok_or_else(|| Problem::not_found("article", sku))?
        .good()
}

/// What to list.
#[derive(Debug, Default)]
pub struct Filter {
    /// Part of the number, name or description.
    pub text: Option<String>,
    /// The category.
    pub category: Option<String>,
    /// Only articles whose number comes after this one.
    pub after: Option<String>,
    /// At most so many.
    pub rows: i64,
}

/// Lists articles by number.
pub async fn list(db: &mut SqliteConnection, filter: &Filter) -> Result<Vec<Good>, Problem> {
    let pattern = filter.text.as_ref().map(|text| {
        let escaped = text
            .replace('\\', "\\\\")
            .replace('%', "\\%")
            .replace('_', "\\_");
        format!("%{escaped}%")
    });
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT goods.*, on_hand, reserved, on_hand - reserved AS available, sold FROM goods JOIN stock USING (sku)
         WHERE (?1 IS NULL OR sku > ?1) AND (?2 IS NULL OR category = ?2)
           AND (?3 IS NULL OR sku LIKE ?3 ESCAPE '\\' OR name LIKE ?3 ESCAPE '\\' OR description LIKE ?3 ESCAPE '\\')
         ORDER BY sku LIMIT ?4",
    )
    .bind(&filter.after)
    .bind(&filter.category)
    .bind(pattern)
    .bind(filter.rows)
    .fetch_all(db)
    .await?;
    rows.into_iter().map(Row::good).collect()
}

/// Adds an article with empty stock.
pub async fn create(
    db: &mut SqliteConnection,
    sku: &str,
    content: &GoodContent,
    now: i64,
) -> Result<Good, Problem> {
    let found: Option<i64> = sqlx::query_scalar("SELECT created_at FROM goods WHERE sku = ?")
        .bind(sku)
        .fetch_optional(&mut *db)
        .await?;
    if let Some(created) = found {
        return Err(Problem::new(
            Kind::AlreadyExists,
            format!("{sku} exists since {}", rfc3339(created)),
        ));
    }
    sqlx::query(
        "INSERT INTO goods (sku, name, description, category, amount, currency, version, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?)",
    )
    .bind(sku)
    .bind(&content.name)
    .bind(&content.description)
    .bind(&content.category)
    .bind(content.price.amount)
    .bind(content.price.currency.code())
    .bind(now)
    .bind(now)
    .execute(&mut *db)
    .await?;
    sqlx::query("INSERT INTO stock (sku) VALUES (?)")
        .bind(sku)
        .execute(&mut *db)
        .await?;
    get(db, sku).await
}

/// Changes an article that is still at a version the client knows. `change` makes the new content out of the old.
pub async fn update(
    db: &mut SqliteConnection,
    sku: &str,
    if_match: &IfMatch,
    change: impl FnOnce(GoodContent) -> Result<GoodContent, Problem>,
    now: i64,
) -> Result<Good, Problem> {
    let old = get(db, sku).await?;
    if_match.check(old.version)?;
    let content = change(GoodContent {
        name: old.name,
        price: old.price,
        description: old.description,
        category: old.category,
    })?;
    sqlx::query(
        "UPDATE goods SET name = ?, description = ?, category = ?, amount = ?, currency = ?, version = version + 1, updated_at = ?
         WHERE sku = ?",
    )
    .bind(&content.name)
    .bind(&content.description)
    .bind(&content.category)
    .bind(content.price.amount)
    .bind(content.price.currency.code())
    .bind(now)
    .bind(sku)
    .execute(&mut *db)
    .await?;
    get(db, sku).await
}
