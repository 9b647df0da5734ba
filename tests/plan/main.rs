//! The planner over the world in memory: cases as text, and properties.
//!
//! A case in `cases/` is a stack in short form, what happened to it, and what the
//! user asks for next; its snapshot is the whole plan. Properties say what must hold
//! for every plan; they run on random stacks, with faults.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![expect(
    clippy::print_stdout,
    reason = "properties print how often each kind came up"
)]

mod cases;
mod properties;
mod random;
mod sketch;
mod turn;
