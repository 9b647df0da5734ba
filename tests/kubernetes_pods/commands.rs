//! Commands in pods, by the protocol of a real server: each message begins with the number
//! of its channel.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task;
use std::time::Duration;

use futures_util::SinkExt as _;
use futures_util::StreamExt as _;
use serde_json::Value;
use serde_json::json;
use shopctl::backend::BackendError;
use shopctl::backend::Exec as _;
use shopctl::backend::ExecRequest;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;

use super::POD;
use super::otherwise;
use super::server::Reply;
use super::server::Server;
use super::server::Socket;

pub(crate) const STDIN: u8 = 0;
pub(crate) const STDOUT: u8 = 1;
pub(crate) const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
pub(crate) const CLOSE: u8 = 255;

const V4: &str = "v4.channel.k8s.io";
pub(crate) const V5: &str = "v5.channel.k8s.io";

/// What a command wrote.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl AsyncWrite for Written {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> task::Poll<io::Result<usize>> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> task::Poll<io::Result<()>> {
        task::Poll::Ready(Ok(()))
    }
}

fn message(channel: u8, bytes: &[u8]) -> Message {
    Message::binary([&[channel], bytes].concat())
}

pub(crate) async fn say(socket: &mut Socket, channel: u8, bytes: &[u8]) {
    // The other side may be gone.
    let _ = socket.send(message(channel, bytes)).await;
}

