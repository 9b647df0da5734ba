//! What goes wrong on real machines, one fault at a time: what shopctl says of it, how
//! it ends, and that a customer who asks all the while notices nothing he should not.

mod support;

use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use support::Ran;
use support::TestStack;
use support::block_on;
use support::client::Client;
use support::docker;
use support::eventually;
use support::free_port;
use support::get;

/// A shop of one service behind the gateway.
struct Shop {
    stack: TestStack,
    port: u16,
}

/// What differs between two revisions of the service.
#[derive(Clone, Copy)]
struct Revision {
    /// Entries of the environment.
    environment: &'static str,
    /// How long readiness may take.
    timeout: &'static str,
    /// How long a replica is watched after it became ready.
    monitor: &'static str,
    /// What replaces the build.
    image: &'static str,
    /// How long it may take to stop.
    grace: &'static str,
    replicas: u32,
}

const GOOD: Revision = Revision {
    environment: "VERSION: \"1\"",
    timeout: "30s",
    monitor: "0s",
    image: "build: app",
    grace: "2s",
    replicas: 1,
};

impl Shop {
    /// A folder with a good revision; nothing is deployed.
    fn new() -> Self {
        let shop = Self {
            stack: TestStack::new(""),
            port: free_port(),
        };
        shop.write(GOOD);
        shop
    }

    /// With this revision deployed.
    fn serving(revision: Revision) -> Self {
        let shop = Self::new();
        shop.write(revision);
        shop.stack.ok(&["deploy", "--progress", "none"]);
        shop
    }

    fn write(&self, revision: Revision) {
        let Revision {
            environment,
            timeout,
            monitor,
            image,
            grace,
            replicas,
        } = revision;
        let file = format!(
            r#"
services:
  web:
    {image}
    environment: {{ {environment} }}
    restart: unless-stopped
    stop_grace_period: {grace}
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy:
      replicas: {replicas}
      resources: {{ limits: {{ memory: 24M }} }}
      update_config: {{ monitor: {monitor} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000, timeout: {timeout} }} }}
"#,
            port = self.port
        );
        self.stack.write("stack.yaml", &file);
    }

    /// Starts a deploy of this revision and waits until a new container is there.
    fn begin(&self, revision: Revision) -> Child {
        let before = self.stack.replicas("web");
        self.write(revision);
        let run = self.spawn(&["deploy", "--progress", "none"]);
        eventually(Duration::from_secs(30), "a new replica", || {
            let now = self.stack.replicas("web");
            now.iter().any(|name| !before.contains(name)).then_some(())
        });
        run
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        self.stack
            .command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("shopctl starts")
    }

    /// No run is left, and a deploy of what the file says ends with nothing to do.
    fn converges(&self) {
        self.stack.ok(&["deploy", "--lock-wait", "20s"]);
        let again = self.stack.ok(&["deploy", "-o", "json"]);
        assert!(again.stdout.contains("\"nothing_to_do\""), "{again}");
        assert_eq!(get(self.port, "/").expect("it serves").0, 200);
        let lock = format!("{}-lock", self.stack.name);
        eventually(Duration::from_secs(3), "the lock is gone", || {
            (!self.stack.all_containers().contains(&lock)).then_some(())
        });
    }
}

