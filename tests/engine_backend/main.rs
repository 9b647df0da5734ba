//! The Docker backend against a real engine. Run with
//! `cargo nextest run --run-ignored all -E 'binary(engine_backend)'`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "figures for the reader; a test that cannot go on fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod build;
mod connect;
mod containers;
mod faults;
mod keys;
mod lock;
mod speed;
mod store;
mod streams;
mod world;
