//! A world in memory, for tests of planner, executor and command line.
//!
//! It knows no clock and draws no random number: containers start, get ready, fail
//! or end as their [`Behaviour`] says, at once. [`World`] is the synchronous model,
//! [`Memory`] the same world behind the backend's traits. It is stricter than an
//! engine: a container that needs a network, volume or image that is not there is
//! refused, so a plan that lacks an edge fails. Faults are injected by
//! [`Faults`](faults::Faults).

mod act;
mod control;
pub mod faults;
mod task;
mod traits;
pub mod world;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::mpsc;

pub use faults::Away;
pub use faults::Fault;
pub use faults::Faults;
pub use world::Behaviour;
pub use world::Container;
pub use world::World;

use super::Change;

/// A world behind the backend's traits; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    world: Arc<Mutex<World>>,
    watchers: Arc<Mutex<Vec<mpsc::Sender<Change>>>>,
}

impl Memory {
    /// A backend over this world.
    pub fn new(world: World) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
            watchers: Arc::default(),
        }
    }

    /// The world, to look at or to change behind the planner's back.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
