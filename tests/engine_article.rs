//! The stack file of the article that the project started from deploys as it
//! stands: no version of the tool may ask its author to change a line.
//!
//! On an engine with a network of its own, since the file's ports are those of the demo.

mod support;

use std::path::Path;
use std::process::Command;

use support::TestStack;
use support::engine::Engine;

const ARTICLE: &str = "\
version: '3'
services:
  order_service:
    build: .
    ports:
      - \"8000:8000\"
  goods_service:
    build: .
    ports:
      - \"8001:8001\"
";

/// Both services from one build context, as the article has it.
const SERVICES: &str = r#"
import socket, threading

def serve(name, port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen()
    while True:
        connection, _ = listener.accept()
        connection.recv(4096)
        body = name.encode()
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body)
        connection.close()

threading.Thread(target=serve, args=("order", 8000), daemon=True).start()
serve("goods", 8001)
"#;

const BASE: &str = "shopctl-test-python:1";

/// A Debian base image with Python, made on this machine: no registry is needed.
fn base_image(engine: &Engine) {
    let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-base.tar");
    if !archive.exists() {
        let made = archive.with_extension("part");
        let status = Command::new("mmdebstrap")
            .args([
                "--quiet",
                "--variant=minbase",
                "--format=tar",
                "--include=python3-minimal",
                "bookworm",
            ])
            .arg(&made)
            .status()
            .expect("mmdebstrap is installed (./install.sh test-tools)");
        assert!(status.success(), "mmdebstrap failed");
        std::fs::rename(made, &archive).expect("the archive can be renamed");
    }
    let status = Command::new("curl")
        .args([
            "-sS",
            "--fail",
            "-X",
            "POST",
            "-o",
            "/dev/null",
            "--unix-socket",
        ])
        .arg(engine.path("socket"))
        .args(["-H", "Content-Type: application/x-tar", "-T"])
        .arg(&archive)
        .arg("http://engine/v1.41/images/create?fromSrc=-&repo=shopctl-test-python&tag=1")
        .status()
        .expect("curl is installed");
    assert!(status.success(), "the engine did not import the base image");
}

#[test]
#[ignore = "engine"]
fn the_article_deploys_as_it_stands() {
    let mut engine = Engine::new(false);
    engine.start();
    base_image(&engine);
    let stack = TestStack::new(ARTICLE);
    std::fs::rename(
        stack.path().join("stack.yaml"),
        stack.path().join("docker-compose.yml"),
    )
    .expect("renamed");
    stack.write("services.py", SERVICES);
    stack.write(
        "Dockerfile",
        &format!(
            "FROM {BASE}\nCOPY services.py /services.py\nCMD [\"python3\", \"/services.py\"]\n"
        ),
    );
    stack.write(".dockerignore", "app\n");
    let run = |arguments: &[&str]| {
        let ran = engine.run(&stack, arguments);
        assert_eq!(ran.code, 0, "{ran}");
        ran
    };
    let deployed = run(&["deploy", "--progress", "plain"]);
    assert!(
        deployed.stderr.contains("version"),
        "the obsolete key is named: {deployed}"
    );
    support::eventually(std::time::Duration::from_secs(20), "both answer", || {
        let answers = [8000, 8001].map(|port| engine.ask_at(&format!("127.0.0.1:{port}")));
        (answers == ["order", "goods"]).then_some(())
    });
    run(&["plan", "--check"]);
    run(&["scale", "order_service=2"]);
    assert_eq!(engine.ask_at("127.0.0.1:8000"), "order");
    run(&["down", "--volumes", "--yes"]);
    let left = engine.docker(&["containers/json?all=1"]);
    assert_eq!(String::from_utf8_lossy(&left.stdout).trim(), "[]");
}
