//! The order service with the real goods service: what it answers, what it does when others fail it, what it does when all
//! come at once, and what holds whatever happens.
#![expect(clippy::unwrap_used, reason = "a test may end on a surprise")]

mod api;
mod crowds;
mod faults;
mod outbox;
mod support;
mod time;
mod walk;
