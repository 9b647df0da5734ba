//! Bodies pass as they come. Each step waits for the one before, so a gateway
//! that collects anything would stand still.

use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::Rig;
use crate::support::SOON;
use crate::support::client::Client;
use crate::support::client::full;
use crate::support::client::request;
use crate::support::replica::Replica;
use crate::support::until;

async fn next(body: &mut Incoming) -> Bytes {
    let frame = timeout(SOON, body.frame()).await.expect("soon");
    let frame = frame.expect("not the end").expect("no error");
    frame.into_data().expect("data")
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let mut client = Client::connect(rig.http()).await;
    let response = client.send(request("GET", "/events", full(""))).await;
    // The head arrives before there is any event.
    let response = response.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    for number in 0..20 {
        replica.seen.permits.add_permits(1);
        assert_eq!(next(&mut body).await, format!("data: {number}\n\n"));
    }
    assert_eq!(rig.stats().await.services["order"].in_flight, 1);
    // The client leaves: the gateway leaves too.
    drop((client, body));
    assert_eq!(rig.control.drain(&replica.host(), SOON).await, 0);
}

#[tokio::test]
async fn an_upload_and_its_answer_pass_piece_by_piece() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let (pieces, receiver) = mpsc::unbounded_channel::<Bytes>();
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((Ok(Frame::data(piece)), receiver))
    });
    let body = StreamBody::new(stream.boxed()).boxed_unsync();
    let mut client = Client::connect(rig.http()).await;
    let sending = client.send(request("POST", "/echo", body));
    let talking = async {
        pieces.send(Bytes::from("one")).expect("sent");
        until("the first piece is there", async || {
            replica.seen.uploaded.load(SeqCst) == 3
        })
        .await;
    };
    let (response, ()) = tokio::join!(sending, talking);
    let mut body = response.expect("an answer").into_body();
    assert_eq!(next(&mut body).await, "one");
    for piece in ["two", "three"] {
        pieces.send(Bytes::from(piece)).expect("sent");
        assert_eq!(next(&mut body).await, piece);
    }
    drop(pieces);
    let end = timeout(SOON, body.frame()).await.expect("soon");
    assert!(end.is_none());
}
