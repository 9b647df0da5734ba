//! Replicas that fail and are borne, as `update_config` says.

use shopctl::backend::Observe as _;
use shopctl::backend::memory::Away;
use shopctl::backend::memory::Behaviour;
use shopctl::backend::memory::Memory;
use shopctl::event::Event;
use shopctl::event::EventKind;
use shopctl::exec::Verdict;
use shopctl::plan::Options;
use shopctl::plan::PlanInput;
use shopctl::plan::action::Action;
use shopctl::state::desired::DesiredState;
use shopctl::state::desired::OnFailure;
use shopctl::state::desired::RolloutOrder;

use super::deploy;
use super::desired;
use super::query;
use super::released;
use super::steps_left;
use super::world;

/// `order` with four replicas, of which some may fail.
fn tolerant(version: &str, millionths: u32, on_failure: OnFailure) -> DesiredState {
    let mut desired = desired(version);
    if let Some(order) = desired.services.get_mut("order") {
        order.replicas = 4;
        order.rollout.max_failures = millionths;
        order.rollout.on_failure = on_failure;
    }
    desired
}

/// Deployed once; of what is to come, replicas in these slots never get ready.
async fn failing(before: &DesiredState, after: &DesiredState, slots: &[u32]) -> Memory {
    let memory = world();
    deploy(&memory, before).await;
    let observed = memory.observe(&query()).await.expect("memory answers");
    let options = Options::default();
    let input = PlanInput {
        desired: after,
        observed: &observed,
        options: &options,
    };
    for step in shopctl::plan::plan(&input).expect("a plan").steps {
        if let Action::CreateInstance { instance } = step.action
            && slots.contains(&instance.slot)
        {
            let mut world = memory.world();
            world
                .behaviours
                .insert(instance.name, Behaviour::NeverReady);
        }
    }
    memory
}

/// How many replicas of `order` that serve have this version.
fn serve(memory: &Memory, version: &str) -> usize {
    let world = memory.world();
    let replicas = world.containers.values();
    replicas
        .filter(|one| one.instance.service == "order" && one.runs() && one.ready)
        .filter_map(|one| one.instance.environment.as_ref())
        .filter(|environment| environment.0.get("VERSION").map(String::as_str) == Some(version))
        .count()
}

fn warnings(events: &[Event]) -> String {
    let words = events.iter().filter_map(|event| match &event.kind {
        EventKind::Warning { message } => Some(message.as_str()),
        _ => None,
    });
    words.collect::<Vec<_>>().join("\n")
}

