//! A gateway survives its own end, and what may happen to its file.

use std::fs;

use shop_gateway::Event;

use crate::support::Rig;
use crate::support::client::get;
use crate::support::replica::Replica;

#[tokio::test]
async fn a_restart_restores_the_routes_without_anybody_to_tell() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let store = rig.end().await;
    let rig = Rig::on(store, |_| ());
    assert_eq!(get(rig.http(), "/").await.text(), replica.host());
    let stats = rig.stats().await;
    assert_eq!((stats.lock, stats.generation), (1, 1));
}

#[tokio::test]
async fn a_torn_file_gives_the_last_good_routes() {
    let mut rig = Rig::start();
    let replicas = Replica::start_many(2).await;
    rig.route(&[replicas[0].host()]).await;
    rig.route(&[replicas[1].host()]).await;
    let store = rig.end().await;
    let path = store.path().join("routes.json");
    let text = fs::read(&path).expect("the file");
    fs::write(&path, &text[..text.len() / 2]).expect("torn");
    let rig = Rig::on(store, |_| ());
    assert_eq!(get(rig.http(), "/").await.text(), replicas[0].host());
    let events = rig.events.lock().expect("not poisoned").clone();
    let told = |event: &Event| {
        matches!(
            event,
            Event::RoutesUnusable {
                instead: Some(1),
                ..
            }
        )
    };
    assert!(events.iter().any(told), "{events:?}");
}

#[tokio::test]
async fn with_nothing_usable_it_starts_without_routes_and_can_be_configured() {
    let store = tempfile::tempdir().expect("a folder");
    for name in ["routes.json", "routes.last.json"] {
        fs::write(store.path().join(name), "{\"checksum\":\"sha256:\0").expect("written");
    }
    let mut rig = Rig::on(store, |_| ());
    assert_eq!(get(rig.http(), "/").await.status, 404);
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    assert_eq!(get(rig.http(), "/").await.status, 200);
}

#[tokio::test]
async fn a_damaged_file_does_not_disturb_a_running_gateway() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    fs::write(rig.store.path().join("routes.json"), "nonsense").expect("written");
    assert_eq!(get(rig.http(), "/").await.status, 200);
    rig.route(&[replica.host()]).await;
    let store = rig.end().await;
    let rig = Rig::on(store, |_| ());
    assert_eq!(rig.stats().await.generation, 2);
}
