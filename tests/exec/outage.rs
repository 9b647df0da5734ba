//! An engine or a gateway that goes away in the middle of a run, at each of its calls.

use std::sync::OnceLock;

use shopctl::backend::BackendError;
use shopctl::backend::memory::Away;
use shopctl::backend::memory::Memory;
use shopctl::backend::memory::World;
use shopctl::event::Event;
use shopctl::event::EventKind;
use shopctl::exec::Verdict;
use shopctl::state::desired::OnFailure;

use super::deploy;
use super::deploy_until;
use super::desired;
use super::released;
use super::steps_left;
use super::world;

/// So many calls change version 1 into version 2.
async fn calls() -> u64 {
    let memory = world();
    deploy(&memory, &desired("1")).await;
    let before = memory.world().faults.calls;
    deploy(&memory, &desired("2")).await;
    memory.world().faults.calls - before
}

async fn serving() -> Memory {
    let memory = world();
    deploy(&memory, &desired("1")).await;
    memory
}

fn retried(events: &[Event]) -> bool {
    let retried = |event: &Event| matches!(event.kind, EventKind::Retrying { .. });
    events.iter().any(retried)
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_comes_back_is_waited_for_at_any_call() {
    let calls = calls().await;
    assert!(calls > 10, "{calls}");
    for call in 0..calls {
        let memory = serving().await;
        let after = memory.world().faults.calls + call;
        let away = Away {
            after,
            // The lock is asked for before the engine is.
            questions: 12,
        };
        if call > 0 {
            memory.world().faults.away = Some(away);
        }
        let (verdict, events) = deploy(&memory, &desired("2")).await;
        let done = released(&verdict) == Some(2);
        assert!(done, "away from call {call}: {verdict:?} {events:#?}");
        assert_eq!(retried(&events), call > 0, "{call}: {events:#?}");
        assert_eq!(memory.world().answering("shop", "order"), 2);
        assert_eq!(memory.world().running("shop", "order"), 2);
        assert_eq!(steps_left(&memory, &desired("2")).await, 0, "{call}");
        assert!(memory.world().locks.is_empty());
    }
}

/// An engine that is told to stop ends what it has just started, while the lock may still
/// live: nothing has failed, whatever the file says of replicas that fail.
#[tokio::test(start_paused = true)]
async fn a_replica_that_ends_with_its_engine_has_not_failed() {
    for on_failure in [OnFailure::Rollback, OnFailure::Continue] {
        let memory = serving().await;
        memory.world().faults.stopping = true;
        let mut wanted = desired("2");
        if let Some(order) = wanted.services.get_mut("order") {
            order.rollout.on_failure = on_failure;
        }
        let (verdict, events) = deploy(&memory, &wanted).await;
        assert_eq!(released(&verdict), Some(2), "{verdict:?} {events:#?}");
        assert!(retried(&events), "{events:#?}");
        assert_eq!(memory.world().answering("shop", "order"), 2);
        assert_eq!(memory.world().running("shop", "order"), 2);
        assert_eq!(steps_left(&memory, &wanted).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stays_away_is_told() {
    let memory = serving().await;
    let after = memory.world().faults.calls + 3;
    memory.world().faults.away = Some(Away {
        after,
        questions: u32::MAX,
    });
    let began = tokio::time::Instant::now();
    let (verdict, events) = deploy(&memory, &desired("2")).await;
    let away = matches!(verdict, Verdict::Backend(BackendError::Unreachable { .. }));
    assert!(away, "{verdict:?} {events:#?}");
    let waited = began.elapsed().as_secs();
    assert!((60..70).contains(&waited), "{waited} s");
    memory.world().faults.away = None;
    let (mended, _) = deploy(&memory, &desired("2")).await;
    assert!(matches!(mended, Verdict::Done { .. }), "{mended:?}");
    assert_eq!(steps_left(&memory, &desired("2")).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_hangs_up_is_asked_again() {
    for times in [1, 2, 5] {
        let memory = serving().await;
        memory.world().faults.hang_ups = times;
        let (verdict, events) = deploy(&memory, &desired("2")).await;
        let done = released(&verdict) == Some(2);
        assert!(done, "{verdict:?} {events:#?}");
        assert!(!retried(&events), "{events:#?}");
        assert_eq!(memory.world().faults.hang_ups, 0);
        assert_eq!(memory.world().answering("shop", "order"), 2);
        assert_eq!(steps_left(&memory, &desired("2")).await, 0);
    }
}

/// The store of a stack that another run has made releases of.
static OTHERS: OnceLock<std::collections::BTreeMap<String, Vec<u8>>> = OnceLock::new();

/// The first lock is this run's own; before it is taken anew, somebody else deploys.
fn somebody_deploys_next_time(world: &mut World) {
    world.before_lock = Some(|world| {
        let records = OTHERS.get().expect("made before").clone();
        world.records.insert("shop".to_owned(), records);
    });
}

/// Its routes say nothing of a run that wrote none; its release does.
#[tokio::test(start_paused = true)]
async fn a_release_that_another_run_made_meanwhile_is_not_undone() {
    let other = world();
    for version in ["1", "2", "3"] {
        deploy(&other, &desired(version)).await;
    }
    let records = other.world().records["shop"].clone();
    OTHERS.set(records.clone()).expect("set once");
    let memory = serving().await;
    memory.world().before_lock = Some(somebody_deploys_next_time);
    let after = memory.world().faults.calls + 5;
    memory.world().faults.away = Some(Away {
        after,
        questions: 12,
    });
    let (verdict, events) = deploy(&memory, &desired("9")).await;
    assert!(
        matches!(verdict, Verdict::Backend(BackendError::LockLost)),
        "{verdict:?} {events:#?}"
    );
    assert_eq!(
        memory.world().records["shop"],
        records,
        "nothing is written"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_stop_ends_the_wait_for_an_engine() {
    let memory = serving().await;
    let after = memory.world().faults.calls + 3;
    memory.world().faults.away = Some(Away {
        after,
        questions: u32::MAX,
    });
    let began = tokio::time::Instant::now();
    let verdict = deploy_until(&memory, &desired("2"), Some("retrying")).await;
    assert!(matches!(verdict, Verdict::Stopped { .. }), "{verdict:?}");
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

/// What the plan needs is taken away while the engine is: half a change is no end, and
/// nobody may be told that nothing was changed.
#[tokio::test(start_paused = true)]
async fn a_plan_that_is_refused_half_way_goes_back() {
    let memory = serving().await;
    memory.world().before_lock = Some(|world| {
        world.before_lock = Some(|world| drop(world.networks.remove("shop_default")));
    });
    let after = memory.world().faults.calls + 5;
    memory.world().faults.away = Some(Away {
        after,
        questions: 12,
    });
    let mut next = desired("2");
    for network in next.networks.values_mut() {
        network.external = true;
    }
    let (verdict, events) = deploy(&memory, &next).await;
    let Verdict::RolledBack { failure, to: 1 } = verdict else {
        panic!("{verdict:?} {events:#?}");
    };
    let words = "the rest cannot be done: network default: the external network shop_default does not exist";
    assert_eq!(failure.message, words);
    assert_eq!(steps_left(&memory, &desired("1")).await, 0);
}
