//! Revisions that cannot work: none of them replaces one that does.

use crate::GOOD;
use crate::Revision;
use crate::Shop;
use crate::support::Ran;
use crate::support::TestStack;
use crate::support::block_on;
use crate::support::client::Client;
use crate::support::docker;
use crate::support::free_port;
use crate::support::get;
use crate::support::workload;
use crate::unhurt;
use bollard::query_parameters::StopContainerOptionsBuilder;

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

/// The engine runs no binary of another machine, and says so only when it is started.
#[test]
#[ignore = "engine"]
fn a_binary_for_another_machine_replaces_nothing() {
    let shop = Shop::serving(GOOD);
    let before = shop.stack.containers();
    let mut client = Client::start(shop.port);
    let mut binary = std::fs::read(workload()).expect("it was built");
    // The machine in the header of an ELF file: AArch64, or x86-64 there.
    let other: u16 = if cfg!(target_arch = "x86_64") {
        183
    } else {
        62
    };
    binary[18..20].copy_from_slice(&other.to_le_bytes());
    std::fs::create_dir(shop.stack.path().join("other")).expect("a folder");
    std::fs::write(shop.stack.path().join("other/workload"), binary).expect("written");
    shop.stack.write(
        "other/Dockerfile",
        "FROM scratch\nCOPY --chmod=755 workload /workload\nENTRYPOINT [\"/workload\"]\n",
    );
    shop.write(Revision {
        image: "build: other",
        ..GOOD
    });
    let failed = shop.stack.code(50, &["deploy", "--progress", "plain"]);
    assert!(failed.stderr.contains("exec format error"), "{failed}");
    assert!(failed.stderr.contains("release 1 serves"), "{failed}");
    assert_eq!(shop.stack.containers(), before);
    unhurt(&mut client);
}

/// `order` needs `goods` and the database of another team, which is down: `goods` is
/// replaced first, the new `order` never gets ready, and both go back.
#[test]
#[ignore = "engine"]
fn with_what_it_needs_down_the_whole_stack_goes_back() {
    let theirs = TestStack::new("services:\n  db: { build: app, restart: unless-stopped }\n");
    theirs.ok(&["deploy", "--progress", "none"]);
    let port = free_port();
    let file = |version: u32| {
        format!(
            r#"
services:
  goods:
    build: app
    restart: unless-stopped
    environment: {{ VERSION: "{version}" }}
    deploy: {{ update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
  order:
    build: app
    restart: unless-stopped
    environment: {{ VERSION: "{version}", NEEDS: "db:8000" }}
    depends_on: [goods]
    networks: [default, theirs]
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy: {{ update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000, timeout: 5s }} }}
networks:
  theirs: {{ external: true, name: {}_default }}
"#,
            theirs.name
        )
    };
    let stack = TestStack::new(&file(1));
    stack.ok(&["deploy", "--progress", "none"]);
    let first = [stack.replicas("goods"), stack.replicas("order")];
    let db = theirs.replicas("db").remove(0);
    let at_once = StopContainerOptionsBuilder::default().t(0).build();
    block_on(async { docker().stop_container(&db, Some(at_once)).await }).expect("it runs");
    let mut client = Client::start(port);

    stack.write("stack.yaml", &file(2));
    let failed = stack.code(50, &["deploy", "--progress", "plain"]);
    for words in ["order", "not ready after 5 s", "503", "release 1 serves"] {
        assert!(failed.stderr.contains(words), "{words}: {failed}");
    }
    assert_eq!(stack.replicas("order"), first[1], "never stopped: {failed}");
    let revision = |name: &str| name.rsplit_once('-').expect("a revision").1.to_owned();
    let goods = stack.replicas("goods");
    assert_eq!(goods.len(), 1, "{failed}");
    assert_eq!(revision(&goods[0]), revision(&first[0][0]), "{failed}");
    unhurt(&mut client);

    theirs.ok(&["deploy", "--progress", "none"]);
    stack.ok(&["deploy", "--progress", "none"]);
    assert_eq!(stack.run(&["plan", "--check"]).code, 0);
    stack.ok(&["down", "--volumes", "--yes"]);
}