fn kill(signal: &str, process: i64) {
    let status = Command::new("kill")
        .args([signal, &process.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

/// A request that is on its way when this returns; its answer as it came.
fn ask(port: u16, path: &str) -> std::thread::JoinHandle<String> {
    use std::io::Read as _;
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it serves");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
    )
    .expect("it is sent");
    std::thread::spawn(move || {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    })
}

#[track_caller]
fn unhurt(client: &mut Client) {
    let seen = client.seen();
    assert!(seen.asked > 0);
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
}

#[test]
#[ignore = "engine"]
fn a_broken_revision_is_taken_back_and_the_reason_is_named() {
    let broken = |environment| Revision {
        environment,
        monitor: "4s",
        timeout: "15s",
        ..GOOD
    };
    let rows = [
        ("out of memory at boot", broken("HOLD_MB: \"64\""), "memory"),
        (
            "out of memory under load",
            broken("GROW_MB: \"64\", GROW_AFTER_MS: \"1500\""),
            "memory",
        ),
        (
            "a crash after it was ready",
            broken("EXIT_AFTER_MS: \"1500\", EXIT_CODE: \"3\""),
            "code 3",
        ),
        (
            "an end without an error after it was ready",
            broken("EXIT_AFTER_MS: \"1500\""),
            "code 0",
        ),
        (
            "ready too late",
            Revision {
                timeout: "2s",
                ..broken("READY_AFTER_MS: \"3600000\"")
            },
            "not ready",
        ),
    ];
    let shop = Shop::serving(GOOD);
    let before = shop.stack.containers();
    let mut client = Client::start(shop.port);
    for (what, revision, word) in rows {
        shop.write(revision);
        let failed: Ran = shop.stack.code(50, &["deploy", "--progress", "plain"]);
        assert!(failed.stderr.contains(word), "{what}: {failed}");
        assert_eq!(shop.stack.containers(), before, "{what}: {failed}");
        unhurt(&mut client);
    }
    shop.write(GOOD);
    shop.converges();
}

#[test]
#[ignore = "engine"]
fn what_cannot_work_touches_nothing() {
    let shop = Shop::serving(GOOD);
    let before = shop.stack.containers();
    shop.write(Revision {
        image: "image: shopctl-test-no-such-image:1",
        ..GOOD
    });
    shop.stack.code(22, &["deploy", "--progress", "plain"]);
    assert_eq!(shop.stack.containers(), before);
    assert_eq!(get(shop.port, "/").expect("it serves").0, 200);

    let other = Shop::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", other.port)).expect("it was free");
    let refused = other.stack.code(41, &["deploy", "--progress", "plain"]);
    assert!(
        refused.stderr.contains(&other.port.to_string()),
        "{refused}"
    );
    assert_eq!(other.stack.leftovers(), Vec::<String>::new());
    drop(taken);
}

/// Slow, but within the deadline: nothing is stopped before its successor has answered.
/// One that answers well now and then, and never twice in a row, gets no request at all.
#[test]
#[ignore = "engine"]
fn slow_and_flapping_readiness_lose_nothing() {
    let shop = Shop::serving(GOOD);
    let mut client = Client::start(shop.port);
    shop.write(Revision {
        environment: "VERSION: \"2\", READY_AFTER_MS: \"3000\"",
        ..GOOD
    });
    shop.stack.ok(&["deploy", "--progress", "plain"]);
    unhurt(&mut client);
    for environment in [
        "VERSION: \"3\", START_MS: \"1500\", FLAPS: \"4\"",
        "VERSION: \"3\", FLAPS: \"2\"",
    ] {
        shop.write(Revision {
            environment,
            timeout: "4s",
            ..GOOD
        });
        let failed = shop.stack.code(50, &["deploy", "--progress", "plain"]);
        assert!(failed.stderr.contains("not ready"), "{failed}");
        unhurt(&mut client);
        let (_, page) = get(shop.port, "/").expect("it serves");
        assert!(page.starts_with("2 "), "{page}");
    }
}

#[test]
#[ignore = "engine"]
fn a_slow_request_survives_its_replica_as_long_as_the_file_allows() {
    let slow = |environment| Revision {
        environment,
        grace: "6s",
        ..GOOD
    };
    let shop = Shop::serving(slow("VERSION: \"1\""));
    let request = ask(shop.port, "/?ms=3000");
    shop.write(slow("VERSION: \"2\""));
    let deployed = shop.stack.ok(&["deploy", "--progress", "plain"]);
    let answer = request.join().expect("it ends");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\r\n\r\n1 "), "the old one: {answer}");
    assert!(!deployed.stderr.contains("still in flight"), "{deployed}");

    let request = ask(shop.port, "/?ms=20000");
    shop.write(slow("VERSION: \"3\""));
    let deployed = shop.stack.ok(&["deploy", "--progress", "plain"]);
    assert!(deployed.stderr.contains("1 requests"), "{deployed}");
    assert!(deployed.stderr.contains("drain deadline"), "{deployed}");
    let answer = request.join().expect("it ends");
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
}

/// Each ends as its own protocol has it, and before its replica is told to stop: that
/// would say `bye` in all of them.
#[test]
#[ignore = "engine"]
fn what_is_open_at_the_drain_deadline_is_ended_by_the_gateway() {
    use std::io::Read as _;
    use std::io::Write as _;
    let shop = Shop::serving(GOOD);
    let events = ask(shop.port, "/events");
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", shop.port)).expect("it serves");
    let upgrade =
        "GET /upgrade HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    socket.write_all(upgrade.as_bytes()).expect("it is sent");
    let frame = b"\x81\x06hello\n";
    let mut said = Vec::new();
    let mut byte = [0];
    while !said.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).expect("an answer");
        said.extend(byte);
    }
    assert!(said.starts_with(b"HTTP/1.1 101"));
    socket.write_all(frame).expect("it is sent");
    let mut back = [0; 8];
    socket.read_exact(&mut back).expect("it comes back");
    assert_eq!(&back, frame);

    shop.write(Revision {
        environment: "VERSION: \"2\"",
        ..GOOD
    });
    let deployed = shop.stack.ok(&["deploy", "--progress", "plain"]);
    assert!(deployed.stderr.contains("2 requests"), "{deployed}");
    let events = events.join().expect("it ends");
    assert!(events.contains("data: 0\n\n"), "{events}");
    assert!(
        events.ends_with("\r\n0\r\n\r\n"),
        "a whole answer: {events}"
    );
    assert!(!events.contains("bye"), "{events}");
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).expect("it ends");
    assert_eq!(rest, b"\x88\x02\x03\xe9", "1001, going away");
}

