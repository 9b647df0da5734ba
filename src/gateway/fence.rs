//! The number that tells an old holder of the lock from a new one.
//!
//! Gateways refuse what carries a lower one than they have. The id of a lock is the time
//! at which the engine made it, and a clock can be set back: then the number goes on from
//! the highest that is known, so that who holds the lock can write.

use crate::state::observed::ObservedState;

/// The number for the lock with this id: its own, or the next after that in the routes.
/// The look must have been taken under the lock.
pub fn fence(lock: u64, observed: &ObservedState) -> u64 {
    lock.max(last(observed).saturating_add(1))
}

/// The highest number that has written.
pub(super) fn last(observed: &ObservedState) -> u64 {
    let store = observed.store.as_ref();
    let routes = store.and_then(|store| store.routes.as_ref());
    routes.map_or(0, |routes| routes.lock)
}
