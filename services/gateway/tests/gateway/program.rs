//! The program as shopctl starts it: a gateway, a bridge to it, a prober.

use std::process::Stdio;

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;

use crate::support::config;
use crate::support::replica::PORT;
use crate::support::replica::Replica;
use crate::support::unique_name;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop-gateway"));
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A child that is asked line by line.
struct Asked {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Asked {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program(arguments).spawn().expect("started");
        let stdout = child.stdout.take().expect("a pipe");
        let lines = BufReader::new(stdout).lines();
        Self { child, lines }
    }

    async fn ask(&mut self, request: &Value) -> Value {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        let line = format!("{request}\n");
        stdin.write_all(line.as_bytes()).await.expect("sent");
        let line = self.lines.next_line().await.expect("read");
        serde_json::from_str(&line.expect("an answer")).expect("JSON")
    }

    /// Ends its input, and expects it to end well.
    async fn end(mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().await.expect("waited");
        assert!(status.success(), "{status}");
    }
}

#[tokio::test]
async fn a_gateway_is_configured_through_the_bridge_and_ends_at_a_signal() {
    let store = tempfile::tempdir().expect("a folder");
    let directory = store.path().to_str().expect("text");
    let name = unique_name();
    // The bridge comes first: it waits for the gateway.
    let mut bridge = Asked::start(&["control", "--name", &name]);
    let listen = format!("{}=127.0.0.1:0", crate::support::HTTP);
    let mut gateway = program(&[
        "run", "--name", &name, "--dir", directory, "--listen", &listen,
    ])
    .spawn()
    .expect("started");
    let hello = bridge.ask(&json!({"id": 1, "op": "hello"})).await;
    assert_eq!(hello["ok"]["name"], name);
    let replica = Replica::start().await;
    let config = config(1, 1, &[replica.host()]);
    let request = json!({"id": 2, "op": "apply", "config": config});
    let applied = bridge.ask(&request).await;
    assert_eq!(applied["ok"], json!({"generation": 1, "draining": []}));
    let port = hello["ok"]["listens"][0]["port"].as_u64().expect("a port");
    let port = u16::try_from(port).expect("a port");
    let got = crate::support::client::get(port, "/").await;
    assert_eq!(got.text(), replica.host());
    bridge.end().await;
    let pid = gateway.id().expect("it runs").to_string();
    let killed = Command::new("kill").arg(pid).status().await;
    assert!(killed.expect("started").success());
    let status = gateway.wait().await.expect("waited");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn the_bridge_ends_with_an_error_when_the_gateway_does() {
    let rig = crate::support::Rig::start();
    let mut bridge = Asked::start(&["control", "--name", &rig.control.0]);
    bridge.ask(&json!({"id": 1, "op": "hello"})).await;
    rig.end().await;
    let status = bridge.child.wait().await.expect("waited");
    assert_eq!(status.code(), Some(1));
}

#[tokio::test]
async fn a_prober_needs_no_gateway() {
    let replica = Replica::start().await;
    let mut prober = Asked::start(&["control", "--prober"]);
    let hello = prober.ask(&json!({"id": 1, "op": "hello"})).await;
    assert_eq!(hello["ok"]["listens"], json!([]));
    let probe = json!({"id": 2, "op": "probe", "target": replica.host(), "port": PORT,
                       "http": "/", "deadline_ms": 10_000});
    let answer = prober.ask(&probe).await;
    assert_eq!(answer["ok"]["attempts"], 2);
    let stats = prober.ask(&json!({"id": 3, "op": "stats"})).await;
    assert_eq!(stats["error"]["kind"], "unsupported");
    prober.end().await;
}

#[tokio::test]
async fn wrong_usage_is_told_with_code_2() {
    for arguments in [
        &["fly"][..],
        &[],
        &["run"],
        &["run", "--name"],
        &["run", "--name", "x", "--dir", "y", "--listen", "z"],
        &["control"],
        &["keep", "--loud"],
    ] {
        let output = program(arguments).output().await.expect("ended");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8(output.stderr).expect("text");
        assert!(
            text.starts_with("error: ") && text.contains("usage:"),
            "{text}"
        );
    }
}
