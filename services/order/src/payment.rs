//! The payment provider, as the order service needs it, and the one that is built in.
//!
//! Every call names an id of ours and may be repeated with it: a provider carries it out once and answers the same again.
//! This is what allows any step to be taken over by another replica after a crash.

use std::fmt::Debug;
use std::future::{Future, ready};
use std::pin::Pin;

use shop_kit::money::Money;

use crate::model::Method;

/// What a provider answers, later.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Unreachable>> + Send>>;

/// The provider gave no answer; the call may have been carried out.
#[derive(Debug, thiserror::Error)]
#[error("the payment provider cannot be reached: {0}")]
pub struct Unreachable(pub String);

/// A payment that is to be authorised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Our id of the payment.
    pub payment: String,
    /// How much.
    pub amount: Money,
    /// How.
    pub method: Method,
    /// What the provider gave the customer.
    pub token: String,
}

/// Whether the money is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is set aside.
    Authorised,
    /// It is not, for this reason.
    Declined(String),
}

/// A payment provider.
pub trait Provider: Debug + Send + Sync {
    /// Sets the money aside.
    fn authorise(&self, charge: &Charge) -> Answer<Verdict>;
    /// Takes what was set aside.
    fn capture(&self, payment: &str) -> Answer<()>;
    /// Gives back what was set aside.
    fn void(&self, payment: &str) -> Answer<()>;
    /// Pays back a part of what was taken, or all of it.
    fn refund(&self, payment: &str, refund: &str, amount: Money) -> Answer<()>;
}

/// Accepts `tok_ok` and declines every other token; moves no money. It keeps nothing, so each answer follows from the call
/// alone and repeating a call is harmless.
#[derive(Debug, Clone, Copy)]
pub struct TestProvider;

impl Provider for TestProvider {
    fn authorise(&self, charge: &Charge) -> Answer<Verdict> {
        let verdict = match charge.token.as_str() {
            "tok_ok" => Verdict::Authorised,
            "tok_declined" => Verdict::Declined("card_declined".to_owned()),
            _ => Verdict::Declined("unknown_token".to_owned()),
        };
        Box::pin(ready(Ok(verdict)))
    }

    fn capture(&self, _: &str) -> Answer<()> {
        Box::pin(ready(Ok(())))
    }

    fn void(&self, _: &str) -> Answer<()> {
        Box::pin(ready(Ok(())))
    }

    fn refund(&self, _: &str, _: &str, _: Money) -> Answer<()> {
        Box::pin(ready(Ok(())))
    }
}
