//! Gates where the engine says less than it should.

use std::time::Duration;

use shopctl::backend::memory::Behaviour;
use shopctl::exec::Verdict;
use shopctl::state::desired::DesiredState;
use shopctl::state::desired::ReadyGate;
use shopctl::state::observed::Health;
use shopctl::state::spec::Healthcheck;

use super::deploy;
use super::desired;
use super::released;
use super::world;

/// One replica that others would wait for until it is healthy.
fn awaited() -> DesiredState {
    let mut desired = desired("1");
    desired.services.remove("order");
    desired.ports.clear();
    let goods = desired.services.get_mut("goods").expect("it is there");
    goods.replicas = 1;
    goods.ready = ReadyGate::Healthy {
        deadline_ms: 600_000,
        interval_ms: 1000,
    };
    desired
}

/// The engine drops events for whoever takes them too slowly.
#[tokio::test(start_paused = true)]
async fn a_health_event_that_never_comes_is_not_waited_for() {
    let memory = world();
    let mut desired = awaited();
    let goods = desired.services.get_mut("goods").expect("it is there");
    goods.container.healthcheck = Some(Healthcheck::default());
    let never = ("goods".to_owned(), Behaviour::NeverReady);
    memory.world().behaviours.extend([never]);
    let heals = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        for one in memory.world().containers.values_mut() {
            if one.instance.service == "goods" {
                one.instance.health = Some(Health::Healthy);
            }
        }
    };
    let begun = tokio::time::Instant::now();
    let ((verdict, _), ()) = tokio::join!(deploy(&memory, &desired), heals);
    assert_eq!(released(&verdict), Some(1), "{verdict:?}");
    let took = begun.elapsed();
    assert!(took < Duration::from_mins(1), "{took:?}");
}

/// Neither the file nor the image brings the check that is waited for.
#[tokio::test(start_paused = true)]
async fn health_without_a_check_is_not_waited_for() {
    let memory = world();
    let begun = tokio::time::Instant::now();
    let (verdict, _) = deploy(&memory, &awaited()).await;
    let Verdict::Failed(failure) = verdict else {
        panic!("{verdict:?}");
    };
    insta::assert_snapshot!(failure.message, @"shop-goods-1-e0d91b has no health check, and others wait until it is healthy: give the service a healthcheck, or depend on service_started");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}
