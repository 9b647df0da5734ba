//! What can change on a running container, and what cannot.
//!
//! The engine answers 200 for changes that it ignores, so only what was seen to
//! work counts as permitted: raising or setting a limit, weights, reservations and
//! the restart policy. Removing a limit, or lowering memory without knowing that the
//! use is below, needs a new container. Decides nothing about when; no I/O.

use super::spec::LiveSpec;
use super::spec::Restart;

/// How the live part of a container differs from what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveDifference {
    /// What differs, each as a phrase.
    pub changes: Vec<String>,
    /// Why the engine cannot do it on the running container; empty when it can.
    pub obstacles: Vec<String>,
}

/// Compares what the engine reports with what is wanted.
pub fn compare(observed: &LiveSpec, wanted: &LiveSpec, in_use: Option<u64>) -> LiveDifference {
    let mut found = LiveDifference::default();
    found.number(
        "cpu weight",
        observed.cpu_shares,
        wanted.cpu_shares,
        plain,
        false,
    );
    found.number(
        "cpu limit",
        observed.nano_cpus,
        wanted.nano_cpus,
        cores,
        false,
    );
    found.number(
        "memory limit",
        observed.memory,
        wanted.memory,
        bytes,
        !memory_fits(observed.memory, wanted.memory, in_use),
    );
    if observed.memory_swap != wanted.memory_swap {
        found.changes.push(format!(
            "memory and swap {} -> {}",
            swap(observed.memory_swap),
            swap(wanted.memory_swap)
        ));
    }
    found.number(
        "memory reservation",
        observed.memory_reservation,
        wanted.memory_reservation,
        bytes,
        false,
    );
    found.number("process limit", observed.pids, wanted.pids, plain, false);
    if observed.restart != wanted.restart {
        found.changes.push(format!(
            "restart policy {} -> {}",
            restart(&observed.restart),
            restart(&wanted.restart)
        ));
    }
    found
}

impl LiveDifference {
    fn number(
        &mut self,
        what: &str,
        old: Option<i64>,
        new: Option<i64>,
        show: fn(i64) -> String,
        below_use: bool,
    ) {
        let (old, new) = (limit(old), limit(new));
        if old == new {
            return;
        }
        let text = |value: Option<i64>| value.map_or_else(|| "none".to_owned(), show);
        self.changes
            .push(format!("{what} {} -> {}", text(old), text(new)));
        if new.is_none() {
            self.obstacles.push(format!(
                "the engine cannot lift the {what} of a running container"
            ));
        } else if below_use {
            self.obstacles.push(format!(
                "the {what} may be below what the container uses now"
            ));
        }
    }
}

/// The engine reports "no limit" as 0 or -1.
fn limit(value: Option<i64>) -> Option<i64> {
    value.filter(|number| *number > 0)
}

/// Raising is always safe; lowering only when the use is known to stay below,
/// with 5 % to spare.
fn memory_fits(old: Option<i64>, new: Option<i64>, in_use: Option<u64>) -> bool {
    let (Some(new), old) = (limit(new), limit(old)) else {
        return true;
    };
    if old.is_some_and(|old| new >= old) {
        return true;
    }
    let new = u64::try_from(new).unwrap_or(0);
    in_use.is_some_and(|used| u128::from(new) * 100 >= u128::from(used) * 105)
}

fn plain(value: i64) -> String {
    value.to_string()
}

fn cores(nano: i64) -> String {
    let text = format!("{}.{:03}", nano / 1_000_000_000, nano / 1_000_000 % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Bytes in the largest unit that divides them.
fn bytes(value: i64) -> String {
    for (unit, size) in [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)] {
        if value % size == 0 {
            return format!("{}{unit}", value / size);
        }
    }
    value.to_string()
}

/// Memory and swap together.
fn swap(value: Option<i64>) -> String {
    match value {
        None => "as the memory limit".to_owned(),
        Some(..0) => "without a limit".to_owned(),
        Some(value) => bytes(value),
    }
}

fn restart(policy: &Restart) -> String {
    match policy {
        Restart::No => "no".to_owned(),
        Restart::Always => "always".to_owned(),
        Restart::UnlessStopped => "unless-stopped".to_owned(),
        Restart::OnFailure(0) => "on-failure".to_owned(),
        Restart::OnFailure(times) => format!("on-failure:{times}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(memory: Option<i64>) -> LiveSpec {
        LiveSpec {
            memory,
            ..LiveSpec::default()
        }
    }

    #[test]
    fn unlimited_is_one_thing_however_the_engine_writes_it() {
        let found = LiveSpec {
            pids: Some(-1),
            memory: Some(0),
            ..LiveSpec::default()
        };
        assert_eq!(
            compare(&found, &LiveSpec::default(), None),
            LiveDifference::default()
        );
    }

    #[test]
    fn raising_memory_is_live_and_lifting_it_is_not() {
        let raised = compare(&live(Some(64 << 20)), &live(Some(1 << 30)), None);
        assert_eq!(raised.changes, ["memory limit 64M -> 1G"]);
        assert!(raised.obstacles.is_empty());
        let lifted = compare(&live(Some(64 << 20)), &live(None), Some(0));
        assert_eq!(lifted.changes, ["memory limit 64M -> none"]);
        assert_eq!(lifted.obstacles.len(), 1);
    }

    #[test]
    fn lowering_memory_needs_five_percent_above_the_use() {
        let obstacles = |in_use| {
            let difference = compare(&live(Some(200)), &live(Some(105)), in_use);
            difference.obstacles.len()
        };
        assert_eq!(obstacles(Some(100)), 0);
        assert_eq!(obstacles(Some(101)), 1);
        assert_eq!(obstacles(None), 1);
    }

    #[test]
    fn setting_a_first_limit_is_lowering() {
        assert_eq!(
            compare(&live(None), &live(Some(105)), None).obstacles.len(),
            1
        );
        assert_eq!(
            compare(&live(None), &live(Some(105)), Some(1))
                .obstacles
                .len(),
            0
        );
    }

    #[test]
    fn swap_can_change_at_any_time() {
        let with = |memory_swap| LiveSpec {
            memory_swap,
            ..live(Some(64 << 20))
        };
        let difference = compare(&with(None), &with(Some(-1)), None);
        assert_eq!(
            difference.changes,
            ["memory and swap as the memory limit -> without a limit"]
        );
        assert!(difference.obstacles.is_empty());
        let back = compare(&with(Some(1 << 30)), &with(None), None);
        assert_eq!(back.changes, ["memory and swap 1G -> as the memory limit"]);
    }

    #[test]
    fn words_are_those_of_the_file() {
        let old = LiveSpec {
            nano_cpus: Some(1_500_000_000),
            restart: Restart::OnFailure(3),
            ..LiveSpec::default()
        };
        let new = LiveSpec {
            nano_cpus: Some(2_000_000_000),
            restart: Restart::UnlessStopped,
            ..LiveSpec::default()
        };
        assert_eq!(
            compare(&old, &new, None).changes,
            [
                "cpu limit 1.5 -> 2",
                "restart policy on-failure:3 -> unless-stopped"
            ]
        );
    }
}
