//! What is open when a replica goes.

use crate::GOOD;
use crate::Revision;
use crate::Shop;
use crate::ask;

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
