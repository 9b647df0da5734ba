//! Active health checks: who does not answer well gets no requests.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::json;
use shop_gateway::protocol::Config;

use crate::support::Rig;
use crate::support::client::get;
use crate::support::config;
use crate::support::replica::PORT;
use crate::support::replica::Replica;
use crate::support::replica::hosts;
use crate::support::until;

/// Both replicas behind the listeners, asked every 50 ms.
fn checked(generation: u64, replicas: &[Replica]) -> Config {
    let mut config = config(1, generation, &hosts(replicas));
    let health = json!({
        "port": PORT, "http": "/readyz", "interval_ms": 50, "rise": 2, "fall": 2,
    });
    let order = config.services.get_mut("order").expect("the service");
    order.health = serde_json::from_value(health).expect("a check");
    config
}

async fn healthy(rig: &Rig, replica: &Replica) -> Option<bool> {
    let stats = rig.stats().await;
    let id = format!("i-{}", replica.host());
    stats.services["order"].targets[&id].healthy
}

#[tokio::test]
async fn a_replica_that_says_no_gets_no_request_until_it_says_yes() {
    let rig = Rig::start();
    let replicas = Replica::start_many(2).await;
    let applied = rig.control.apply(&checked(1, &replicas)).await;
    applied.expect("applied");
    assert_eq!(
        healthy(&rig, &replicas[0]).await,
        Some(true),
        "it was gated"
    );
    replicas[0].seen.ill.store(true, SeqCst);
    until("it is left out", async || {
        healthy(&rig, &replicas[0]).await == Some(false)
    })
    .await;
    let before = replicas[0].requests();
    for _ in 0..20 {
        assert_eq!(get(rig.http(), "/").await.status, 200);
    }
    assert_eq!(replicas[0].requests(), before);
    replicas[0].seen.ill.store(false, SeqCst);
    until("it is back", async || {
        healthy(&rig, &replicas[0]).await == Some(true)
    })
    .await;
    until("it gets requests again", async || {
        get(rig.http(), "/").await;
        replicas[0].requests() > before
    })
    .await;
}

#[tokio::test]
async fn when_all_say_no_any_is_better_than_none() {
    let rig = Rig::start();
    let replicas = Replica::start_many(2).await;
    for replica in &replicas {
        replica.seen.ill.store(true, SeqCst);
    }
    let applied = rig.control.apply(&checked(1, &replicas)).await;
    applied.expect("applied");
    for replica in &replicas {
        until("it is out", async || {
            healthy(&rig, replica).await == Some(false)
        })
        .await;
    }
    assert_eq!(get(rig.http(), "/").await.status, 200);
}

#[tokio::test]
async fn after_a_restart_nobody_is_taken_for_well_before_it_has_answered() {
    let rig = Rig::start();
    let replicas = Replica::start_many(2).await;
    let applied = rig.control.apply(&checked(1, &replicas)).await;
    applied.expect("applied");
    replicas[0].seen.ill.store(true, SeqCst);
    let store = rig.end().await;
    let rig = Rig::on(store, |_| ());
    until("the well one is known", async || {
        healthy(&rig, &replicas[1]).await == Some(true)
    })
    .await;
    let before = replicas[0].requests();
    for _ in 0..20 {
        assert_eq!(get(rig.http(), "/").await.status, 200);
    }
    assert_eq!(replicas[0].requests(), before, "it never answered well");
}

#[tokio::test]
async fn after_a_restart_one_good_answer_of_two_is_not_enough() {
    let rig = Rig::start();
    let replicas = Replica::start_many(2).await;
    let applied = rig.control.apply(&checked(1, &replicas)).await;
    applied.expect("applied");
    let store = rig.end().await;
    replicas[0].seen.flaps.store(true, SeqCst);
    let before = replicas[0].seen.checks.load(SeqCst);
    let rig = Rig::on(store, |_| ());
    until("it was asked often", async || {
        assert_eq!(healthy(&rig, &replicas[0]).await, Some(false));
        replicas[0].seen.checks.load(SeqCst) >= before + 20
    })
    .await;
    assert_eq!(healthy(&rig, &replicas[1]).await, Some(true));
    replicas[0].seen.flaps.store(false, SeqCst);
    until("it is well", async || {
        healthy(&rig, &replicas[0]).await == Some(true)
    })
    .await;
}

#[tokio::test]
async fn nobody_is_asked_who_is_not_to_be_asked_any_more() {
    let rig = Rig::start();
    let replicas = Replica::start_many(2).await;
    let applied = rig.control.apply(&checked(1, &replicas)).await;
    applied.expect("applied");
    replicas[0].seen.ill.store(true, SeqCst);
    until("it is out", async || {
        healthy(&rig, &replicas[0]).await == Some(false)
    })
    .await;
    // The check is dropped: it is chosen like any other, and asked no more.
    let applied = rig.control.apply(&config(1, 2, &hosts(&replicas))).await;
    applied.expect("applied");
    until("it gets requests again", async || {
        get(rig.http(), "/").await;
        replicas[0].requests() > 0
    })
    .await;
    let asked = replicas[0].seen.checks.load(SeqCst);
    assert_eq!(healthy(&rig, &replicas[0]).await, None);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(replicas[0].seen.checks.load(SeqCst), asked);
}
