//! `shopctl` takes one stack file and brings a shop's services to a machine,
//! fits them to its capacity, and keeps them serving while they change.
//!
//! ```text
//! stack file ─load─▶ Stack ─resolve─▶ DesiredState ┐
//!                                                   ├─plan (pure)─▶ Plan ─check─▶ exec ─Event─▶ reporters
//! backend ─observe─▶ ObservedState ────────────────┘                      │
//!         ▲                                                               └─Action─▶ backend
//!         └──────────────── (plan again until empty) ─────────────────────┘
//! ```
//!
//! The modules in reading order: [`stack`] what the user wrote, [`state`] what
//! should be and what is, [`capacity`] whether it fits, [`plan`] what to do,
//! [`event`] what is seen of it, [`backend`] where it happens, [`build`] images,
//! [`gateway`] the control client of the data plane, [`release`] records kept
//! with the target, [`exec`] doing it, [`report`] the screen, [`cli`] the commands.

pub mod backend;
pub mod build;
pub mod capacity;
pub mod cli;
pub mod event;
pub mod exec;
pub mod gateway;
pub mod plan;
pub mod release;
pub mod report;
pub mod stack;
pub mod state;
