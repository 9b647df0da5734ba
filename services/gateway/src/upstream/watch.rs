//! Looks after names and ejected targets, once for all threads.
//!
//! Twice a second the names behind idle connections are resolved again, so that a
//! connection to an address that changed hands is not used. An ejected target
//! is tried by name until it accepts a connection, and for a moment not even that
//! when it broke off requests: a dying process accepts to the last. Test: `tests/gateway/upstream.rs`.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio::time::interval;
use tokio::time::sleep;
use tokio::time::timeout;

use super::connect::connect;
use super::resolve::Names;
use crate::routing::table::Table;
use crate::routing::target::Target;

const RESOLVE_EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(1);
const FIRST_RECHECK: Duration = Duration::from_millis(50);
const LAST_RECHECK: Duration = Duration::from_secs(1);
/// Longer than a killed process takes to close some hundred connections.
const AFTER_BREAK: Duration = Duration::from_millis(500);

/// Runs until it is dropped.
pub(crate) async fn watch(table: Arc<Table>, names: Arc<Names>, connect_limit: Duration) {
    tokio::join!(
        follow_names(&table, &names),
        follow_ejections(&table, &names, connect_limit)
    );
}

async fn follow_names(table: &Table, names: &Arc<Names>) {
    let mut ticks = interval(RESOLVE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for target in table.targets() {
            if target.pooled() > 0 {
                let names = Arc::clone(names);
                tokio::spawn(async move {
                    let answer = timeout(PATIENCE, names.resolve(&target.host)).await;
                    match answer {
                        Ok(Ok(addresses)) => {
                            target.learn(&addresses);
                        }
                        // Nobody to ask says nothing about open connections: they end by
                        // themselves when their container does.
                        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {}
                        Err(_) => {}
                        // A name that is not known belongs to a container that was taken off
                        // its network, and whose connections will never say anything.
                        Ok(Err(_)) => target.doubt(),
                    }
                });
            }
        }
    }
}

async fn follow_ejections(table: &Arc<Table>, names: &Arc<Names>, connect_limit: Duration) {
    let rechecking: Arc<Mutex<BTreeSet<u64>>> = Arc::default();
    loop {
        table.ejections.notified().await;
        for target in table.targets() {
            if !target.is_ejected() || !lock(&rechecking).insert(target.key) {
                continue;
            }
            let (names, rechecking) = (Arc::clone(names), Arc::clone(&rechecking));
            tokio::spawn(async move {
                recheck(&target, &names, connect_limit).await;
                lock(&rechecking).remove(&target.key);
                // Last, so that an ejection from now on finds no recheck under way.
                target.readmit();
            });
        }
    }
}

/// Returns when the target accepts a connection, or is no longer in force.
async fn recheck(target: &Target, names: &Names, connect_limit: Duration) {
    let mut pause = FIRST_RECHECK;
    loop {
        sleep(pause).await;
        if target.take_broken() {
            pause = AFTER_BREAK;
            continue;
        }
        let port = target.failed_port();
        let attempt = connect(names, target, port, connect_limit).await;
        if attempt.is_ok() || target.is_removed() {
            return;
        }
        pause = (pause * 2).min(LAST_RECHECK);
    }
}

fn lock(keys: &Mutex<BTreeSet<u64>>) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}
