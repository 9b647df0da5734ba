//! One holder at a time, whatever happens to it.

use std::time::Duration;
use std::time::Instant;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::DeleteParams;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::json;
use shopctl::backend::BackendError;
use shopctl::backend::Holder;
use shopctl::backend::Lease as _;
use shopctl::backend::Lock;
use shopctl::backend::kubernetes::client::Cluster;

use crate::world::World;

/// The object.
const NAME: &str = "shopctl";
/// How long a lock outlives its holder where a test waits for that.
pub(crate) const BRIEF: Duration = Duration::from_secs(2);
/// How much later it may be free: the server's time comes in whole seconds, and machines
/// that test are busy.
pub(crate) const LATER: Duration = Duration::from_secs(6);

cases! {
    the_second_holder_is_told_of_the_first,
    of_many_that_race_one_wins,
    the_end_of_a_lock_is_heard,
    a_run_takes_its_own_lock_again,
    the_lock_of_a_killed_holder_runs_out,
    a_lock_is_held_for_as_long_as_it_lives,
    a_stolen_lock_is_lost,
    a_lock_that_was_deleted_is_lost,
    a_lock_that_goes_with_its_namespace_is_not_lost,
    the_namespace_is_made_with_the_lock,
}

/// Who has it, where somebody does.
pub(crate) fn holder(taken: Result<Box<dyn Lock>, BackendError>) -> Option<Holder> {
    match taken {
        Ok(_) => None,
        Err(BackendError::Locked(holder)) => Some(holder),
        Err(other) => panic!("{other}"),
    }
}

/// Waits for a lock as a run does; how long that took.
pub(crate) async fn wait_for(world: &World, by: &Cluster, run: &str) -> (Box<dyn Lock>, Duration) {
    let begun = Instant::now();
    loop {
        match world.take_by(by, run).await {
            Ok(lock) => return (lock, begun.elapsed()),
            Err(BackendError::Locked(_)) => by.freed(&world.stack).await.unwrap(),
            Err(other) => panic!("{other}"),
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "nobody frees it");
    }
}

/// How long it takes until a lock is known to be lost.
pub(crate) async fn lost(lock: &dyn Lock) -> Duration {
    let begun = Instant::now();
    loop {
        match lock.confirm().await {
            Ok(()) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(BackendError::LockLost) => return begun.elapsed(),
            Err(other) => panic!("{other}"),
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "it is not lost");
    }
}

async fn object(world: &World) -> Option<Lease> {
    world.leases().get_opt(NAME).await.unwrap()
}

async fn the_second_holder_is_told_of_the_first(world: World) {
    let lock = world.take("one").await.unwrap();
    lock.confirm().await.unwrap();
    let other = world.another(None).await;
    let found = holder(world.take_by(&other, "two").await).unwrap();
    assert_eq!((found.who.as_str(), found.host.as_str()), ("ana", "laptop"));
    assert_eq!(found.run, "one");
    let age = uuid::Timestamp::now(uuid::NoContext).to_unix().0 * 1000 - found.since;
    assert!(age < 60_000, "since {age} ms ago");
    let first = lock.id();
    lock.release().await.unwrap();
    let lock = world.take_by(&other, "two").await.unwrap();
    assert!(lock.id() > first, "{} after {first}", lock.id());
}

/// At first there is no object, then one that was left behind.
async fn of_many_that_race_one_wins(world: World) {
    for round in ["first", "next"] {
        let runs: Vec<String> = (0..8).map(|number| format!("{round}-{number}")).collect();
        let all = runs.iter().map(|run| world.take(run));
        let taken = futures_util::future::join_all(all).await;
        let mut won: Vec<Box<dyn Lock>> = taken
            .into_iter()
            .filter_map(|taken| match taken {
                Ok(lock) => Some(lock),
                Err(BackendError::Locked(_)) => None,
                Err(other) => panic!("{other}"),
            })
            .collect();
        assert_eq!(won.len(), 1, "the {round} time");
        let lock = won.remove(0);
        lock.confirm().await.unwrap();
        lock.release().await.unwrap();
    }
}

async fn the_end_of_a_lock_is_heard(world: World) {
    let lock = world.take("one").await.unwrap();
    let other = world.another(None).await;
    let freed = other.freed(&world.stack);
    tokio::pin!(freed);
    let early = tokio::time::timeout(Duration::from_millis(500), &mut freed).await;
    assert!(early.is_err(), "it is held");
    lock.release().await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(2), freed).await;
    heard.expect("it is heard at once").unwrap();
    world.take_by(&other, "two").await.unwrap();
}

