//! The states of an order and what may follow what.
//!
//! ```text
//! pending_payment ─▶ paid ─▶ fulfilling ─▶ shipped ─▶ delivered ─▶ completed
//!        │            └────────┴──────┬──────┴──────────┴────────────┘
//!        ▼                            ▼
//! expired, cancelled              refunding ─▶ refunded, partially_refunded
//! ```
//!
//! A partially refunded order stays on its line: what may follow is what may follow the state it was refunded in. A failed
//! payment changes nothing; the order waits until its hold ends.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where an order is in its life.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(rename_all = "snake_case")]
pub enum State {
    /// Its units are held, its payment is awaited.
    PendingPayment,
    /// Paid; its units are sold.
    Paid,
    /// Being packed.
    Fulfilling,
    /// On its way.
    Shipped,
    /// With the customer.
    Delivered,
    /// Over.
    Completed,
    /// Not paid in time.
    Expired,
    /// Given up before it was paid.
    Cancelled,
    /// Money is on its way back.
    Refunding,
    /// All money is back.
    Refunded,
    /// Some money is back.
    PartiallyRefunded,
}

impl State {
    /// All states.
    pub const ALL: [Self; 11] = [
        Self::PendingPayment,
        Self::Paid,
        Self::Fulfilling,
        Self::Shipped,
        Self::Delivered,
        Self::Completed,
        Self::Expired,
        Self::Cancelled,
        Self::Refunding,
        Self::Refunded,
        Self::PartiallyRefunded,
    ];

    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PendingPayment => "pending_payment",
            Self::Paid => "paid",
            Self::Fulfilling => "fulfilling",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Refunding => "refunding",
            Self::Refunded => "refunded",
            Self::PartiallyRefunded => "partially_refunded",
        }
    }

    /// Returns the state of a word.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Tells whether `to` may follow. `line` is the state in which a partially refunded order was refunded.
    pub fn leads_to(self, line: Option<Self>, to: Self) -> bool {
        use State::{
            Cancelled, Completed, Delivered, Expired, Fulfilling, Paid, PartiallyRefunded,
            PendingPayment, Refunded, Refunding, Shipped,
        };
        match self {
            PendingPayment => matches!(to, Paid | Expired | Cancelled),
            Paid => matches!(to, Fulfilling | Refunding),
            Fulfilling => matches!(to, Shipped | Refunding),
            Shipped => matches!(to, Delivered | Refunding),
            Delivered => matches!(to, Completed | Refunding),
            Completed => matches!(to, Refunding),
            Refunding => matches!(to, Refunded | PartiallyRefunded),
            PartiallyRefunded => {
                line.is_some_and(|line| line != PartiallyRefunded && line.leads_to(None, to))
            }
            Expired | Cancelled | Refunded => false,
        }
    }

    /// Tells whether the goods are still in the house, so that a refund puts them back into stock.
    pub fn is_before_shipping(self) -> bool {
        matches!(self, Self::Paid | Self::Fulfilling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_wire() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
            assert_eq!(State::named(state.name()), Some(state));
        }
    }

    #[test]
    fn the_whole_table() {
        let mut table = String::new();
        for from in State::ALL {
            let followers: Vec<_> = State::ALL
                .into_iter()
                .filter(|to| from.leads_to(None, *to))
                .map(State::name)
                .collect();
            table.push_str(&[from.name(), " > ", &followers.join(" "), "\n"].concat());
        }
        assert_eq!(
            table,
            "pending_payment > paid expired cancelled\n\
             paid > fulfilling refunding\n\
             fulfilling > shipped refunding\n\
             shipped > delivered refunding\n\
             delivered > completed refunding\n\
             completed > refunding\n\
             expired > \n\
             cancelled > \n\
             refunding > refunded partially_refunded\n\
             refunded > \n\
             partially_refunded > \n"
        );
    }

    #[test]
    fn a_partial_refund_stays_on_its_line() {
        let partial = State::PartiallyRefunded;
        assert!(partial.leads_to(Some(State::Fulfilling), State::Shipped));
        assert!(partial.leads_to(Some(State::Completed), State::Refunding));
        assert!(!partial.leads_to(Some(State::Fulfilling), State::Delivered));
        assert!(!partial.leads_to(None, State::Refunding));
    }
}
