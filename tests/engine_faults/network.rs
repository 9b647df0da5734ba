//! Replicas and gateways that fall silent while they serve.

use crate::GOOD;
use crate::Revision;
use crate::Shop;
use crate::kill;
use crate::support::block_on;
use crate::support::cable::Cable;
use crate::support::client::Client;
use crate::support::docker;
use crate::support::eventually;
use crate::support::get;
use crate::unhurt;
use std::process::Child;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "the number of errors is a finding")]
fn a_replica_that_is_cut_off_is_left_out_within_a_second() {
    let shop = Shop::serving(Revision {
        replicas: 2,
        ..GOOD
    });
    let mut client = Client::start(shop.port);
    std::thread::sleep(Duration::from_millis(500));
    unhurt(&mut client);
    let victim = shop.stack.replicas("web").remove(0);
    let network = format!("{}_default", shop.stack.name);
    block_on(async {
        let request = bollard::models::NetworkDisconnectRequest {
            container: victim.clone(),
            force: Some(true),
        };
        docker()
            .disconnect_network(&network, request)
            .await
            .expect("it is connected");
    });
    // Found out by a health check each second, or by the first connection refused.
    std::thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    let mut slowest = Duration::ZERO;
    while asked.elapsed() < Duration::from_secs(3) {
        let one = Instant::now();
        let (status, page) = get(shop.port, "/").expect("it serves");
        assert_eq!(status, 200, "{page}");
        slowest = slowest.max(one.elapsed());
    }
    // Requests that were on their way have the client's own patience, 10 s.
    std::thread::sleep(Duration::from_secs(8));
    let first = client.seen();
    println!(
        "{} failures of {}: {:?}; the slowest after a second: {slowest:?}",
        first.failures.len(),
        first.asked,
        first.failures
    );
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // Each thread of the customer had one request on its way to it at most.
    assert!(first.failures.len() <= 2, "{:?}", first.failures);
    std::thread::sleep(Duration::from_millis(500));
    unhurt(&mut client);
}

/// It accepts connections and never answers; nothing but a health check finds that out.
#[test]
#[ignore = "engine"]
fn a_replica_that_hangs_is_left_out_and_taken_back() {
    let shop = Shop::serving(Revision {
        replicas: 2,
        ..GOOD
    });
    let victim = shop.stack.replicas("web").remove(0);
    block_on(async { docker().pause_container(&victim).await }).expect("it runs");
    // Out once it has failed three checks, one each second.
    eventually(Duration::from_secs(20), "the gateway leaves it out", || {
        let status = shop.stack.ok(&["status", "-o", "json"]).json();
        let text = status.to_string();
        text.contains("paused").then_some(())
    });
    let quick = || {
        let started = std::time::Instant::now();
        let answered = get(shop.port, "/").is_ok_and(|(status, _)| status == 200);
        answered && started.elapsed() < Duration::from_secs(2)
    };
    eventually(
        Duration::from_mins(1),
        "all requests are answered soon",
        || (0..20).all(|_| quick()).then_some(()),
    );
    block_on(async { docker().unpause_container(&victim).await }).expect("it is paused");
    eventually(Duration::from_secs(20), "it serves again", || {
        let (_, page) = get(shop.port, "/").ok()?;
        let id = shop.stack.inspect(&victim).id?;
        page.contains(&id[..12]).then_some(())
    });
}

#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "the gap is a finding")]
fn a_gateway_killed_in_the_middle_of_a_deploy_comes_back_with_its_routes() {
    let shop = Shop::serving(GOOD);
    let mut run = shop.begin(Revision {
        environment: "VERSION: \"2\", READY_AFTER_MS: \"2000\"",
        ..GOOD
    });
    let gateway = format!("{}-gateway-1", shop.stack.name);
    let process = shop
        .stack
        .inspect(&gateway)
        .state
        .and_then(|state| state.pid);
    // Not through the engine, which would take that for the user's wish.
    kill("-KILL", process.expect("it runs"));
    let killed = Instant::now();
    eventually(Duration::from_secs(10), "the gateway is back", || {
        matches!(get(shop.port, "/"), Ok((200, _))).then_some(())
    });
    // The engine waits 100 ms before it starts a container again.
    println!("the gateway was away for {:?}", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(3), "a short gap");
    let ended = run.wait().expect("it ends");
    assert_eq!(
        ended.code(),
        Some(0),
        "it waits for the gateway and goes on"
    );
    shop.converges();
    assert!(get(shop.port, "/").expect("it serves").1.starts_with("2 "));
}

/// A deploy whose way to the engine can be cut.
fn deploy_over(cable: &Cable, shop: &Shop) -> Child {
    shop.stack
        .command(&["deploy", "--progress", "none"])
        .env("DOCKER_HOST", cable.host())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("shopctl starts")
}

/// The same at the worst moment: the lock is made, and nobody knows whether it is held.
#[test]
#[ignore = "engine"]
fn a_run_that_is_cut_off_while_it_takes_the_lock_ends_and_changes_nothing() {
    let shop = Shop::serving(GOOD);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cable = runtime.block_on(Cable::lay());
    let before = shop.stack.replicas("web");
    shop.write(Revision {
        environment: "VERSION: \"2\"",
        ..GOOD
    });
    let mut cut = deploy_over(&cable, &shop);
    eventually(Duration::from_secs(30), "the lock", || {
        let mut all = shop.stack.all_containers().into_iter();
        all.find(|name| name.ends_with("-lock"))
    });
    cable.cut();
    // Half a minute for the lock, one for a look, one of patience.
    let ended = eventually(Duration::from_mins(4), "the run ends", || {
        cut.try_wait().expect("it was started")
    });
    assert!(matches!(ended.code(), Some(30 | 60)), "{ended}");
    assert_eq!(shop.stack.replicas("web"), before);
    shop.stack.ok(&["deploy", "--lock-wait", "40s"]);
    shop.converges();
}

/// As on a laptop that loses its network: nothing is refused, nothing comes back.
#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "how it ended is a finding")]
fn a_run_that_is_cut_off_from_the_engine_ends_and_another_finishes_its_work() {
    let shop = Shop::serving(GOOD);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cable = runtime.block_on(Cable::lay());
    let before = shop.stack.replicas("web");
    let mut client = Client::start(shop.port);
    shop.write(Revision {
        environment: "VERSION: \"2\", READY_AFTER_MS: \"1500\"",
        ..GOOD
    });
    let mut cut = deploy_over(&cable, &shop);
    eventually(Duration::from_secs(30), "a new replica", || {
        let now = shop.stack.replicas("web");
        now.iter().any(|name| !before.contains(name)).then_some(())
    });
    cable.cut();
    let cut_off = Instant::now();
    // The lock falls silent, and frees itself.
    shop.stack.ok(&["deploy", "--lock-wait", "40s"]);
    shop.converges();
    assert!(get(shop.port, "/").expect("it serves").1.starts_with("2 "));
    // A lock that was still being started, and a look, have half a minute and one of their own.
    let ended = eventually(Duration::from_mins(4), "the run ends", || {
        cut.try_wait().expect("it was started")
    });
    let mut words = String::new();
    let mut pipe = cut.stderr.take().expect("a pipe");
    std::io::Read::read_to_string(&mut pipe, &mut words).expect("words");
    println!("ended with {ended} after {:?}: {words}", cut_off.elapsed());
    assert!(matches!(ended.code(), Some(30 | 60)), "{ended}: {words}");
    unhurt(&mut client);
    shop.stack.ok(&["plan", "--check"]);
}
