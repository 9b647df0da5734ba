//! What clients send and get, and the checks that need neither database nor another service.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use shop_kit::Problem;
use shop_kit::clock;
use shop_kit::money::Money;
use shop_kit::problem::Checks;
use utoipa::ToSchema;

use crate::state::State;

const MOST_ITEMS: usize = 100;

/// An order.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Order {
    /// Its id.
    pub id: String,
    /// Where it is in its life.
    pub state: State,
    /// What was ordered, at the prices of that moment.
    pub items: Vec<Item>,
    /// The sum of the items.
    pub total: Money,
    /// How much of it went back.
    pub refunded: Money,
    /// Where it goes.
    pub address: Address,
    /// Until when it waits for its payment; null once it does not wait.
    #[serde(serialize_with = "clock::serialize_some")]
    #[schema(value_type = Option<String>)]
    pub reservation_expires_at: Option<i64>,
    /// When it was made.
    #[serde(serialize_with = "clock::serialize")]
    #[schema(value_type = String)]
    pub created_at: i64,
    /// When its state last changed.
    #[serde(serialize_with = "clock::serialize")]
    #[schema(value_type = String)]
    pub updated_at: i64,
    /// Counts its changes.
    pub version: i64,
    /// The state in which it was refunded; not shown.
    #[serde(skip)]
    pub line: Option<State>,
}

impl Order {
    /// Returns what can still be refunded.
    pub fn refundable(&self) -> Money {
        Money::new(
            self.total.amount - self.refunded.amount,
            self.total.currency,
        )
    }

    /// Returns the state of the order's way from payment to completion, whatever was refunded of it meanwhile.
    pub fn line(&self) -> State {
        match self.state {
            State::PartiallyRefunded => self.line.unwrap_or(self.state),
            state => state,
        }
    }
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Item {
    /// The article.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// Units.
    pub qty: i64,
    /// The price of one unit.
    pub price: Money,
    /// Units that were refunded; not shown.
    #[serde(skip)]
    pub refunded_qty: i64,
}

/// A postal address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// Who gets it.
    pub name: String,
    /// Street and number.
    pub line1: String,
    /// More of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    /// The city.
    pub city: String,
    /// The postal code.
    pub postal_code: String,
    /// Two letters of ISO 3166.
    #[schema(example = "DE")]
    pub country: String,
}

/// A new order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewOrder {
    /// What is ordered.
    pub items: Vec<NewItem>,
    /// Where it goes.
    pub address: Address,
}

/// A line of a new order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewItem {
    /// The article.
    #[schema(example = "A1")]
    pub sku: String,
    /// Units.
    #[schema(example = 1)]
    pub qty: i64,
    /// The price of one unit that the customer was shown; another price refuses the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
}

impl NewOrder {
    /// Checks every field.
    pub fn check(&self) -> Result<(), Problem> {
        let mut checks = Checks::default();
        checks.require(
            (1..=MOST_ITEMS).contains(&self.items.len()),
            "/items",
            "must hold 1 to 100 lines",
        );
        check_lines(
            &mut checks,
            self.items.iter().map(|item| (item.sku.as_str(), item.qty)),
        );
        let address = &self.address;
        let fields = [
            ("name", &address.name),
            ("line1", &address.line1),
            ("city", &address.city),
            ("postal_code", &address.postal_code),
        ];
        for (field, text) in fields {
            checks.require(
                is_text(text),
                &format!("/address/{field}"),
                "must have 1 to 200 characters",
            );
        }
        checks.require(
            address
                .line2
                .as_ref()
                .is_none_or(|text| text.chars().count() <= 200),
            "/address/line2",
            "must have at most 200 characters",
        );
        let country = address.country.as_bytes();
        checks.require(
            country.len() == 2 && country.iter().all(u8::is_ascii_uppercase),
            "/address/country",
            "must be two capital letters",
        );
        checks.done()
    }
}

fn check_lines<'a>(checks: &mut Checks, lines: impl Iterator<Item = (&'a str, i64)>) {
    let mut seen = BTreeSet::new();
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

fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= 200
}

/// How it is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By card.
    Card,
}

/// A payment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Pay {
    /// How it is paid.
    pub method: Method,
    /// What the payment provider gave the customer's browser; `tok_ok` and `tok_declined` with the test provider.
    #[schema(example = "tok_ok")]
    pub token: String,
}

impl Pay {
    /// Checks the token.
    pub fn check(&self) -> Result<(), Problem> {
        let mut checks = Checks::default();
        checks.require(
            is_text(&self.token),
            "/token",
            "must have 1 to 200 characters",
        );
        checks.done()
    }
}

/// A refund: of everything that is left, of an amount, or of items.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct NewRefund {
    /// How much; everything that is left, or the price of `items`, when absent.
    #[serde(default)]
    pub amount: Option<RefundAmount>,
    /// What comes back.
    #[serde(default)]
    pub items: Option<Vec<RefundItem>>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// An amount in minor units of the order's currency, with or without naming it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum RefundAmount {
    /// With the currency.
    Money(Money),
    /// Without.
    Minor(i64),
}

/// A line of what comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefundItem {
    /// The article.
    pub sku: String,
    /// Units.
    pub qty: i64,
}

impl NewRefund {
    /// Checks every field.
    pub fn check(&self) -> Result<(), Problem> {
        let mut checks = Checks::default();
        let amount = self.amount.map(|amount| match amount {
            RefundAmount::Money(money) => money.amount,
            RefundAmount::Minor(minor) => minor,
        });
        checks.require(
            amount.is_none_or(|amount| amount > 0),
            "/amount",
            "must be positive",
        );
        let items = self.items.as_deref().unwrap_or_default();
        checks.require(
            self.items.is_none() || !items.is_empty(),
            "/items",
            "must hold a line, or be left out",
        );
        check_lines(
            &mut checks,
            items.iter().map(|item| (item.sku.as_str(), item.qty)),
        );
        checks.require(
            self.reason.chars().count() <= 500,
            "/reason",
            "must have at most 500 characters",
        );
        checks.done()
    }
}

/// The answer to a refund.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RefundAnswer {
    /// The refund.
    pub refund: RefundView,
    /// The order.
    pub order: OrderStateView,
}

/// A refund, in short.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RefundView {
    /// Its id.
    pub id: String,
    /// `pending` or `succeeded`.
    pub state: String,
    /// How much.
    pub amount: Money,
}

/// An order, in short.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OrderStateView {
    /// Its id.
    pub id: String,
    /// Where it is in its life.
    pub state: State,
}
