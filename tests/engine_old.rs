//! An engine that is too old to talk to is told from one that is not there.

mod support;

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::Mutex;

use support::Ran;
use support::TestStack;

/// An engine that answers pings and speaks API 1.24, the oldest that is still around.
struct OldEngine {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl OldEngine {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("docker.sock")).expect("a socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&log);
                std::thread::spawn(move || serve(&stream, &log));
            }
        });
        Self { folder, asked }
    }

    fn host(&self) -> String {
        format!(
            "unix://{}",
            self.folder.path().join("docker.sock").display()
        )
    }
}

/// Answers one request after another; none of those expected has a body.
fn serve(stream: &UnixStream, log: &Mutex<Vec<String>>) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let request = lines.next()?.ok()?;
        while !lines.next()?.ok()?.is_empty() {}
        let (status, body) = if request.contains("/_ping") {
            ("200 OK", "OK")
        } else if request.contains("/version") {
            ("200 OK", r#"{"Version":"1.12.6","ApiVersion":"1.24"}"#)
        } else {
            (
                "400 Bad Request",
                r#"{"message":"client is newer than server"}"#,
            )
        };
        log.lock().expect("no thread panicked").push(request);
        write!(
            &mut &*stream,
            "HTTP/1.1 {status}\r\nServer: Docker/1.12.6 (linux)\r\nApi-Version: 1.24\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
    }
}

#[track_caller]
fn says(ran: &Ran, words: &[&str]) {
    let text = [ran.stdout.as_str(), ran.stderr.as_str()].concat();
    for word in words {
        assert!(text.contains(word), "`{word}` is missing: {ran}");
    }
}

#[test]
fn an_engine_that_is_too_old_is_named_with_what_is_needed() {
    let stack = TestStack::new("services:\n  app:\n    build: app\n");
    let engine = OldEngine::start();
    let host = engine.host();
    for command in ["deploy", "plan", "status", "logs", "down"] {
        let ran = stack.run_with(&[command], &[("DOCKER_HOST", &host)]);
        assert_eq!(ran.code, 30, "{ran}");
        says(&ran, &[&host, "speaks API 1.24; 1.41 or newer is needed"]);
        says(&ran, &["hint: install Docker Engine 20.10 or newer"]);
    }
    let doctor = stack.run_with(&["doctor"], &[("DOCKER_HOST", &host)]);
    assert_eq!(doctor.code, 3, "{doctor}");
    says(&doctor, &["1.24", "20.10"]);

    // It was asked for nothing beyond what it is.
    let asked = engine.asked.lock().expect("no thread panicked").clone();
    assert!(asked.len() >= 6, "{asked:#?}");
    for request in asked {
        assert!(
            request.contains(" /_ping ") || request.contains("/version "),
            "{request}"
        );
    }
}
