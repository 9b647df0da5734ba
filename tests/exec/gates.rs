//! Gates where the engine says less than it should.

use std::time::Duration;

use shopctl::backend::memory::Behaviour;
use shopctl::state::desired::ReadyGate;
use shopctl::state::observed::Health;
use shopctl::state::spec::Healthcheck;

use super::deploy;
use super::desired;
use super::released;
use super::world;

/// The engine drops events for whoever takes them too slowly.
#[tokio::test(start_paused = true)]
async fn a_health_event_that_never_comes_is_not_waited_for() {
    let memory = world();
    let mut desired = desired("1");
    desired.services.remove("order");
    desired.ports.clear();
    let goods = desired.services.get_mut("goods").expect("it is there");
    goods.replicas = 1;
    goods.container.healthcheck = Some(Healthcheck::default());
    goods.ready = ReadyGate::Healthy {
        deadline_ms: 600_000,
        interval_ms: 1000,
    };
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