/// The next message with its channel; `None` where the other side is gone.
pub(crate) async fn heard(socket: &mut Socket) -> Option<(u8, Vec<u8>)> {
    loop {
        match socket.next().await?.ok()? {
            Message::Binary(bytes) => return Some((bytes[0], bytes[1..].to_vec())),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

pub(crate) async fn end(socket: &mut Socket, status: &Value) {
    say(socket, STATUS, status.to_string().as_bytes()).await;
    let _ = socket.close(None).await;
}

pub(crate) fn well() -> Value {
    json!({ "status": "Success" })
}

/// Input that goes back as output until it ends, and then an exit code of 3.
async fn cat(mut socket: Socket) {
    while let Some((channel, bytes)) = heard(&mut socket).await {
        match channel {
            STDIN => say(&mut socket, STDOUT, &bytes).await,
            CLOSE => {
                assert_eq!(bytes, [STDIN]);
                break;
            }
            other => panic!("channel {other}"),
        }
    }
    say(&mut socket, STDERR, b"done").await;
    let code = json!({ "status": "Failure", "reason": "NonZeroExitCode",
        "details": { "causes": [{ "reason": "ExitCode", "message": "3" }] } });
    end(&mut socket, &code).await;
}

async fn server<F>(
    minor: &'static str,
    protocol: &'static str,
    command: impl Fn(Socket) -> F + Send + Sync + Clone + 'static,
) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    Server::start(move |target| {
        if target == "/version" {
            return Reply::Json(200, minor.into());
        }
        if target.starts_with(&format!("{POD}/exec")) {
            let command = command.clone();
            return Reply::Command(protocol, Box::new(move |socket| Box::pin(command(socket))));
        }
        otherwise(target)
    })
    .await
}

fn request(command: &[&str]) -> ExecRequest {
    ExecRequest {
        container: "order-1".to_owned(),
        command: command.iter().map(|&it| it.to_owned()).collect(),
        stdin: true,
        ..ExecRequest::default()
    }
}

/// The exit code, and what came out.
async fn run(
    server: &Server,
    request: &ExecRequest,
    stdin: impl Into<Vec<u8>>,
) -> (Result<i64, BackendError>, String, String) {
    let cluster = server.cluster().await;
    let (out, err) = (Written::default(), Written::default());
    let stdin = io::Cursor::new(stdin.into());
    let run = cluster.exec(
        request,
        Some(Box::new(stdin)),
        Box::new(out.clone()),
        Box::new(err.clone()),
    );
    let code = tokio::time::timeout(Duration::from_secs(20), run).await;
    (code.expect("it ends"), out.text(), err.text())
}

#[tokio::test]
async fn streams_and_the_exit_code_are_those_of_the_command() {
    let server = server("36", V5, cat).await;
    // More than any buffer on the way.
    let text = "a line\n".repeat(50_000);
    let (code, out, err) = run(&server, &request(&["cat", "-u x"]), text.clone()).await;
    assert_eq!(code.unwrap(), 3);
    assert!(out == text, "{} of {} bytes", out.len(), text.len());
    assert_eq!(err, "done");
    assert_eq!(
        server.queries("/exec"),
        ["&stdin=true&stdout=true&stderr=true&container=order&command=cat&command=-u+x"]
    );
}

#[tokio::test]
async fn without_input_none_is_asked_for() {
    let server = server("36", V5, |mut socket: Socket| async move {
        say(&mut socket, STDOUT, b"out").await;
        end(&mut socket, &well()).await;
    })
    .await;
    let plain = ExecRequest {
        stdin: false,
        ..request(&["true"])
    };
    let (code, out, err) = run(&server, &plain, "never read").await;
    assert_eq!((code.unwrap(), out.as_str(), err.as_str()), (0, "out", ""));
    let asked = &server.queries("/exec")[0];
    assert!(!asked.contains("stdin"), "{asked}");
}

#[tokio::test]
async fn an_old_server_still_says_how_the_command_ended() {
    let server = server("20", V4, |mut socket: Socket| async move {
        // What is read is all there is; its end cannot be told.
        let (channel, bytes) = heard(&mut socket).await.expect("input");
        assert_eq!((channel, bytes.as_slice()), (STDIN, b"in".as_slice()));
        let more = tokio::time::timeout(Duration::from_millis(300), heard(&mut socket));
        assert!(more.await.is_err(), "the connection stays");
        say(&mut socket, STDOUT, b"out").await;
        end(&mut socket, &well()).await;
    })
    .await;
    let (code, out, _) = run(&server, &request(&["head"]), "in").await;
    assert_eq!((code.unwrap(), out.as_str()), (0, "out"));
}

#[tokio::test]
async fn a_terminal_has_a_size_and_one_stream() {
    let sizes = watch::channel((24, 80));
    let wider = sizes.0.clone();
    let server = server("36", V5, move |mut socket: Socket| {
        let wider = wider.clone();
        async move {
            let mut told = Vec::new();
            while told.len() < 2 {
                let (channel, bytes) = heard(&mut socket).await.expect("a size");
                if channel == RESIZE {
                    told.push(String::from_utf8(bytes).unwrap());
                    let _ = wider.send((50, 132));
                }
            }
            say(&mut socket, STDOUT, told.join(" ").as_bytes()).await;
            end(&mut socket, &well()).await;
        }
    })
    .await;
    let terminal = ExecRequest {
        tty: true,
        sizes: Some(sizes.1),
        ..request(&["sh"])
    };
    let (code, out, err) = run(&server, &terminal, "").await;
    assert_eq!(code.unwrap(), 0);
    assert_eq!(out, r#"{"Width":80,"Height":24} {"Width":132,"Height":50}"#);
    assert_eq!(err, "");
    let asked = &server.queries("/exec")[0];
    assert!(
        asked.contains("tty=true") && !asked.contains("stderr"),
        "{asked}"
    );
}

#[tokio::test]
async fn what_does_not_run_is_an_error_and_no_exit_code() {
    let missing = server("36", V5, |mut socket: Socket| async move {
        let status = json!({ "status": "Failure", "code": 500, "reason": "InternalError",
            "message": "exec: \"nope\": not found" });
        end(&mut socket, &status).await;
    })
    .await;
    let (code, ..) = run(&missing, &request(&["nope"]), "").await;
    assert_eq!(
        code.unwrap_err().to_string(),
        "the cluster refused to run `nope` in pod order-1: exec: \"nope\": not found"
    );
    // The connection goes before anybody has said how it ended.
    let cut = server("36", V5, |mut socket: Socket| async move {
        say(&mut socket, STDOUT, b"half").await;
    })
    .await;
    let (code, out, _) = run(&cut, &request(&["cat"]), "").await;
    assert_eq!(out, "half");
    let error = code.unwrap_err();
    assert_eq!(error.to_string(), "could not run `cat` in pod order-1");
    let refusing = async |message: &'static str| {
        Server::start(move |target| {
            if target.starts_with(&format!("{POD}/exec")) {
                return super::status(403, message);
            }
            otherwise(target)
        })
        .await
    };
    let forbidden = refusing("pods/exec is forbidden").await;
    let (code, ..) = run(&forbidden, &request(&["cat"]), "").await;
    assert_eq!(
        code.unwrap_err().to_string(),
        "the cluster refused to run `cat` in pod order-1: pods/exec is forbidden"
    );
    let (code, ..) = run(&refusing("").await, &request(&["cat"]), "").await;
    assert_eq!(
        code.unwrap_err().to_string(),
        "the cluster refused to run `cat` in pod order-1: it answered 403 x"
    );
    let gone = ExecRequest {
        container: "gone".to_owned(),
        ..request(&["cat"])
    };
    let (code, ..) = run(&forbidden, &gone, "").await;
    let error = code.unwrap_err();
    assert!(matches!(error, BackendError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn what_a_cluster_cannot_do_is_refused_before_it_is_asked() {
    let server = server("36", V5, cat).await;
    let user = ExecRequest {
        user: Some("root".to_owned()),
        ..request(&["id"])
    };
    let (code, ..) = run(&server, &user, "").await;
    let error = code.unwrap_err();
    assert_eq!(error.to_string(), "could not run `id` in pod order-1");
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(why, "a cluster runs commands as the container's own user");
    let cluster = server.cluster().await;
    let error = cluster.signal("order-1", "SIGINT").await.unwrap_err();
    assert_eq!(error.to_string(), "could not send SIGINT to pod order-1");
    assert!(server.queries("/exec").is_empty());
}

#[tokio::test]
async fn a_session_stays_open_in_both_directions() {
    let server = server("36", V5, cat).await;
    let cluster = server.cluster().await;
    let command = ["cat".to_owned()];
    let mut session = cluster.session("order-1", &command).await.unwrap();
    for text in ["one", "two"] {
        session.input.write_all(text.as_bytes()).await.unwrap();
        session.input.flush().await.unwrap();
        let mut back = [0; 3];
        let read = session.output.read_exact(&mut back);
        let read = tokio::time::timeout(Duration::from_secs(10), read).await;
        read.expect("in time").unwrap();
        assert_eq!(back, text.as_bytes());
    }
    session.input.shutdown().await.unwrap();
    let mut rest = String::new();
    session.output.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "");
}

#[tokio::test]
async fn a_session_ends_with_its_connection() {
    let server = server("36", V5, |mut socket: Socket| async move {
        say(&mut socket, STDOUT, b"half").await;
        let _ = heard(&mut socket).await;
    })
    .await;
    let cluster = server.cluster().await;
    let command = ["cat".to_owned()];
    let mut session = cluster.session("order-1", &command).await.unwrap();
    let mut half = [0; 4];
    session.output.read_exact(&mut half).await.unwrap();
    assert_eq!(&half, b"half");
    session.input.write_all(b"x").await.unwrap();
    let mut rest = String::new();
    let read = session.output.read_to_string(&mut rest);
    let read = tokio::time::timeout(Duration::from_secs(10), read).await;
    read.expect("it ends").unwrap();
    assert_eq!(rest, "");
}
