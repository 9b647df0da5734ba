//! One holder at a time, whatever happens to it.

use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use shopctl::backend::BackendError;
use shopctl::backend::Context;
use shopctl::backend::Holder;
use shopctl::backend::Lease as _;
use shopctl::backend::Lock;
use shopctl::backend::Watch as _;
use shopctl::backend::docker::Docker;
use shopctl::backend::docker::Settings;
use shopctl::state::names;
use shopctl::state::observed::InstanceState;

use crate::world::World;

const CONTEXT: &str = "SHOPCTL_TEST_LOCK";

fn holder(run: &str) -> Holder {
    Holder {
        who: "ana".to_owned(),
        host: "laptop".to_owned(),
        run: run.to_owned(),
        since: 0,
    }
}

async fn take(world: &World, run: &str) -> Result<Box<dyn Lock>, BackendError> {
    world.docker.acquire(&world.context, &holder(run)).await
}

/// The process of a lock that somebody took is there.
async fn until_it_runs(world: &World) {
    let deadline = Instant::now() + Duration::from_mins(1);
    let runs = async || {
        let found = world.docker.state(&names::lock(&world.stack)).await;
        found.is_ok_and(|it| it.state == InstanceState::Running)
    };
    while !runs().await {
        assert!(Instant::now() < deadline, "nobody took the lock");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
#[ignore = "engine"]
async fn the_second_holder_is_told_of_the_first() {
    let world = World::new().await;
    let lock = take(&world, "one").await.unwrap();
    lock.confirm().await.unwrap();
    match take(&world, "two").await.err().unwrap() {
        BackendError::Locked(found) => {
            assert_eq!((found.who.as_str(), found.run.as_str()), ("ana", "one"));
            assert_eq!(found.since, lock.id());
        }
        other => panic!("{other}"),
    }
    assert!(
        world.observe().await.instances.is_empty(),
        "a lock is no instance"
    );
    let first = lock.id();
    lock.release().await.unwrap();
    let lock = take(&world, "two").await.unwrap();
    assert!(lock.id() > first);
}

/// Who waits hears of the end at once, not at the next look.
#[tokio::test]
#[ignore = "engine"]
async fn the_end_of_a_lock_is_heard() {
    let world = World::new().await;
    let lock = take(&world, "one").await.unwrap();
    until_it_runs(&world).await;
    let freed = world.docker.freed(&world.stack);
    tokio::pin!(freed);
    let early = tokio::time::timeout(Duration::from_millis(500), &mut freed).await;
    assert!(early.is_err(), "it is held");
    let (released, heard) = tokio::join!(
        async {
            lock.release().await.unwrap();
            Instant::now()
        },
        async {
            freed.await.unwrap();
            Instant::now()
        },
    );
    let late = heard.saturating_duration_since(released);
    assert!(late < Duration::from_millis(200), "{late:?}");
    take(&world, "two").await.unwrap();
}

#[tokio::test]
#[ignore = "engine"]
async fn of_many_that_race_one_wins() {
    let world = World::new().await;
    let runs: Vec<String> = (0..8).map(|number| format!("run-{number}")).collect();
    let all = runs.iter().map(|run| take(&world, run));
    let won: Vec<_> = futures_util::future::join_all(all)
        .await
        .into_iter()
        .filter_map(|taken| match taken {
            Ok(lock) => Some(lock),
            Err(BackendError::Locked(_)) => None,
            Err(other) => panic!("{other}"),
        })
        .collect();
    assert_eq!(won.len(), 1);
    won[0].confirm().await.unwrap();
}

#[tokio::test]
#[ignore = "engine"]
async fn a_lock_whose_container_was_removed_is_lost() {
    let world = World::new().await;
    let lock = take(&world, "one").await.unwrap();
    // One that never runs says so in another way.
    until_it_runs(&world).await;
    world
        .apply(crate::world::remove(&names::lock(&world.stack)))
        .await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while lock.confirm().await.is_ok() {
        assert!(Instant::now() < deadline, "still held after 10 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    lock.release().await.unwrap();
    take(&world, "two").await.unwrap();
}

#[tokio::test]
#[ignore = "engine"]
async fn a_killed_holder_frees_the_lock_at_once() {
    let world = World::new().await;
    let mut child = child(&world.context);
    // Asking for the lock here could take it from under the child.
    until_it_runs(&world).await;
    let refused = take(&world, "early").await.err();
    assert!(matches!(refused, Some(BackendError::Locked(found)) if found.run == "child"));
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = Instant::now();
    let lock = loop {
        match take(&world, "parent").await {
            Ok(lock) => break lock,
            Err(BackendError::Locked(_)) => assert!(killed.elapsed() < Duration::from_secs(10)),
            Err(other) => panic!("{other}"),
        }
    };
    println!("taken {} ms after the kill", killed.elapsed().as_millis());
    lock.confirm().await.unwrap();
}

#[tokio::test]
#[ignore = "engine"]
async fn a_lock_that_was_never_held_is_removed_when_it_is_old() {
    let world = World::new().await;
    // The gap between create and start of a holder that died there.
    let name = names::lock(&world.stack);
    let docker = bollard::Docker::connect_with_unix_defaults().unwrap();
    let body = bollard::models::ContainerCreateBody {
        image: Some(world.context.helper_image.clone()),
        labels: Some([(names::STACK.to_owned(), world.stack.clone())].into()),
        ..Default::default()
    };
    let options = bollard::query_parameters::CreateContainerOptionsBuilder::new().name(&name);
    docker
        .create_container(Some(options.build()), body)
        .await
        .unwrap();
    let made = Instant::now();
    loop {
        match take(&world, "two").await {
            Ok(_) => break,
            Err(BackendError::Locked(_)) => {
                assert!(made.elapsed() < Duration::from_secs(30));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(made.elapsed() > Duration::from_secs(9), "taken too early");
}

/// This test binary again, as a holder of its own.
fn child(context: &Context) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "lock::child_that_holds"])
        .env(
            CONTEXT,
            format!("{} {}", context.stack, context.helper_image),
        )
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Holds a lock until it is killed; does nothing when it is run as a test.
#[tokio::test]
#[ignore = "engine"]
async fn child_that_holds() {
    let Ok(text) = std::env::var(CONTEXT) else {
        return;
    };
    let (stack, helper_image) = text.split_once(' ').unwrap();
    let context = Context {
        stack: stack.to_owned(),
        helper_image: helper_image.to_owned(),
        ..Context::default()
    };
    let docker = Docker::connect(&Settings::default()).await.unwrap();
    let _lock = docker.acquire(&context, &holder("child")).await.unwrap();
    std::future::pending::<()>().await;
}
