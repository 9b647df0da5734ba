//! Other protocols on an HTTP connection, such as WebSocket.

use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::support::Rig;
use crate::support::SOON;
use crate::support::client::Client;
use crate::support::client::full;
use crate::support::client::request;
use crate::support::replica::Replica;

async fn upgrade(rig: &Rig) -> TokioIo<hyper::upgrade::Upgraded> {
    upgrade_to(rig, "shout").await
}

/// A conversation in another protocol, in which the replica says all in upper case.
pub(crate) async fn upgrade_to(rig: &Rig, protocol: &str) -> TokioIo<hyper::upgrade::Upgraded> {
    let mut client = Client::connect(rig.http()).await;
    let mut request = request("GET", "/upgrade", full(""));
    for (name, value) in [("connection", "keep-alive, Upgrade"), ("upgrade", protocol)] {
        request
            .headers_mut()
            .insert(name, value.parse().expect("a value"));
    }
    let mut response = client.send(request).await.expect("an answer");
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], protocol);
    assert_eq!(response.headers()["connection"], "upgrade");
    TokioIo::new(
        hyper::upgrade::on(&mut response)
            .await
            .expect("another protocol"),
    )
}

async fn say(stream: &mut TokioIo<hyper::upgrade::Upgraded>, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).await.expect("an answer");
    String::from_utf8(back).expect("text")
}

#[tokio::test]
async fn after_101_bytes_go_both_ways_and_count_as_in_flight() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let mut stream = upgrade(&rig).await;
    assert_eq!(say(&mut stream, "hello").await, "HELLO");
    assert_eq!(rig.stats().await.services["order"].in_flight, 1);
    // A switch leaves the conversation alone, and says that it goes on.
    let applied = rig.route(&[]).await;
    assert_eq!(applied.draining.len(), 1);
    assert_eq!(applied.draining[0].in_flight, 1);
    assert_eq!(say(&mut stream, "still there?").await, "STILL THERE?");
    stream.shutdown().await.expect("closed");
    assert_eq!(rig.control.drain(&replica.host(), SOON).await, 0);
}

#[tokio::test]
async fn when_the_replica_ends_so_does_the_conversation() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let mut stream = upgrade(&rig).await;
    assert_eq!(say(&mut stream, "x").await, "X");
    // The conversation has left the server's connection, so it is ended from here.
    stream.shutdown().await.expect("closed");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("an end");
    assert!(rest.is_empty());
    assert_eq!(rig.control.drain(&replica.host(), SOON).await, 0);
}
