//! HTTP requests and what becomes of them.

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::Rig;
use crate::support::client::Client;
use crate::support::client::Got;
use crate::support::client::full;
use crate::support::client::get;
use crate::support::client::request;
use crate::support::replica::PORT;
use crate::support::replica::Replica;
use crate::support::replica::free_host;
use crate::support::replica::hosts;
use crate::support::tally;

#[tokio::test]
async fn one_keep_alive_connection_spreads_over_all_replicas() {
    let mut rig = Rig::start();
    let replicas = Replica::start_many(3).await;
    rig.route(&hosts(&replicas)).await;
    let mut client = Client::connect(rig.http()).await;
    let mut answers = Vec::new();
    for _ in 0..600 {
        answers.push(client.get("/").await.expect("an answer").text());
    }
    let counts = tally(answers);
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(counts.values().all(|count| *count > 120), "{counts:?}");
    // One client connection lives on one thread, which keeps one connection each.
    let connections: Vec<u64> = replicas.iter().map(Replica::connections).collect();
    assert_eq!(connections, [1, 1, 1]);
}

#[tokio::test]
async fn the_replica_learns_who_asked_and_nothing_of_the_connection() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let mut client = Client::connect(rig.http()).await;
    let mut request = request("GET", "/request?a=b%20c", full(""));
    for (name, value) in [
        ("connection", "keep-alive, x-private"),
        ("x-private", "secret"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-host", "evil"),
        ("x-request-id", "abc-1"),
        ("accept", "*/*"),
    ] {
        request
            .headers_mut()
            .insert(name, value.parse().expect("a value"));
    }
    let got = Got::read(client.send(request).await.expect("an answer"))
        .await
        .expect("a body");
    assert_eq!(got.headers["x-request-id"], "abc-1");
    let mut seen = got.json();
    assert_eq!(seen["uri"], "/request?a=b%20c");
    let mut headers: Vec<(String, String)> =
        serde_json::from_value(seen["headers"].take()).expect("headers");
    headers.sort();
    let expected = [
        ("accept", "*/*"),
        ("host", "shop.local"),
        ("x-forwarded-for", "203.0.113.9, 127.0.0.1"),
        ("x-forwarded-host", "shop.local"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "abc-1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn status_and_body_come_back_as_the_replica_sent_them() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let mut client = Client::connect(rig.http()).await;
    for status in [200, 201, 404, 409, 500, 503] {
        let got = client.get(&format!("/status/{status}")).await;
        let got = got.expect("an answer");
        assert_eq!((got.status, got.text().as_str()), (status, "as you wish"));
        assert_eq!(got.headers["x-request-id"].len(), 32);
    }
    for status in [204, 304] {
        let got = client.get(&format!("/status/{status}")).await;
        let got = got.expect("an answer");
        assert_eq!((got.status, got.body.len()), (status, 0));
    }
    let head = request("HEAD", "/status/200", full(""));
    let got = Got::read(client.send(head).await.expect("an answer")).await;
    let got = got.expect("no body");
    assert_eq!((got.status, got.body.len()), (200, 0));
    assert_eq!(got.headers["content-length"], "11");
}

#[tokio::test]
async fn a_large_upload_arrives_whole() {
    const LENGTH: usize = 48 * 1024 * 1024;
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let mut client = Client::connect(rig.http()).await;
    let body = Bytes::from(vec![7; LENGTH]);
    let upload = request("POST", "/length", full(body.clone()));
    let got = Got::read(client.send(upload).await.expect("an answer")).await;
    assert_eq!(got.expect("a body").text(), LENGTH.to_string());
    let echo = request("POST", "/echo", full(body.clone()));
    let response = client.send(echo).await.expect("an answer");
    let back = response.into_body().collect().await.expect("a body");
    assert!(back.to_bytes() == body);
}

fn problem(slug: &str, title: &str, status: u16) -> Value {
    json!({"type": format!("urn:shop:problem:{slug}"), "title": title, "status": status})
}

fn assert_problem(got: &Got, expected: &Value) {
    assert_eq!(got.headers["content-type"], "application/problem+json");
    assert_eq!(got.headers["x-request-id"].len(), 32);
    assert_eq!(&got.json(), expected);
    assert_eq!(json!(got.status), expected["status"]);
}

#[tokio::test]
async fn the_gateways_own_answers_are_problem_details() {
    let mut rig = Rig::start();
    let no_route = problem("no-route", "No route for this host and path", 404);
    assert_problem(&get(rig.http(), "/").await, &no_route);
    rig.route(&[]).await;
    let got = get(rig.http(), "/").await;
    let title = "No replica of the service can take the request";
    assert_problem(&got, &problem("no-healthy-upstream", title, 503));
    assert_eq!(got.headers["retry-after"], "1");
    rig.route(&[free_host()]).await;
    let title = "The replica could not be reached or broke off";
    let bad_upstream = problem("bad-upstream", title, 502);
    assert_problem(&get(rig.http(), "/").await, &bad_upstream);
    let stats = rig.stats().await;
    let order = &stats.services["order"];
    assert_eq!((order.requests, order.errors_5xx), (2, 2));
}

#[tokio::test]
async fn host_and_path_choose_the_service() {
    let rig = Rig::start();
    let replicas = Replica::start_many(2).await;
    let target = |index: usize| {
        let host = replicas[index].host();
        json!({"targets": [{"id": host, "host": host}]})
    };
    let config = serde_json::from_value(json!({
        "version": 1, "lock": 1, "generation": 1,
        "listeners": [{"id": crate::support::HTTP, "protocol": "http", "routes": [
            {"path": "/api/goods", "service": "goods", "port": PORT},
            {"host": "shop.local", "path": "/api", "service": "order", "port": PORT},
        ]}],
        "services": {"order": target(0), "goods": target(1)},
    }))
    .expect("a configuration");
    rig.control.apply(&config).await.expect("applied");
    let mut answers = Vec::new();
    for path in ["/api", "/api/goods/7", "/api/goodsx", "/other"] {
        let got = get(rig.http(), path).await;
        answers.push((path, got.status, got.text()));
    }
    assert_eq!(answers[0].2, replicas[0].host());
    // A named host comes before the longer path of any host.
    assert_eq!(answers[1].2, replicas[0].host());
    assert_eq!(answers[2].2, replicas[0].host());
    assert_eq!(answers[3].1, 404);
    let mut other = request("GET", "/api/goods/7", full(""));
    other
        .headers_mut()
        .insert("host", "elsewhere:80".parse().expect("a host"));
    let mut client = Client::connect(rig.http()).await;
    let got = Got::read(client.send(other).await.expect("an answer")).await;
    assert_eq!(got.expect("a body").text(), replicas[1].host());
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served_and_the_connection_closed() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let mut stream = TcpStream::connect(("127.0.0.1", rig.http()))
        .await
        .expect("connected");
    stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(&replica.host()), "{answer}");
}

#[tokio::test]
async fn nonsense_gets_400_and_harms_nobody() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    rig.route(&[replica.host()]).await;
    let mut stream = TcpStream::connect(("127.0.0.1", rig.http()))
        .await
        .expect("connected");
    stream
        .write_all(b"\x16\x03\x01\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(get(rig.http(), "/").await.status, 200);
}
