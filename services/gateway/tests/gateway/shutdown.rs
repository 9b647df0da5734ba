//! The end of a gateway: what is under way may end.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::Rig;
use crate::support::client::Client;
use crate::support::client::Got;
use crate::support::client::full;
use crate::support::client::request;
use crate::support::replica::Replica;
use crate::support::until;

#[tokio::test]
async fn requests_under_way_are_answered_and_new_connections_refused() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let port = rig.http();
    let mut idle = Client::connect(port).await;
    idle.get("/").await.expect("an answer");
    let mut busy = Client::connect(port).await;
    let answer = tokio::spawn(async move {
        let response = busy.send(request("GET", "/held", full(""))).await?;
        Got::read(response).await
    });
    until("it is under way", async || replica.requests() == 2).await;
    let ending = tokio::spawn(rig.end());
    until("the port is closed", async || {
        TcpStream::connect(("127.0.0.1", port)).await.is_err()
    })
    .await;
    assert!(!ending.is_finished(), "it waits for the request");
    assert!(idle.get("/").await.is_err(), "idle connections are closed");
    replica.seen.permits.add_permits(1);
    let got = answer.await.expect("joined").expect("an answer");
    assert_eq!(got.status, 200);
    assert_eq!(got.headers["connection"], "close");
    ending.await.expect("joined");
}

#[tokio::test]
async fn after_the_grace_period_it_ends_anyway() {
    let mut rig = Rig::with(|options| options.grace = Duration::from_millis(200));
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let mut client = Client::connect(rig.http()).await;
    let answer = tokio::spawn(async move { client.get("/held").await });
    until("it is under way", async || replica.requests() == 1).await;
    let started = Instant::now();
    rig.end().await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(answer.await.expect("joined").is_err());
}
