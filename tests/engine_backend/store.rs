//! Records in the store's volume.

use std::collections::BTreeMap;

use shopctl::backend::BackendError;
use shopctl::backend::KEPT_RELEASES;
use shopctl::backend::Store as _;
use shopctl::state::names;
use shopctl::state::records;

use crate::containers::output;
use crate::world::World;
use crate::world::remove;
use crate::world::stop;

async fn write(world: &World, name: &str, text: &str) -> Result<(), BackendError> {
    let edit = |records: &mut BTreeMap<String, Vec<u8>>| {
        records.insert(name.to_owned(), text.as_bytes().to_vec());
        Ok(None)
    };
    world.docker.edit(&world.stack, Box::new(edit)).await
}

fn record(name: &str, text: &str) -> BTreeMap<String, Vec<u8>> {
    [(name.to_owned(), text.as_bytes().to_vec())].into()
}

#[tokio::test]
#[ignore = "engine"]
async fn records_stay_with_the_volume() {
    let world = World::new().await;
    assert_eq!(world.docker.read(&world.stack).await.unwrap(), None);
    let refused = write(&world, "a", "1").await;
    assert!(matches!(refused, Err(BackendError::NotFound { .. })));
    let keeper = world.keeper().await;
    let read = async || world.docker.read(&world.stack).await.unwrap();
    assert_eq!(read().await, Some(BTreeMap::new()));
    let scale = r#"{"order":{"replicas":3,"file_replicas":1,"by":"ana","at":5}}"#;
    for (name, text) in [("a", "1"), ("b", "2"), ("a", "3"), (records::SCALE, scale)] {
        write(&world, name, text).await.unwrap();
    }
    let mut want = record("a", "3");
    want.extend(record("b", "2"));
    want.extend(record(records::SCALE, scale));
    assert_eq!(read().await, Some(want.clone()));
    let owner = ["owner", "/run/shopctl/live/state/records.0"];
    assert_eq!(output(&world, &keeper, &owner).await, "65532:65532 600");
    let seen = world.observe().await.store.unwrap();
    assert_eq!(seen.scale["order"].replicas, 3);
    // Releases stand apart, the newest in place of the oldest.
    let store = &world.docker;
    for number in 1..=KEPT_RELEASES + 2 {
        let document = format!("release {number}");
        let keep = |_: &mut BTreeMap<String, Vec<u8>>| Ok(Some((number, document.into_bytes())));
        store.edit(&world.stack, Box::new(keep)).await.unwrap();
    }
    let kept = store.releases(&world.stack).await.unwrap();
    assert_eq!(kept.len() as u64, KEPT_RELEASES);
    assert_eq!(kept.first_key_value().unwrap().0, &3);
    assert_eq!(
        kept[&KEPT_RELEASES],
        format!("release {KEPT_RELEASES}").as_bytes()
    );
    // A stopped keeper still leads to the volume, and so does a new one.
    world.apply(stop(&keeper)).await;
    assert_eq!(read().await, Some(want.clone()));
    world.apply(remove(&keeper)).await;
    assert_eq!(read().await, None);
    world.keeper().await;
    assert_eq!(read().await, Some(want));
}

#[tokio::test]
#[ignore = "engine"]
async fn a_store_at_an_unusual_gateway_is_found() {
    let world = World::new().await;
    world.apply(world.create_store()).await;
    let name = names::gateway(&world.stack, 7);
    let role = shopctl::state::observed::Role::Gateway;
    world
        .apply(world.create_helper(&name, role, &[], &[]))
        .await;
    write(&world, "a", "1").await.unwrap();
    assert_eq!(
        world.docker.read(&world.stack).await.unwrap(),
        Some(record("a", "1"))
    );
    assert!(world.observe().await.store.is_some());
}

/// A keeper goes when a gateway comes, in the middle of a run.
#[tokio::test]
#[ignore = "engine"]
async fn records_go_on_with_whoever_holds_the_store() {
    let world = World::new().await;
    let keeper = world.keeper().await;
    write(&world, "a", "1").await.unwrap();
    let gateway = names::gateway(&world.stack, 1);
    let role = shopctl::state::observed::Role::Gateway;
    world
        .apply(world.create_helper(&gateway, role, &[], &[]))
        .await;
    world.apply(stop(&keeper)).await;
    world.apply(remove(&keeper)).await;
    write(&world, "b", "2").await.unwrap();
    let mut want = record("a", "1");
    want.extend(record("b", "2"));
    assert_eq!(world.docker.read(&world.stack).await.unwrap(), Some(want));
}
