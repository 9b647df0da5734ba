//! Placeholder.
mod change;
mod project;
