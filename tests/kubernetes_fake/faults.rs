//! What becomes of a lock and of records when calls break.

use std::time::Duration;
use std::time::Instant;

use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::json;
use shopctl::backend::BackendError;
use shopctl::backend::Events as _;

use crate::cluster::Break;
use crate::cluster::Dates;
use crate::events::next;
use crate::events::told;
use crate::lease::BRIEF;
use crate::lease::LATER;
use crate::lease::holder;
use crate::lease::lost;
use crate::lease::wait_for;
use crate::store::read;
use crate::store::record;
use crate::store::write;
use crate::world::World;

const LEASES: &str = "/leases";

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again() {
    let (world, server) = World::with_server().await;
    server.breaks("GET", LEASES, 1, Break::Refused(429));
    server.breaks("POST", LEASES, 2, Break::Refused(503));
    let lock = world.take("one").await.unwrap();
    server.breaks("PUT", LEASES, 1, Break::Refused(500));
    server.breaks("GET", "/secrets/", 1, Break::Refused(429));
    server.breaks("POST", "/secrets", 1, Break::Refused(504));
    write(&world, "a", "1").await.unwrap();
    assert_eq!(read(&world).await, Some(record("a", "1")));
    lock.release().await.unwrap();
    assert_eq!(holder(world.take("two").await), None);
}

/// Who asked is told that it failed, and finds out what is so when it asks again.
#[tokio::test]
async fn what_was_done_before_its_answer_was_lost_is_found_again() {
    let (world, server) = World::with_server().await;
    server.breaks("POST", LEASES, 1, Break::Lost);
    let taken = world.take("one").await.err();
    assert!(
        matches!(taken, Some(BackendError::Unreachable { .. })),
        "{taken:?}"
    );
    assert_eq!(holder(world.take("two").await).unwrap().run, "one");
    let lock = world.take("one").await.unwrap();
    // The answer says that it was not done.
    server.breaks("POST", "/secrets", 1, Break::Belied(500));
    write(&world, "a", "1").await.unwrap();
    server.breaks("PUT", "/secrets", 1, Break::Belied(503));
    write(&world, "a", "2").await.unwrap();
    server.breaks("PUT", "/secrets", 1, Break::Lost);
    let written = write(&world, "a", "3").await;
    assert!(
        matches!(written, Err(BackendError::Unreachable { .. })),
        "{written:?}"
    );
    write(&world, "b", "4").await.unwrap();
    let mut want = record("a", "3");
    want.extend(record("b", "4"));
    assert_eq!(read(&world).await, Some(want));
    server.breaks("PUT", LEASES, 1, Break::Belied(500));
    lock.release().await.unwrap();
    assert_eq!(holder(world.take("two").await), None);
}

/// Of two deploys that begin at the same moment one is told that what it applies is there.
#[tokio::test]
async fn what_another_has_made_a_moment_before_is_applied_all_the_same() {
    let (world, server) = World::with_server().await;
    server.breaks("PATCH", "/namespaces/", 2, Break::Exists);
    let lock = world.take("one").await.unwrap();
    lock.release().await.unwrap();
    let made = server.calls();
    let made = made
        .iter()
        .filter(|call| call.starts_with("PATCH /api/v1/namespaces/"));
    assert_eq!(made.count(), 3, "{:?}", server.calls());
}

