//! What clients send and get, and the checks that need no database.

use serde::{Deserialize, Serialize};
use shop_kit::Problem;
use shop_kit::clock;
use shop_kit::money::Money;
use shop_kit::problem::Checks;
use utoipa::ToSchema;

const MOST_UNITS: i64 = 1_000_000_000;
const MOST_ITEMS: usize = 100;
const LONGEST_TTL_S: i64 = 24 * 3600;

/// An article.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Good {
    /// The article's number, chosen by the shop.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its category.
    pub category: Option<String>,
    /// Its price.
    pub price: Money,
    /// Its stock.
    pub stock: Stock,
    /// Counts the changes of the article; its stock has no part in it.
    pub version: i64,
    /// When it was made.
    #[serde(serialize_with = "clock::serialize")]
    #[schema(value_type = String)]
    pub created_at: i64,
    /// When it was last changed.
    #[serde(serialize_with = "clock::serialize")]
    #[schema(value_type = String)]
    pub updated_at: i64,
}

/// The stock of an article. `on_hand` changes by deliveries and corrections, and when a reservation is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
pub struct Stock {
    /// Units in the house.
    pub on_hand: i64,
    /// Units of them that a live reservation holds.
    pub reserved: i64,
    /// Units of them that can still be reserved.
    pub available: i64,
    /// Units that committed reservations took and did not bring back.
    pub sold: i64,
}

/// A new article.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct NewGood {
    /// Letters, digits, `.`, `_` and `-`; at most 64.
    #[schema(example = "A1")]
    pub sku: String,
    /// Everything else.
    #[serde(flatten)]
    pub content: GoodContent,
}

/// What an article says.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct GoodContent {
    /// Its name.
    #[schema(example = "Cup")]
    pub name: String,
    /// Its price.
    pub price: Money,
    /// Its description.
    #[serde(default)]
    pub description: String,
    /// Its category.
    #[serde(default)]
    pub category: Option<String>,
}

/// A change of an article; what is absent stays.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct GoodPatch {
    /// Its name.
    pub name: Option<String>,
    /// Its price.
    pub price: Option<Money>,
    /// Its description.
    pub description: Option<String>,
    /// Its category.
    pub category: Option<String>,
}

impl GoodPatch {
    /// Applies the change.
    pub fn apply(self, content: GoodContent) -> GoodContent {
        GoodContent {
            name: self.name.unwrap_or(content.name),
            price: self.price.unwrap_or(content.price),
            description: self.description.unwrap_or(content.description),
            category: self.category.or(content.category),
        }
    }
}

impl GoodContent {
    /// Checks every field.
    pub fn check(&self) -> Result<(), Problem> {
        let mut checks = Checks::default();
        checks.require(
            is_text(&self.name, 200),
            "/name",
            "must have 1 to 200 characters",
        );
        checks.require(
            self.description.chars().count() <= 10_000,
            "/description",
            "must have at most 10000 characters",
        );
        checks.require(
            self.category.as_ref().is_none_or(|c| is_text(c, 100)),
            "/category",
            "must have 1 to 100 characters",
        );
        checks.require(
            self.price.amount >= 0,
            "/price/amount",
            "must not be negative",
        );
        checks.done()
    }
}

/// The count of an article after stocktaking.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
pub struct StockCount {
    /// Units in the house, reserved ones included.
    #[schema(example = 20)]
    pub on_hand: i64,
}

impl StockCount {
    /// Checks the count.
    pub fn check(self) -> Result<(), Problem> {
        let mut checks = Checks::default();
        checks.require(
            (0..=MOST_UNITS).contains(&self.on_hand),
            "/on_hand",
            "must be 0 to 1000000000",
        );
        checks.done()
    }
}

/// A delivery, a loss, a correction.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StockChange {
    /// Units that came (or went, when negative).
    pub delta: i64,
    /// Why.
    pub reason: String,
}

impl StockChange {
    /// Checks both fields.
    pub fn check(&self) -> Result<(), Problem> {
        let mut checks = Checks::default();
        let fits = self.delta != 0 && (-MOST_UNITS..=MOST_UNITS).contains(&self.delta);
        checks.require(fits, "/delta", "must be a whole number other than 0");
        checks.require(
            is_text(&self.reason, 200),
            "/reason",
            "must have 1 to 200 characters",
        );
        checks.done()
    }
}

/// Where a reservation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(rename_all = "lowercase")]
pub enum ReservationState {
    /// Its units are kept for the order.
    Held,
    /// Its units are sold.
    Committed,
    /// It was given up.
    Released,
    /// Its time ran out.
    Expired,
}

