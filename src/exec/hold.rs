//! The lock of a run: it may be lost with the engine and taken anew by the same run.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::backend::BackendError;
use crate::backend::Lock;
use crate::backend::Pending;
use crate::gateway;
use crate::state::observed::ObservedState;

/// A lock that can be put aside for another one of the same run.
pub(super) struct Hold {
    current: Mutex<Option<Arc<Box<dyn Lock>>>>,
    /// Id of the newest one.
    id: AtomicU64,
    /// What the gateways know its holder by, from the first look under it on.
    fence: Mutex<Option<u64>>,
    /// The newest number that they knew this run by.
    last: AtomicU64,
}

impl Hold {
    pub(super) fn new(lock: Box<dyn Lock>) -> Self {
        Self {
            id: AtomicU64::new(lock.id()),
            fence: Mutex::default(),
            last: AtomicU64::new(lock.id()),
            current: Mutex::new(Some(Arc::new(lock))),
        }
    }

    /// Gives up what was lost: nothing is held until there is another.
    pub(super) fn put_aside(&self) {
        *self.slot() = None;
        *self.number() = None;
    }

    /// What the gateways know the holder of this lock by; the look is one under it.
    pub(super) fn fence(&self, observed: &ObservedState) -> u64 {
        let fence = *self
            .number()
            .get_or_insert_with(|| gateway::fence(self.id(), observed));
        self.last.store(fence, Ordering::Relaxed);
        fence
    }

    /// That, where there was a look.
    pub(super) fn known_by(&self) -> Option<u64> {
        *self.number()
    }

    /// What they knew this run by before its lock was lost.
    pub(super) fn was_known_by(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    fn number(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on under another lock.
    pub(super) fn replace(&self, lock: Box<dyn Lock>) {
        self.id.store(lock.id(), Ordering::Relaxed);
        *self.slot() = Some(Arc::new(lock));
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Box<dyn Lock>>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Arc<Box<dyn Lock>>> {
        self.slot().clone()
    }
}

impl Lock for Hold {
    fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }

    fn confirm(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            match self.current() {
                Some(lock) => lock.confirm().await,
                None => Err(BackendError::LockLost),
            }
        })
    }

    fn release(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async move {
            let lock = self.slot().take().and_then(Arc::into_inner);
            match lock {
                Some(lock) => lock.release().await,
                None => Ok(()),
            }
        })
    }
}