#[tokio::test]
async fn a_lock_that_cannot_be_renewed_is_lost_before_others_may_take_it() {
    for how in [Break::Refused(503), Break::Reset, Break::Hangs] {
        let (world, server) = World::with_server().await;
        let holds = world.another(Some(BRIEF)).await;
        let lock = world.take_by(&holds, "one").await.unwrap();
        let begun = Instant::now();
        server.breaks("PUT", LEASES, usize::MAX, how);
        let heard = lost(&*lock).await;
        assert!(
            heard <= BRIEF + Duration::from_millis(500),
            "{heard:?} {how:?}"
        );
        let held = holder(world.take("two").await);
        assert!(held.is_some(), "free after {:?} {how:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_lock_outlasts_a_server_that_is_away_for_a_while() {
    let (world, server) = World::with_server().await;
    let holds = world.another(Some(BRIEF * 4)).await;
    let lock = world.take_by(&holds, "one").await.unwrap();
    let broken = [Break::Hangs, Break::Reset];
    for how in broken {
        server.breaks("PUT", LEASES, 1, how);
    }
    let renewals = || {
        let calls = server.calls();
        let all = calls.iter().filter(|call| call.starts_with("PUT"));
        all.count()
    };
    let begun = Instant::now();
    while renewals() < broken.len() + 2 {
        lock.confirm().await.unwrap();
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "it is not renewed"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Who may not watch is told by renewals.
#[tokio::test]
async fn a_lock_is_kept_and_lost_without_a_watch() {
    let (world, server) = World::with_server().await;
    server.breaks("GET", "watch=true", usize::MAX, Break::Refused(403));
    server.breaks("GET", "fieldSelector", usize::MAX, Break::Refused(403));
    let holds = world.another(Some(BRIEF)).await;
    let lock = world.take_by(&holds, "one").await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < BRIEF * 3 {
        lock.confirm().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    steal(&world).await;
    let heard = lost(&*lock).await;
    assert!(heard < BRIEF, "heard after {heard:?}");
}

/// A watch is told at times that it is too old.
#[tokio::test]
async fn a_thief_is_seen_after_a_watch_expired() {
    let (world, server) = World::with_server().await;
    server.breaks("GET", "watch=true", 1, Break::Expired);
    let lock = world.take("one").await.unwrap();
    let watches = || {
        let calls = server.calls();
        let watches = calls.iter().filter(|call| call.contains("watch=true"));
        watches.count()
    };
    let begun = Instant::now();
    while watches() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(30), "watched once");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    steal(&world).await;
    let heard = lost(&*lock).await;
    assert!(heard < Duration::from_secs(2), "heard after {heard:?}");
}

/// A watch that expired begins with all that is there.
#[tokio::test]
async fn what_happened_is_told_once_though_a_watch_expired_or_broke() {
    let (world, server) = World::with_server().await;
    world.space().await;
    let pod = ("Pod", "order-1");
    world.happens("before", pod, json!({})).await;
    server.breaks("GET", "/events?", 1, Break::Refused(503));
    server.breaks("GET", "/events?&watch=true", 1, Break::Expired);
    let query = world.query(None, None);
    let mut happenings = world.cluster.events(&query).await.unwrap();
    world.happens("one", pod, json!({})).await;
    assert_eq!(told(&next(&mut happenings).await).2, "one of a test");
    server.breaks("GET", "/events?", 2, Break::Reset);
    let lists = || {
        let calls = server.calls();
        let lists = calls.iter().filter(|call| call.contains("/events?"));
        lists.filter(|call| !call.contains("watch=true")).count()
    };
    assert!(lists() >= 3, "{:?}", server.calls());
    world.happens("two", pod, json!({})).await;
    assert_eq!(told(&next(&mut happenings).await).2, "two of a test");
    assert!(happenings.try_recv().is_err());
}

#[tokio::test]
async fn who_may_not_see_what_happens_is_told_so() {
    let (world, server) = World::with_server().await;
    world.space().await;
    server.breaks("GET", "/events?", 1, Break::Refused(403));
    let refused = world.cluster.events(&world.query(None, None)).await;
    let stack = &world.stack;
    assert_eq!(
        refused.unwrap_err().to_string(),
        format!("the cluster refused to list events in namespace {stack}: told to")
    );
}

async fn steal(world: &World) {
    let patch = json!({ "spec": { "holderIdentity": "thief" } });
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let stolen = world.leases().patch("shopctl", &params, &patch).await;
    stolen.unwrap();
}

/// What a killed holder wrote last is in the future then.
#[tokio::test]
async fn a_lock_runs_out_when_the_servers_clock_was_set_back() {
    let (world, server) = World::with_server().await;
    let holds = world.another(Some(BRIEF)).await;
    drop(world.take_by(&holds, "one").await.unwrap());
    server.dates(Dates::Late(Duration::from_hours(1)));
    let (_, waited) = wait_for(&world, &world.cluster, "two").await;
    assert!(waited >= BRIEF, "taken after {waited:?}");
    assert!(waited < BRIEF + LATER, "taken after {waited:?}");
}

#[tokio::test]
async fn a_lock_that_stands_still_runs_out_when_no_answer_is_dated() {
    let (world, server) = World::with_server().await;
    server.dates(Dates::Missing);
    let holds = world.another(Some(BRIEF)).await;
    let lock = world.take_by(&holds, "one").await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < BRIEF * 3 {
        lock.confirm().await.unwrap();
        assert_eq!(holder(world.take("two").await).unwrap().run, "one");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(lock);
    let (_, waited) = wait_for(&world, &world.cluster, "two").await;
    assert!(waited >= BRIEF, "taken after {waited:?}");
    assert!(waited < BRIEF + LATER, "taken after {waited:?}");
}