impl ReservationState {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

/// Units that are kept for an order. There is one for each order, and it has the order's id.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Reservation {
    /// The order's id.
    pub id: String,
    /// The order's id.
    pub order_id: String,
    /// Where it is in its life.
    pub state: ReservationState,
    /// What is kept, and at which price it was when it was reserved.
    pub items: Vec<ReservedItem>,
    /// When a held reservation ends.
    #[serde(serialize_with = "clock::serialize")]
    #[schema(value_type = String)]
    pub expires_at: i64,
}

/// A line of a reservation.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ReservedItem {
    /// The article.
    pub sku: String,
    /// Units.
    pub qty: i64,
    /// Units of them that came back after the sale.
    pub returned: i64,
    /// The article's name.
    pub name: String,
    /// The price of one unit.
    pub price: Money,
}

/// Asks to keep units for an order: all of them, or none.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewReservation {
    /// Letters, digits, `.`, `_` and `-`; at most 64.
    pub order_id: String,
    /// What to keep.
    pub items: Vec<WantedItem>,
    /// Seconds until the units are given back; 15 minutes by default.
    #[serde(default)]
    pub ttl_s: Option<i64>,
}

/// A line of what is wanted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WantedItem {
    /// The article.
    pub sku: String,
    /// Units.
    pub qty: i64,
    /// The price of one unit that the customer was shown; another price refuses the reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
}

impl NewReservation {
    /// Checks every field.
    pub fn check(&self) -> Result<(), Problem> {
        let mut checks = Checks::default();
        checks.require(
            is_name(&self.order_id),
            "/order_id",
            "must have 1 to 64 letters, digits, '.', '_' or '-'",
        );
        let ttl = self.ttl_s.unwrap_or(1);
        checks.require(
            (1..=LONGEST_TTL_S).contains(&ttl),
            "/ttl_s",
            "must be 1 to 86400",
        );
        checks.require(
            (1..=MOST_ITEMS).contains(&self.items.len()),
            "/items",
            "must hold 1 to 100 lines",
        );
        check_quantities(
            &mut checks,
            self.items.iter().map(|item| (item.sku.as_str(), item.qty)),
        );
        checks.done()
    }
}

/// Units of a committed reservation that come back.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Return {
    /// What comes back; everything that is left when absent.
    #[serde(default)]
    pub items: Option<Vec<ReturnedItem>>,
}

/// A line of what comes back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReturnedItem {
    /// The article.
    pub sku: String,
    /// Units.
    pub qty: i64,
}

impl Return {
    /// Checks every line.
    pub fn check(&self) -> Result<(), Problem> {
        let mut checks = Checks::default();
        let items = self.items.as_deref().unwrap_or_default();
        checks.require(
            self.items.is_none() || !items.is_empty(),
            "/items",
            "must hold a line, or be left out",
        );
        check_quantities(
            &mut checks,
            items.iter().map(|item| (item.sku.as_str(), item.qty)),
        );
        checks.done()
    }
}

fn check_quantities<'a>(checks: &mut Checks, lines: impl Iterator<Item = (&'a str, i64)>) {
    let mut seen = std::collections::BTreeSet::new();
    for (n, (sku, qty)) in lines.enumerate() {
        checks.require(
            (1..=1_000_000).contains(&qty),
            &format!("/items/{n}/qty"),
            "must be 1 to 1000000",
        );
        checks.require(
            seen.insert(sku),
            &format!("/items/{n}/sku"),
            "stands on another line too",
        );
    }
}

/// What a buyer thinks of an article.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Review {
    /// The article.
    pub sku: String,
    /// 1 to 5.
    pub rating: i64,
    /// The buyer's words.
    pub text: String,
    /// When it was written.
    #[serde(serialize_with = "clock::serialize")]
    #[schema(value_type = String)]
    pub created_at: i64,
    /// Orders the list; not shown.
    #[serde(skip)]
    pub seq: i64,
}

/// A new review.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct NewReview {
    /// The order that bought the article.
    pub order_id: String,
    /// 1 to 5.
    #[schema(minimum = 1, maximum = 5)]
    pub rating: i64,
    /// The buyer's words.
    #[serde(default)]
    pub text: String,
}

impl NewReview {
    /// Checks every field.
    pub fn check(&self) -> Result<(), Problem> {
        let mut checks = Checks::default();
        checks.require((1..=5).contains(&self.rating), "/rating", "must be 1 to 5");
        checks.require(
            self.text.chars().count() <= 5_000,
            "/text",
            "must have at most 5000 characters",
        );
        checks.done()
    }
}

/// Tells whether a text can name an article or an order: it must be safe in a URL's path.
pub fn is_name(text: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(safe) && text != "." && text != ".."
}

fn is_text(text: &str, longest: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= longest
}
