//! Active health checks: every target of a service that wants them is asked at an
//! interval, and left out of the choice while it does not answer well.
//!
//! A target that shopctl has just added has passed its gate, so it counts as well. One
//! that comes from the configuration of an earlier life has not: it gets requests once
//! it has answered as often in a row as a gate asks for. When all are out, any is chosen all the same (`routing::balance`):
//! an attempt may fail, a refusal fails for certain. Test: `tests/gateway/health.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;
use tokio::time::sleep;

use super::probe::ENOUGH;
use super::probe::PACE;
use super::probe::attempt;
use super::probe::parse_path;
use crate::protocol::Health;
use crate::routing::table::Table;
use crate::routing::target::Target;
use crate::upstream::connect::within;
use crate::upstream::resolve::Names;

/// A question takes no longer than this, nor than the interval.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions are not asked more often than this, whatever the configuration says.
const SHORTEST: Duration = Duration::from_millis(50);

/// Asks until it is dropped: one task for each target, as the configurations come.
pub(crate) async fn watch(table: Arc<Table>, names: Arc<Names>) {
    let mut asked: BTreeMap<u64, Asked> = BTreeMap::new();
    loop {
        let switched = table.switched.notified();
        let wanted = table.checked();
        asked.retain(|key, one| {
            let now = wanted.iter().find(|(target, _)| target.key == *key);
            if now.is_none() {
                // What is not asked any more is chosen like any other.
                one.target.set_well(true);
            }
            now.is_some_and(|(_, health)| *health == one.health)
        });
        for (target, health) in wanted {
            asked.entry(target.key).or_insert_with(|| {
                let (names, one, of) = (Arc::clone(&names), Arc::clone(&target), health.clone());
                Asked {
                    target,
                    health,
                    task: tokio::spawn(async move { ask(&one, &names, &of).await }),
                }
            });
        }
        switched.await;
    }
}

/// A target that is asked. It is asked no more when this is dropped.
struct Asked {
    target: Arc<Target>,
    health: Health,
    task: JoinHandle<()>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(target: &Target, names: &Names, health: &Health) {
    // Validated with the configuration.
    let path: Option<Uri> = health
        .http
        .as_deref()
        .and_then(|path| parse_path(path).ok());
    let every = Duration::from_millis(health.interval_ms).max(SHORTEST);
    if target.is_well() {
        // Replicas that came together are not asked together.
        sleep(every.mul_f64(fastrand::f64())).await;
    }
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut in_a_row = 0;
    loop {
        if in_a_row > 0 && !target.is_known() {
            // It waits for its first request, as a new one does at its gate.
            sleep(PACE).await;
        } else {
            ticks.tick().await;
        }
        let limit = every.min(PATIENCE);
        let answer = within(
            limit,
            attempt(names, &target.host, health.port, path.as_ref()),
        );
        let good = answer.await.is_ok();
        if good == target.is_well() {
            in_a_row = 0;
            continue;
        }
        in_a_row += 1;
        let enough = match (good, target.is_known()) {
            (true, false) => ENOUGH,
            (true, true) => health.rise.max(1),
            (false, _) => health.fall.max(1),
        };
        if in_a_row >= enough {
            target.set_well(good);
            in_a_row = 0;
        }
    }
}