#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "the number of errors is a finding")]
fn a_replica_that_is_cut_off_is_left_out_soon() {
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
    // Requests that were on their way have the client's own patience, 10 s.
    std::thread::sleep(Duration::from_secs(12));
    let first = client.seen();
    println!(
        "{} failures of {}: {:?}",
        first.failures.len(),
        first.asked,
        first.failures
    );
    std::thread::sleep(Duration::from_secs(2));
    unhurt(&mut client);
    assert!(first.failures.len() <= 4, "{:?}", first.failures);
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
    eventually(Duration::from_secs(10), "the gateway is back", || {
        matches!(get(shop.port, "/"), Ok((200, _))).then_some(())
    });
    let ended = run.wait().expect("it ends");
    assert_eq!(
        ended.code(),
        Some(0),
        "it waits for the gateway and goes on"
    );
    shop.converges();
    assert!(get(shop.port, "/").expect("it serves").1.starts_with("2 "));
}

#[test]
#[ignore = "engine"]
fn of_two_deploys_at_once_one_wins_and_the_other_waits_or_says_so() {
    let shop = Shop::serving(GOOD);
    let mut client = Client::start(shop.port);
    let versions: Vec<String> = (2..22).map(|n| format!("VERSION: \"{n}\"")).collect();
    let (mut waited, mut refused) = (0, 0);
    for (round, environment) in versions.iter().enumerate() {
        shop.write(Revision {
            environment: environment.clone().leak(),
            ..GOOD
        });
        let patience = if round % 2 == 0 { "0s" } else { "30s" };
        let arguments = ["deploy", "--progress", "none", "--lock-wait", patience];
        let mut runs = [shop.spawn(&arguments), shop.spawn(&arguments)];
        let mut codes = runs
            .each_mut()
            .map(|run| run.wait().expect("it ends").code().unwrap_or(-1));
        codes.sort_unstable();
        match (codes, patience) {
            ([0, 0], "30s") => waited += 1,
            ([0, 60], "0s") => refused += 1,
            // The second came so late that nothing was left to do.
            ([0, 0], _) => {}
            other => panic!("round {round}: {other:?}"),
        }
        shop.stack.ok(&["plan", "--check"]);
        assert_eq!(shop.stack.replicas("web").len(), 1);
        unhurt(&mut client);
    }
    assert_eq!(waited, 10);
    assert!(refused >= 5, "they did meet: {refused} of 10");
}

#[test]
#[ignore = "engine"]
fn sigterm_stops_a_deploy_at_a_safe_point() {
    let shop = Shop::serving(GOOD);
    let mut client = Client::start(shop.port);
    let mut run = shop.begin(Revision {
        environment: "VERSION: \"2\", READY_AFTER_MS: \"5000\"",
        ..GOOD
    });
    kill("-TERM", i64::from(run.id()));
    assert_eq!(run.wait().expect("it ends").code(), Some(143));
    shop.stack.ok(&["status", "-o", "json"]);
    let lock = format!("{}-lock", shop.stack.name);
    assert!(!shop.stack.all_containers().contains(&lock));
    shop.converges();
    unhurt(&mut client);
}
