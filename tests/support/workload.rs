//! A small service for the engine tests, whose behaviour the environment sets.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `PORT` | where it listens (8000) |
//! | `VERSION` | what it answers with |
//! | `READY_AFTER_MS` | `/readyz` answers 503 until then |
//! | `DELAY_MS` | how long each request takes |
//! | `EXIT_AFTER_MS`, `EXIT_CODE` | ends by itself |
//! | `MODE=tcp` | greets first, then echoes, instead of HTTP |
//! | `HOLD_MB` | memory it touches at start |
//!
//! `workload healthcheck` exits 0 when `/readyz` answers 200.

use std::env;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[expect(clippy::print_stdout, reason = "its log is what the tests read")]
fn log(line: &str) {
    println!("{line}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let port = u16::try_from(setting("PORT", 8000)).unwrap_or(8000);
    if env::args().nth(1).as_deref() == Some("healthcheck") {
        return healthcheck(port).await;
    }
    let held = vec![1_u8; usize::try_from(setting("HOLD_MB", 0)).unwrap_or(0) << 20];
    let started = Instant::now();
    let ready_after = Duration::from_millis(setting("READY_AFTER_MS", 0));
    let mut term = signal(SignalKind::terminate()).expect("signals can be handled");
    let listener = TcpListener::bind(("0.0.0.0", port))
        .await
        .expect("the port is free");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        + ready_after;
    log(&format!(
        "listening version={} held={} ready_at_ms={}",
        version(),
        held.len(),
        now.as_millis()
    ));
    let end = async {
        match setting("EXIT_AFTER_MS", u64::MAX) {
            u64::MAX => std::future::pending().await,
            after => tokio::time::sleep(Duration::from_millis(after)).await,
        }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                tokio::spawn(serve(stream, started, ready_after));
            }
            _ = term.recv() => return std::process::ExitCode::SUCCESS,
            () = &mut end => {
                log("leaving by EXIT_AFTER_MS");
                return std::process::ExitCode::from(u8::try_from(setting("EXIT_CODE", 0)).unwrap_or(1));
            }
        }
    }
}

fn version() -> String {
    env::var("VERSION").unwrap_or_else(|_| "1".into())
}

fn host() -> String {
    std::fs::read_to_string("/etc/hostname")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

async fn serve(mut stream: TcpStream, started: Instant, ready_after: Duration) {
    if env::var("MODE").as_deref() == Ok("tcp") {
        let _ = stream
            .write_all(format!("{} {}\n", version(), host()).as_bytes())
            .await;
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        return;
    }
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            if stream.read_line(&mut header).await.unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let path = request.split_whitespace().nth(1).unwrap_or("/").to_owned();
        let ready = started.elapsed() >= ready_after;
        let (status, text) = match path.as_str() {
            "/readyz" if !ready => ("503 Service Unavailable", "not ready".to_owned()),
            "/readyz" => ("200 OK", "ready".to_owned()),
            _ => {
                tokio::time::sleep(Duration::from_millis(setting("DELAY_MS", 0))).await;
                ("200 OK", format!("{} {}", version(), host()))
            }
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: text/plain\r\n\r\n{text}",
            text.len()
        );
        if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn healthcheck(port: u16) -> std::process::ExitCode {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        line.contains(" 200 ").then_some(())
    };
    if ask.await.is_some() {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}