#[tokio::test(start_paused = true)]
async fn what_the_ratio_allows_is_borne_and_the_old_replica_serves_on() {
    for order in [RolloutOrder::StartFirst, RolloutOrder::StopFirst] {
        let of = |version| {
            let mut desired = tolerant(version, 250_000, OnFailure::Rollback);
            if let Some(service) = desired.services.get_mut("order") {
                service.rollout.order = order;
            }
            desired
        };
        let memory = failing(&of("1"), &of("2"), &[2]).await;
        let (verdict, events) = deploy(&memory, &of("2")).await;
        let done = released(&verdict) == Some(2);
        assert!(done, "{verdict:?} {events:#?}");
        let said = warnings(&events);
        assert!(
            said.contains("1 replica failed, which the file allows"),
            "{said}"
        );
        assert_eq!((serve(&memory, "2"), serve(&memory, "1")), (3, 1));
        assert_eq!(memory.world().answering("shop", "order"), 4);
        assert_eq!(memory.world().running("shop", "order"), 4);
        // What failed is not forgotten: the next deploy tries it again.
        assert!(steps_left(&memory, &of("2")).await > 0);
        memory.world().behaviours.clear();
        let (mended, _) = deploy(&memory, &of("2")).await;
        assert!(matches!(mended, Verdict::Done { .. }), "{mended:?}");
        assert_eq!(serve(&memory, "2"), 4);
        assert_eq!(steps_left(&memory, &of("2")).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_more_than_the_ratio_allows_goes_back() {
    let of = |version| tolerant(version, 250_000, OnFailure::Rollback);
    let memory = failing(&of("1"), &of("2"), &[2, 3]).await;
    let (verdict, events) = deploy(&memory, &of("2")).await;
    // The old replicas never left, so the way back starts nothing that fails.
    assert!(
        matches!(verdict, Verdict::RolledBack { to: 1, .. }),
        "{verdict:?} {events:#?}"
    );
    assert_eq!((serve(&memory, "2"), serve(&memory, "1")), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn continue_changes_the_rest_and_names_what_failed() {
    let of = |version| tolerant(version, 0, OnFailure::Continue);
    let memory = failing(&of("1"), &of("2"), &[1, 3]).await;
    let (verdict, events) = deploy(&memory, &of("2")).await;
    let Verdict::Failed(failure) = verdict else {
        panic!("{verdict:?} {events:#?}");
    };
    assert!(
        failure
            .message
            .contains("2 replicas of order failed, 0 may"),
        "{}",
        failure.message
    );
    for slot in [1, 3] {
        let name = format!("shop-order-{slot}-");
        assert!(failure.message.contains(&name), "{}", failure.message);
    }
    assert_eq!((serve(&memory, "2"), serve(&memory, "1")), (2, 2));
    assert_eq!(memory.world().answering("shop", "order"), 4);
}

#[tokio::test(start_paused = true)]
async fn pause_stops_at_the_first_failure() {
    let of = |version| tolerant(version, 0, OnFailure::Pause);
    let memory = failing(&of("1"), &of("2"), &[2]).await;
    let (verdict, _) = deploy(&memory, &of("2")).await;
    assert!(matches!(verdict, Verdict::Failed(_)), "{verdict:?}");
    assert_eq!((serve(&memory, "2"), serve(&memory, "1")), (1, 3));
}

/// An engine that goes away in between makes no good end of a bad one.
#[tokio::test(start_paused = true)]
async fn what_failed_before_an_outage_is_not_forgotten_after_it() {
    let of = |version| tolerant(version, 0, OnFailure::Continue);
    let mut retried = 0;
    for call in 3..24 {
        let memory = failing(&of("1"), &of("2"), &[1]).await;
        let after = memory.world().faults.calls + call;
        memory.world().faults.away = Some(Away {
            after,
            questions: 12,
        });
        let (verdict, events) = deploy(&memory, &of("2")).await;
        let Verdict::Failed(failure) = verdict else {
            panic!("away from call {call}: {verdict:?} {events:#?}");
        };
        assert!(failure.message.contains("shop-order-1-"), "{failure:?}");
        let waits = |event: &&Event| matches!(event.kind, EventKind::Retrying { .. });
        retried += events.iter().filter(waits).count();
    }
    assert!(retried > 10, "{retried}");
}

/// One that was put back counts once it answers: until then the next one is not stopped.
#[tokio::test(start_paused = true)]
async fn what_is_put_back_must_answer_before_the_rollout_goes_on() {
    let of = |version| {
        let mut desired = tolerant(version, 500_000, OnFailure::Rollback);
        if let Some(service) = desired.services.get_mut("order") {
            service.rollout.order = RolloutOrder::StopFirst;
            service.replicas = 2;
        }
        desired
    };
    let memory = failing(&of("1"), &of("2"), &[1]).await;
    {
        let mut world = memory.world();
        let mut instances = world.containers.values().map(|one| &one.instance);
        let first = instances.find(|one| one.service == "order" && one.slot == 1);
        let first = first.expect("it was deployed").name.clone();
        world.behaviours.insert(first, Behaviour::NeverReady);
    }
    let (verdict, events) = deploy(&memory, &of("2")).await;
    assert!(!matches!(verdict, Verdict::Done { .. }), "{verdict:?}");
    let stops = events.iter().filter(|event| {
        let EventKind::StepStarted { what, .. } = &event.kind else {
            return false;
        };
        what.starts_with("stop shop-order-2-")
    });
    assert_eq!(stops.count(), 0, "{events:#?}");
    assert_eq!(serve(&memory, "1"), 1);
}
