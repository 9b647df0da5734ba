//! Names, addresses, ejection.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shop_gateway::Resolve;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::support::Rig;
use crate::support::client::Client;
use crate::support::client::get;
use crate::support::replica::Replica;
use crate::support::replica::free_host;
use crate::support::until;

/// One name whose address can be changed.
#[derive(Clone)]
struct Moving {
    address: Arc<Mutex<String>>,
    asked: Arc<AtomicU64>,
}

impl Resolve for Moving {
    fn resolve(&self, _host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, SeqCst);
        let address = self.address.lock().expect("not poisoned").parse();
        async move { Ok(vec![address.map_err(io::Error::other)?]) }.boxed()
    }
}

/// A gateway that knows a replica by a name that can move.
async fn moving(replica: &Replica) -> (Moving, Rig) {
    let resolver = Moving {
        address: Arc::new(Mutex::new(replica.host())),
        asked: Arc::default(),
    };
    let mut rig = Rig::with(|options| options.resolver = Arc::new(resolver.clone()));
    rig.route(&["replica".to_owned()]).await;
    (resolver, rig)
}

/// The old address still answers, for somebody else: only the name tells.
#[tokio::test]
async fn pooled_connections_are_dropped_when_the_address_changes() {
    let (old, new) = (Replica::start().await, Replica::start().await);
    let (resolver, rig) = moving(&old).await;
    let mut client = Client::connect(rig.http()).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.expect("an answer").text(), old.host());
    }
    assert_eq!(old.connections(), 1);
    *resolver.address.lock().expect("not poisoned") = new.host();
    let moved = Instant::now();
    // Busy all the time, so that the connection does not end for being idle.
    while client.get("/").await.expect("an answer").text() == old.host() {
        assert!(moved.elapsed() < Duration::from_secs(4), "it stayed");
        sleep(Duration::from_millis(5)).await;
    }
    let after = old.requests();
    for _ in 0..100 {
        assert_eq!(client.get("/").await.expect("an answer").text(), new.host());
    }
    assert_eq!(old.requests(), after);
}

/// What the engine does when a container is taken off its network: nothing ends, and
/// nothing answers any more.
#[tokio::test]
async fn pooled_connections_are_not_used_when_the_name_is_gone() {
    let replica = Replica::start().await;
    let (resolver, rig) = moving(&replica).await;
    let mut client = Client::connect(rig.http()).await;
    assert_eq!(client.get("/").await.expect("an answer").status, 200);
    "nowhere".clone_into(&mut resolver.address.lock().expect("not poisoned"));
    let gone = Instant::now();
    // Busy all the time, so that the connection does not end for being idle.
    while client.get("/").await.expect("an answer").status == 200 {
        assert!(gone.elapsed() < Duration::from_secs(4), "it is still used");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(replica.connections(), 1);
}

/// An engine that died takes its name server along; its containers live on.
#[tokio::test]
async fn while_no_name_server_answers_the_last_answer_holds() {
    outlives_its_name_server(false).await;
}

#[tokio::test]
async fn while_there_is_no_name_server_the_last_answer_holds() {
    outlives_its_name_server(true).await;
}

async fn outlives_its_name_server(refuses: bool) {
    let replica = Replica::start().await;
    let resolver = Mortal {
        address: replica.host(),
        refuses,
        dead: Arc::default(),
        asked: Arc::default(),
    };
    let mut rig = Rig::with(|options| options.resolver = Arc::new(resolver.clone()));
    rig.route(&["replica".to_owned()]).await;
    assert_eq!(get(rig.http(), "/").await.text(), replica.host());
    resolver.dead.store(true, SeqCst);
    assert_eq!(get(rig.http(), "/").await.text(), replica.host());
    // So many connections at once that each thread has to make new ones.
    let before = resolver.asked.load(SeqCst);
    let requests = (0..50).map(|_| get(rig.http(), "/slow/20"));
    let answers = futures_util::future::join_all(requests).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert!(replica.connections() > 10, "{}", replica.connections());
    let asked = resolver.asked.load(SeqCst) - before;
    assert!(asked <= 4, "{asked} questions to nobody");
}

/// Answers until it is dead, and then not at all.
#[derive(Clone)]
struct Mortal {
    address: String,
    refuses: bool,
    dead: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Resolve for Mortal {
    fn resolve(&self, _host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, SeqCst);
        if self.dead.load(SeqCst) && self.refuses {
            return async { Err(io::ErrorKind::ConnectionRefused.into()) }.boxed();
        }
        if self.dead.load(SeqCst) {
            return std::future::pending().boxed();
        }
        let address = self.address.parse();
        async move { Ok(vec![address.map_err(io::Error::other)?]) }.boxed()
    }
}

#[tokio::test]
async fn each_new_connection_asks_for_the_address_anew() {
    let (old, new) = (Replica::start().await, Replica::start().await);
    let (resolver, rig) = moving(&old).await;
    let mut client = Client::connect(rig.http()).await;
    assert_eq!(client.get("/").await.expect("an answer").text(), old.host());
    *resolver.address.lock().expect("not poisoned") = new.host();
    let host = old.host();
    old.kill().await;
    // The old one is gone, and with it its connection.
    until("the connection is gone", async || {
        client.get("/").await.expect("an answer").text() != host
    })
    .await;
    assert_eq!(client.get("/").await.expect("an answer").text(), new.host());
}

#[tokio::test]
async fn a_name_nobody_uses_is_not_asked_for() {
    let replica = Replica::start().await;
    let (resolver, rig) = moving(&replica).await;
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(resolver.asked.load(SeqCst), 0);
    assert_eq!(get(rig.http(), "/").await.status, 200);
    assert!(resolver.asked.load(SeqCst) >= 1);
}

#[tokio::test]
async fn a_target_that_cannot_be_reached_is_left_out_until_it_can() {
    let mut rig = Rig::start();
    let replica = Replica::start().await;
    let late = free_host();
    rig.route(&[replica.host(), late.clone()]).await;
    let ejected = async |rig: &Rig| {
        let stats = rig.stats().await;
        stats.services["order"].targets[&format!("i-{late}")].clone()
    };
    until("it is left out", async || {
        assert_eq!(get(rig.http(), "/").await.status, 200);
        ejected(&rig).await.ejected
    })
    .await;
    let errors = ejected(&rig).await.errors;
    for _ in 0..100 {
        assert_eq!(get(rig.http(), "/").await.text(), replica.host());
    }
    let seen = ejected(&rig).await;
    assert_eq!((seen.errors, seen.ejected), (errors, true));
    let late = Replica::start_at(&late).await;
    until("it is back", async || {
        assert_eq!(get(rig.http(), "/").await.status, 200);
        late.requests() > 0
    })
    .await;
}

#[tokio::test]
async fn the_last_target_is_not_left_out() {
    let mut rig = Rig::start();
    let host = free_host();
    rig.route(std::slice::from_ref(&host)).await;
    for _ in 0..3 {
        assert_eq!(get(rig.http(), "/").await.status, 502);
    }
    let _replica = Replica::start_at(&host).await;
    assert_eq!(get(rig.http(), "/").await.status, 200);
}
