//! What shopctl asks of a running gateway.

use serde_json::json;
use shop_gateway::Gateway;
use shop_gateway::RunOptions;
use shop_gateway::protocol::Answer;
use shop_gateway::protocol::FaultKind;
use shop_gateway::protocol::Hello;
use shop_gateway::protocol::Op;
use shop_gateway::protocol::Stats;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::time::Instant;

use crate::support::Rig;
use crate::support::SOON;
use crate::support::client::Client;
use crate::support::config;
use crate::support::replica::Replica;
use crate::support::replica::free_host;
use crate::support::replica::hosts;
use crate::support::until;

#[tokio::test]
async fn hello_says_who_is_there_and_what_is_in_force() {
    let mut rig = Rig::start();
    let hello: Hello = rig.control.ask(Op::Hello).await.expect("hello");
    assert_eq!(hello.name, rig.control.0);
    assert_eq!((hello.protocol, hello.lock, hello.generation), (1, 0, 0));
    assert_eq!(hello.listens, rig.gateway.listens());
    rig.route(&[]).await;
    let hello: Hello = rig.control.ask(Op::Hello).await.expect("hello");
    assert_eq!((hello.lock, hello.generation), (1, 1));
}

#[tokio::test]
async fn only_a_newer_configuration_or_the_same_is_taken() {
    let rig = Rig::start();
    let hosts = [free_host()];
    let apply = async |lock, generation, hosts: &[String]| {
        let applied = rig.control.apply(&config(lock, generation, hosts)).await;
        applied
            .map(|applied| applied.generation)
            .map_err(|fault| fault.kind)
    };
    assert_eq!(apply(5, 2, &hosts).await, Ok(2));
    assert_eq!(apply(5, 2, &hosts).await, Ok(2));
    assert_eq!(apply(5, 2, &[]).await, Err(FaultKind::Stale));
    assert_eq!(apply(5, 1, &[]).await, Err(FaultKind::Stale));
    // A run that lost its lock counts on, and is refused all the same.
    assert_eq!(apply(4, 99, &[]).await, Err(FaultKind::Stale));
    assert_eq!(apply(6, 1, &[]).await, Ok(1));
    let hello: Hello = rig.control.ask(Op::Hello).await.expect("hello");
    assert_eq!((hello.lock, hello.generation), (6, 1));
}

#[tokio::test]
async fn what_makes_no_sense_changes_nothing() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let mut wrong = config(1, 2, &[]);
    wrong.services.clear();
    let fault = rig
        .control
        .apply(&wrong)
        .await
        .expect_err("no such service");
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert!(fault.message.contains("`order`"), "{fault}");
    let got = crate::support::client::get(rig.http(), "/").await;
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_persisted_is_not_in_force() {
    let mut rig = Rig::start();
    rig.route(&[]).await;
    let path = rig.store.path().join("routes.json");
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("a folder in its place");
    let fault = rig.control.apply(&config(1, 2, &[])).await;
    assert_eq!(fault.expect_err("refused").kind, FaultKind::Internal);
    assert_eq!(rig.stats().await.generation, 1);
}

#[tokio::test]
async fn drain_of_an_unknown_target_is_done() {
    let rig = Rig::start();
    assert_eq!(rig.control.drain("nobody", SOON).await, 0);
}

#[tokio::test]
async fn a_waiting_request_holds_up_no_other_and_can_be_cancelled() {
    let rig = Rig::start();
    let stream = rig.control.connect().expect("connected");
    let mut stream = BufReader::new(stream);
    let host = free_host();
    let lines = format!(
        "{}\n{}\n",
        json!({"id": 1, "op": "probe", "target": host, "port": 1, "deadline_ms": 3_600_000}),
        json!({"id": 2, "op": "hello"}),
    );
    stream.write_all(lines.as_bytes()).await.expect("sent");
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("an answer");
    let answer: Answer = serde_json::from_str(&line).expect("an answer");
    assert_eq!(answer.id, 2);
    let cancel = json!({"id": 3, "op": "cancel", "request": 1}).to_string() + "\n";
    stream.write_all(cancel.as_bytes()).await.expect("sent");
    let mut kinds = Vec::new();
    for _ in 0..2 {
        line.clear();
        stream.read_line(&mut line).await.expect("an answer");
        let answer: serde_json::Value = serde_json::from_str(&line).expect("an answer");
        kinds.push((answer["id"].as_u64(), answer["error"]["kind"].clone()));
    }
    kinds.sort_by_key(|(id, _)| *id);
    assert_eq!(
        kinds,
        [(Some(1), json!("cancelled")), (Some(3), json!(null))]
    );
}

#[tokio::test]
async fn a_name_is_for_one_gateway() {
    let rig = Rig::start();
    let options = RunOptions::new(&rig.control.0, rig.store.path());
    assert!(Gateway::start(options).is_err());
    for name in ["", "a/b", ".hidden", "two words"] {
        assert!(Gateway::start(RunOptions::new(name, rig.store.path())).is_err());
    }
}

#[tokio::test]
async fn the_statistics_tell_what_went_through() {
    let mut rig = Rig::start();
    let replicas = Replica::start_many(2).await;
    rig.route(&hosts(&replicas)).await;
    let mut client = Client::connect(rig.http()).await;
    for path in ["/", "/slow/30", "/status/404", "/status/500", "/status/503"] {
        client.get(path).await.expect("an answer");
    }
    let held = crate::support::client::request("GET", "/held", crate::support::client::full(""));
    let mut other = Client::connect(rig.http()).await;
    let holding = tokio::spawn(async move { other.send(held).await });
    until("one is held", async || {
        rig.stats().await.services["order"].in_flight == 1
    })
    .await;
    let stats = rig.stats().await;
    assert_eq!((stats.lock, stats.generation), (1, 1));
    assert_eq!(stats.name, rig.control.0);
    let order = &stats.services["order"];
    assert_eq!(
        (order.requests, order.errors_5xx, order.in_flight),
        (6, 2, 1)
    );
    assert!(order.rps > 0.0 && order.rps <= 6.0, "{}", order.rps);
    let latency = order.latency_ms.as_ref().expect("some");
    assert!(latency.p50 < 30.0 && latency.p99 >= 30.0, "{latency:?}");
    assert_eq!(order.targets.len(), 2);
    let requests = order.targets.values().map(|target| target.requests);
    assert_eq!(requests.sum::<u64>(), 6);
    for replica in &replicas {
        replica.seen.permits.add_permits(1);
    }
    assert!(holding.await.expect("joined").is_ok());
}

#[tokio::test]
async fn the_statistics_file_is_rewritten_each_second() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    crate::support::client::get(rig.http(), "/").await;
    let path = rig
        .store
        .path()
        .join("stats")
        .join(format!("{}.json", rig.control.0));
    let read = || {
        let text = std::fs::read_to_string(&path).ok()?;
        Some(serde_json::from_str::<Stats>(&text).expect("never torn"))
    };
    until("the request is in the file", async || {
        read().is_some_and(|stats| {
            stats
                .services
                .get("order")
                .is_some_and(|order| order.requests == 1)
        })
    })
    .await;
    let first = read().expect("it is there").at_ms;
    let started = Instant::now();
    until("it is rewritten twice", async || {
        read().is_some_and(|stats| stats.at_ms >= first + 1500)
    })
    .await;
    assert!(started.elapsed().as_secs() < 5);
}
