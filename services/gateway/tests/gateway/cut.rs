//! What is still open at the drain deadline is ended by the gateway, each in the words
//! of its own protocol.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::Rig;
use crate::support::SOON;
use crate::support::client::Client;
use crate::support::client::full;
use crate::support::client::get;
use crate::support::client::request;
use crate::support::replica::Replica;
use crate::support::until;
use crate::upgrade::upgrade_to;

const SHORT: Duration = Duration::from_millis(50);

async fn routed() -> (Rig, Replica) {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    (rig, replica)
}

/// Takes the replica out of rotation; at the deadline so many were under way, and a
/// moment later none is.
async fn drain(rig: &mut Rig, replica: &Replica, left: u64) {
    rig.route(&[]).await;
    assert_eq!(rig.control.drain(&replica.host(), SHORT).await, left);
    assert_eq!(rig.control.drain(&replica.host(), SHORT).await, 0);
}

/// What still comes, up to the end.
async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut rest)).await;
    read.expect("it ends soon").expect("it ends well");
    rest
}

#[tokio::test]
async fn a_request_without_an_answer_gets_504() {
    let (mut rig, replica) = routed().await;
    let port = rig.http();
    let asked = tokio::spawn(async move { get(port, "/held").await });
    until("it is under way", async || replica.requests() == 1).await;
    drain(&mut rig, &replica, 1).await;
    let got = asked.await.expect("joined");
    assert_eq!(got.status, 504);
    assert_eq!(got.headers["content-type"], "application/problem+json");
    assert_eq!(got.json()["type"], "urn:shop:problem:drained");
}

#[tokio::test]
async fn events_end_and_a_half_answer_is_known_for_one() {
    let (mut rig, replica) = routed().await;
    let mut client = Client::connect(rig.http()).await;
    let response = client.send(request("GET", "/events", full(""))).await;
    let mut events = response.expect("an answer").into_body();
    replica.seen.permits.add_permits(1);
    let first = events.frame().await.expect("an event").expect("whole");
    assert_eq!(first.into_data().expect("data"), "data: 0\n\n");
    let mut other = Client::connect(rig.http()).await;
    // What is sent comes back, so the answer is under way as long as the question.
    let half = futures_util::stream::iter([Ok(Frame::data(Bytes::from("half")))]);
    let body = StreamBody::new(half.chain(futures_util::stream::pending()));
    let asked = request("POST", "/echo", body.boxed_unsync());
    let response = other.send(asked).await.expect("an answer");
    let mut echo = response.into_body();
    let half = echo.frame().await.expect("a part").expect("whole");
    assert_eq!(half.into_data().expect("data"), "half");
    drain(&mut rig, &replica, 2).await;
    let end = timeout(SOON, events.frame()).await.expect("it ends soon");
    assert!(end.is_none(), "{end:?}");
    let end = timeout(SOON, echo.frame()).await.expect("it ends soon");
    assert!(matches!(end, Some(Err(_))), "{end:?}");
}

#[tokio::test]
async fn a_websocket_is_told_that_its_replica_goes_away() {
    let (mut rig, replica) = routed().await;
    let mut stream = upgrade_to(&rig, "websocket").await;
    let frame = b"\x82\x03ABC";
    stream.write_all(frame).await.expect("sent");
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.expect("an answer");
    assert_eq!(&back, frame);
    drain(&mut rig, &replica, 1).await;
    // A close frame with the code 1001, going away.
    assert_eq!(rest(&mut stream).await, b"\x88\x02\x03\xe9");
}

#[tokio::test]
async fn a_websocket_in_the_middle_of_a_frame_gets_no_frame_into_it() {
    let (mut rig, replica) = routed().await;
    let mut stream = upgrade_to(&rig, "WebSocket").await;
    stream.write_all(b"\x82\x05AB").await.expect("sent");
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.expect("an answer");
    drain(&mut rig, &replica, 1).await;
    assert_eq!(rest(&mut stream).await, b"");
}

#[tokio::test]
async fn other_conversations_are_closed() {
    let (mut rig, replica) = routed().await;
    let mut stream = upgrade_to(&rig, "shout").await;
    let mut plain = TcpStream::connect(("127.0.0.1", rig.tcp()))
        .await
        .expect("connected");
    plain.write_all(b"GET ").await.expect("sent");
    until("both are under way", async || {
        rig.stats().await.services["order"].in_flight == 2
    })
    .await;
    drain(&mut rig, &replica, 2).await;
    assert_eq!(rest(&mut stream).await, b"");
    assert_eq!(rest(&mut plain).await, b"");
}

#[tokio::test]
async fn who_comes_back_is_not_cut_again() {
    let (mut rig, replica) = routed().await;
    let port = rig.http();
    let asked = tokio::spawn(async move { get(port, "/held").await });
    until("it is under way", async || replica.requests() == 1).await;
    drain(&mut rig, &replica, 1).await;
    assert_eq!(asked.await.expect("joined").status, 504);
    rig.route(&[replica.host()]).await;
    assert_eq!(get(port, "/").await.status, 200);
    assert_eq!(get(port, "/slow/50").await.status, 200);
}
