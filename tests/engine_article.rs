//! The stack file of the article that the project started from deploys as it
//! stands: no version of the tool may ask its author to change a line.

mod support;

use std::path::Path;
use std::process::Command;

use support::TestStack;
use support::block_on;
use support::docker;
use support::get;

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
fn base_image() {
    let present = block_on(async { docker().inspect_image(BASE).await.is_ok() });
    if present {
        return;
    }
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
            "--unix-socket",
            "/var/run/docker.sock",
            "-X",
            "POST",
            "-o",
            "/dev/null",
        ])
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
    base_image();
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
    let deployed = stack.ok(&["deploy", "--progress", "plain"]);
    assert!(
        deployed.stderr.contains("version"),
        "the obsolete key is named: {deployed}"
    );
    support::eventually(std::time::Duration::from_secs(20), "both answer", || {
        let order = get(8000, "/").ok()?;
        let goods = get(8001, "/").ok()?;
        (order == (200, "order".into()) && goods == (200, "goods".into())).then_some(())
    });
    stack.ok(&["plan", "--check"]);
    stack.ok(&["scale", "order_service=2"]);
    assert_eq!(get(8000, "/").expect("it serves").0, 200);
    stack.ok(&["down", "--volumes", "--yes"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}
