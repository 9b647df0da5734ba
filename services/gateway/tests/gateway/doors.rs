//! Requests between services: which network one comes from decides what it may ask for.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use shop_gateway::protocol::Config;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::Rig;
use crate::support::SOON;
use crate::support::replica::PORT;
use crate::support::replica::Replica;
use crate::support::until;

/// The gateway's own addresses in two networks.
const FRONT: &str = "127.0.71.1";
const BACK: &str = "127.0.71.2";

/// `order` is in the front network, `goods` in the back, `user` in both; all at one port.
fn config(generation: u64, port: u16, [order, goods, user]: [&str; 3]) -> Config {
    let route = |host: &str| json!({"host": host, "service": host, "port": PORT});
    let service = |host: &str| json!({"targets": [{"id": format!("i-{host}"), "host": host}]});
    serde_json::from_value(json!({
        "version": 1, "lock": 1, "generation": generation,
        "listeners": [
            {"id": "net/front/1", "protocol": "http", "port": port, "bind": FRONT,
             "routes": [route("order"), route("user")]},
            {"id": "net/back/1", "protocol": "http", "port": port, "bind": BACK,
             "routes": [route("goods"), route("user")]},
        ],
        "services": {"order": service(order), "goods": service(goods), "user": service(user)},
    }))
    .expect("a configuration")
}

/// A port that nothing listens on at any of the addresses.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    listener.local_addr().expect("bound").port()
}

/// The status of an answer; none where the connection is closed without one, or refused.
async fn ask(address: &str, port: u16, host: &str) -> Option<u16> {
    let at: SocketAddr = format!("{address}:{port}").parse().expect("an address");
    let ask = async {
        let mut stream = TcpStream::connect(at).await.ok()?;
        let request = format!("GET /name HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.split_whitespace().nth(1)?.parse().ok()
    };
    timeout(SOON, ask).await.expect("an end")
}

#[tokio::test]
async fn a_request_reaches_the_services_of_the_network_it_comes_from_by_their_names() {
    let rig = Rig::with(|options| options.doors = true);
    let replicas = Replica::start_many(3).await;
    let hosts: Vec<String> = replicas.iter().map(Replica::host).collect();
    let [order, goods, user] = [&*hosts[0], &*hosts[1], &*hosts[2]];
    let port = free_port().await;
    let config = config(1, port, [order, goods, user]);
    rig.control.apply(&config).await.expect("applied");
    let mut seen = Vec::new();
    for (address, host) in [
        (FRONT, "order"),
        (FRONT, "USER:80"),
        (BACK, "goods"),
        (BACK, "user"),
    ] {
        assert_eq!(ask(address, port, host).await, Some(200), "{host}");
        seen.push(replicas.iter().map(Replica::requests).collect::<Vec<_>>());
    }
    assert_eq!(seen, [[1, 0, 0], [1, 0, 1], [1, 1, 1], [1, 1, 2]]);
    // Not what is in the other network, nor what nobody is called.
    for (address, host) in [(FRONT, "goods"), (BACK, "order"), (FRONT, "nobody")] {
        assert_eq!(ask(address, port, host).await, Some(404), "{host}");
    }
    // An address that belongs to no network gets nothing at all.
    assert_eq!(ask("127.0.71.3", port, "order").await, None);
    let requests: Vec<u64> = replicas.iter().map(Replica::requests).collect();
    assert_eq!(requests, [1, 1, 2]);
}

#[tokio::test]
async fn a_door_closes_with_the_last_listener_of_its_port() {
    let rig = Rig::with(|options| options.doors = true);
    let replica = Replica::start().await;
    let host = replica.host();
    let (first, second) = (free_port().await, free_port().await);
    let to = |generation, port| config(generation, port, [&*host, &*host, &*host]);
    rig.control.apply(&to(1, first)).await.expect("applied");
    assert_eq!(ask(FRONT, first, "order").await, Some(200));
    rig.control.apply(&to(2, second)).await.expect("applied");
    assert_eq!(ask(FRONT, second, "order").await, Some(200));
    until("the first is closed", async || {
        TcpStream::connect((FRONT, first)).await.is_err()
    })
    .await;
    // And is found again after a restart.
    let store = rig.end().await;
    let rig = Rig::on(store, |options| options.doors = true);
    assert_eq!(ask(BACK, second, "goods").await, Some(200));
    drop(rig);
}

#[tokio::test]
async fn a_gateway_of_published_ports_opens_no_door() {
    let rig = Rig::start();
    let replica = Replica::start().await;
    let host = replica.host();
    let port = free_port().await;
    let config = config(1, port, [&*host, &*host, &*host]);
    rig.control.apply(&config).await.expect("applied");
    assert!(TcpStream::connect((FRONT, port)).await.is_err());
}

#[tokio::test]
async fn a_port_that_cannot_be_had_changes_nothing() {
    let rig = Rig::with(|options| options.doors = true);
    let taken = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let replica = Replica::start().await;
    let host = replica.host();
    let config = config(1, port, [&*host, &*host, &*host]);
    let fault = rig.control.apply(&config).await.expect_err("in use");
    assert!(fault.message.contains(&port.to_string()), "{fault}");
    assert_eq!(rig.stats().await.generation, 0);
}

#[tokio::test]
async fn open_doors_do_not_hold_up_the_end() {
    let rig = Rig::with(|options| {
        options.doors = true;
        options.grace = SOON;
    });
    let replica = Replica::start().await;
    let host = replica.host();
    let port = free_port().await;
    let config = config(1, port, [&*host, &*host, &*host]);
    rig.control.apply(&config).await.expect("applied");
    assert_eq!(ask(FRONT, port, "order").await, Some(200));
    let ended = timeout(Duration::from_secs(5), rig.end()).await;
    assert!(ended.is_ok(), "nothing is open any more");
}