/// Its answer was lost, or it lost the lock in an outage.
async fn a_run_takes_its_own_lock_again(world: World) {
    let lock = world.take("one").await.unwrap();
    let first = lock.id();
    drop(lock);
    let lock = world.take("one").await.unwrap();
    assert!(lock.id() > first, "{} after {first}", lock.id());
    lock.confirm().await.unwrap();
}

async fn the_lock_of_a_killed_holder_runs_out(world: World) {
    let holds = world.another(Some(BRIEF)).await;
    let lock = world.take_by(&holds, "one").await.unwrap();
    let first = lock.id();
    // Nobody renews it any more, and it says that it is held.
    drop(lock);
    let (lock, waited) = wait_for(&world, &world.cluster, "two").await;
    assert!(waited >= BRIEF, "taken after {waited:?}");
    assert!(waited < BRIEF + LATER, "taken after {waited:?}");
    assert!(lock.id() > first, "{} after {first}", lock.id());
    lock.confirm().await.unwrap();
}

async fn a_lock_is_held_for_as_long_as_it_lives(world: World) {
    let holds = world.another(Some(BRIEF * 2)).await;
    let lock = world.take_by(&holds, "one").await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < BRIEF * 2 + LATER {
        lock.confirm().await.unwrap();
        let found = holder(world.take("two").await);
        assert_eq!(found.unwrap().run, "one");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn a_stolen_lock_is_lost(world: World) {
    let lock = world.take("one").await.unwrap();
    let patch = json!({ "spec": { "holderIdentity": "thief" } });
    let patch = Patch::Merge(&patch);
    let leases = world.leases();
    leases
        .patch(NAME, &PatchParams::default(), &patch)
        .await
        .unwrap();
    let heard = lost(&*lock).await;
    assert!(heard < Duration::from_secs(5), "heard after {heard:?}");
    // What is another's is not freed.
    lock.release().await.unwrap();
    let spec = object(&world).await.unwrap().spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("thief"));
}

async fn a_lock_that_was_deleted_is_lost(world: World) {
    let lock = world.take("one").await.unwrap();
    let leases = world.leases();
    leases.delete(NAME, &DeleteParams::default()).await.unwrap();
    let heard = lost(&*lock).await;
    assert!(heard < Duration::from_secs(5), "heard after {heard:?}");
    lock.release().await.unwrap();
    world.take("two").await.unwrap();
}

/// A run that removes its stack goes on to its end.
async fn a_lock_that_goes_with_its_namespace_is_not_lost(world: World) {
    let holds = world.another(Some(BRIEF * 2)).await;
    let lock = world.take_by(&holds, "one").await.unwrap();
    let namespaces = world.namespaces();
    let params = DeleteParams::default();
    namespaces.delete(&world.stack, &params).await.unwrap();
    let begun = Instant::now();
    while namespaces.get_opt(&world.stack).await.unwrap().is_some() {
        lock.confirm().await.unwrap();
        assert!(begun.elapsed() < Duration::from_mins(1), "it stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let gone = Instant::now();
    while gone.elapsed() < BRIEF * 3 {
        lock.confirm().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The next run begins anew.
    let next = world.take("two").await.unwrap();
    let heard = lost(&*lock).await;
    assert!(heard < Duration::from_secs(5), "heard after {heard:?}");
    lock.release().await.unwrap();
    next.confirm().await.unwrap();
}

async fn the_namespace_is_made_with_the_lock(world: World) {
    let found = world.namespaces().get_opt(&world.stack).await.unwrap();
    assert!(found.is_none());
    let lock = world.take("one").await.unwrap();
    let found = world.namespaces().get(&world.stack).await.unwrap();
    let labels = found.metadata.labels.unwrap();
    assert_eq!(labels["app.kubernetes.io/part-of"], world.stack);
    assert_eq!(labels["app.kubernetes.io/managed-by"], "shopctl");
    let spec = object(&world).await.unwrap().spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("one"));
    assert_eq!(spec.lease_duration_seconds, Some(30));
    lock.release().await.unwrap();
    let spec = object(&world).await.unwrap().spec.unwrap();
    assert_eq!(spec.holder_identity, None);
}
