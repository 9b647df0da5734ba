//! What to do: a pure function from what should be and what is to a plan.
//!
//! Nothing here reads a clock, draws a random number, asks a question or logs.
//! The same input gives the same plan, byte for byte. In reading order:
//!
//! * [`input`], [`action`]: what the planner is given, and what it gives
//! * `view`, `scale`, `order`: the comparison per service and slot, how many replicas,
//!   and which service after which
//! * `preflight`, `age`, `pace`: what is in the way, what the engine is too old for, how
//!   fast what may change
//! * `draft`, `stage`: the plan in the making
//! * `images`, `ground`: what services stand on
//! * `gateway`, `doors`, `reach`, `listeners`, `inner`, `keeper`: ports, names and routes
//! * `service`, `replica`, `retire`, `rollout`, `staged`: replicas that come, go, and
//!   change, batch by batch or in stages
//! * `leave`: what left the file
//! * `adopt`: what Docker Compose made and stays
//! * `hooks`: commands that run once around a change
//! * `one_off`: a container for one command of a user
//! * `deploy`, `restart`, `down`: the goals
//! * `cluster`: the same for a cluster, which does most of it by itself
//! * [`report`], [`check`]: the words, and the proof that a plan is safe
//!
//! Test: `cargo nextest run -p shopctl --test plan`; cases are text in `tests/plan/cases`.

pub mod action;
mod adopt;
mod age;
pub mod check;
mod cluster;
mod deploy;
mod doors;
mod down;
mod draft;
mod gateway;
mod ground;
mod held;
mod hooks;
mod images;
mod inner;
pub mod input;
mod keeper;
mod leave;
mod listeners;
mod one_off;
mod order;
mod pace;
mod preflight;
mod reach;
mod replica;
pub mod report;
mod restart;
mod retire;
mod rollout;
mod scale;
mod service;
mod stage;
mod staged;
mod upgrade;
mod view;

pub use held::LOST;
pub use held::holder;
pub use inner::PLAIN;
pub use input::Goal;
pub use input::Learned;
pub use input::Options;
pub use input::PlanInput;
pub use input::Prune;
pub use input::ScaleTo;
pub use one_off::one_off;
pub use upgrade::refused;

use std::collections::BTreeMap;

use action::Plan;
use action::Refusal;

/// Decides everything; the executor only does it.
pub fn plan(input: &PlanInput<'_>) -> Result<Plan, Refusal> {
    let plan = match (&input.observed.cluster, input.options.goal) {
        (Some(cluster), _) => cluster::plan(input, cluster)?,
        (None, Goal::Deploy) => deploy::plan(input)?,
        (None, Goal::Restart) => restart::plan(input)?,
        (None, Goal::Down { volumes }) => down::plan(input, volumes),
    };
    debug_assert!(
        check::structure(&plan).is_empty(),
        "{:#?}",
        check::structure(&plan)
    );
    Ok(plan)
}

/// Replicas that each service should have: as the file or `scale` says, or as an autoscaler
/// of the cluster has decided by now.
pub fn wanted(input: &PlanInput<'_>) -> BTreeMap<String, u32> {
    let counts = scale::counts(input).into_iter();
    let mut counts: BTreeMap<String, u32> = counts
        .map(|(service, count)| (service, count.replicas))
        .collect();
    if let Some(cluster) = &input.observed.cluster {
        counts.extend(cluster::autoscaled(cluster));
    }
    counts
}
