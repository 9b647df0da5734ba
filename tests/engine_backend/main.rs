//! The Docker backend against a real engine. Run with
//! `cargo nextest run --run-ignored all -E 'binary(engine_backend)'`.

#[path = "../support/mod.rs"]
mod support;

mod build;
mod containers;
mod faults;
mod lock;
mod speed;
mod store;
mod streams;
mod world;
