//! A server that says what a test tells it to, as a cluster's would: also half of it.

use std::sync::Arc;
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use serde_json::Value;
use serde_json::json;
use shopctl::backend::kubernetes::client::Cluster;
use shopctl::backend::kubernetes::client::Settings;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The other end of a command.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// An answer.
pub(crate) enum Reply {
    /// A document.
    Json(u16, Value),
    /// A body that ends as it should.
    Whole(String),
    /// A body that is cut off.
    Cut(String),
    /// A body that stays open.
    Open(String),
    /// A watch of one object: as it is, and each time that it changes.
    Changes(watch::Receiver<Value>),
    /// A command, by a version of the protocol.
    Command(
        &'static str,
        Box<dyn FnOnce(Socket) -> BoxFuture<'static, ()> + Send>,
    ),
}

/// A status as a server gives it.
pub(crate) fn status(code: u16, message: &str) -> Reply {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "message": message, "reason": "x" });
    Reply::Json(code, status)
}

/// What a test answers with: by the path and query of a request, and the method before that
/// where it is another than GET.
type Script = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// A server, and what it was asked.
pub(crate) struct Server {
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// Requests that may change something: method and path, and what was sent.
    sent: Arc<Mutex<Vec<(String, Value)>>>,
    address: String,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let script: Script = Arc::new(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::default();
        let server = Self {
            asked,
            sent,
            address,
        };
        let (asked, sent) = (Arc::clone(&server.asked), Arc::clone(&server.sent));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, sent) = (Arc::clone(&asked), Arc::clone(&sent));
                tokio::spawn(serve(stream, Arc::clone(&script), asked, sent));
            }
        });
        server
    }

    /// A client of it that has looked at the stack `shop`.
    pub(crate) async fn cluster(&self) -> Cluster {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": format!("http://{}", self.address) } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "users": [{ "name": "test", "user": {} }],
        });
        std::fs::write(&path, config.to_string()).expect("a file");
        let settings = Settings {
            kubeconfig: vec![path],
            ..Settings::default()
        };
        let cluster = Cluster::connect(&settings).await.expect("it answers");
        let watch = shopctl::backend::Watch::watch(&cluster, "shop");
        drop(watch.await.expect("pods are watched"));
        cluster
    }

    /// What was asked of paths that end so, without the path.
    pub(crate) fn queries(&self, end: &str) -> Vec<String> {
        let asked = self.asked.lock().expect("no panic");
        let asked = asked.iter().filter_map(|one| {
            let (path, query) = one.split_once('?').unwrap_or((one, ""));
            path.ends_with(end).then(|| query.to_owned())
        });
        asked.collect()
    }

    /// What was sent with a method to paths that end so.
    pub(crate) fn sent(&self, method: &str, end: &str) -> Vec<Value> {
        let sent = self.sent.lock().expect("no panic");
        let sent = sent.iter().filter_map(|(to, body)| {
            let path = to.strip_prefix(method)?.split('?').next()?;
            path.ends_with(end).then(|| body.clone())
        });
        sent.collect()
    }
}

/// One request of each connection.
async fn serve(
    mut stream: TcpStream,
    script: Script,
    asked: Arc<Mutex<Vec<String>>>,
    sent: Arc<Mutex<Vec<(String, Value)>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    if method != "GET" {
        let length = field(&head, "content-length").and_then(|it| it.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let mut sent = sent.lock().expect("no panic");
        sent.push((format!("{method} {target}"), body));
    }
    asked.lock().expect("no panic").push(target.clone());
    let reply = match target.as_str() {
        "/version" => Reply::Json(200, version(&script)),
        "/apis" => Reply::Json(200, json!({ "kind": "APIGroupList", "groups": [] })),
        _ if method == "GET" => script(&target),
        _ => script(&format!("{method} {target}")),
    };
    let length = |text: &str| format!("Content-Length: {}\r\n", text.len());
    let (code, fields, body, stays) = match reply {
        Reply::Json(code, value) => {
            let text = value.to_string();
            (code, length(&text), text, false)
        }
        Reply::Whole(text) => (200, length(&text), text, false),
        Reply::Cut(text) => (200, chunked(), chunk(&text), false),
        Reply::Open(text) => (200, chunked(), chunk(&text), true),
        Reply::Changes(object) => return tell(stream, object).await,
        Reply::Command(protocol, run) => {
            if let Some(socket) = upgraded(stream, &head, protocol).await {
                run(socket).await;
            }
            return;
        }
    };
    let text = format!(
        "HTTP/1.1 {code} x\r\nContent-Type: application/json\r\n{fields}Connection: close\r\n\r\n{body}"
    );
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.flush().await;
    if stays {
        // Until the other side goes.
        let _ = stream.read_u8().await;
    }
}

/// Tells of an object as it is and becomes, until the other side goes or it is gone.
async fn tell(mut stream: TcpStream, mut object: watch::Receiver<Value>) {
    let head = format!(
        "HTTP/1.1 200 x\r\nContent-Type: application/json\r\n{}\r\n",
        chunked()
    );
    let mut written = stream.write_all(head.as_bytes()).await;
    while written.is_ok() {
        let now = object.borrow_and_update().clone();
        let gone = !now["metadata"]["deletionTimestamp"].is_null();
        let kind = if gone { "DELETED" } else { "MODIFIED" };
        let event = json!({ "type": kind, "object": now });
        written = stream
            .write_all(chunk(&format!("{event}\n")).as_bytes())
            .await;
        tokio::select! {
            changed = object.changed() => if changed.is_err() {
                return;
            },
            // Nothing is read: the other side goes.
            _ = stream.read_u8() => return,
        }
    }
}

/// A field of a request.
fn field<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(wanted).then(|| value.trim())
    })
}

fn chunked() -> String {
    "Transfer-Encoding: chunked\r\n".to_owned()
}

/// The only chunk of a body whose end never comes.
fn chunk(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn version(script: &Script) -> Value {
    let minor = match script("/version") {
        Reply::Json(200, minor) => minor,
        _ => "36".into(),
    };
    json!({ "major": "1", "minor": minor, "gitVersion": "v1.x", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "" })
}

async fn upgraded(mut stream: TcpStream, head: &str, protocol: &str) -> Option<Socket> {
    let key = field(head, "sec-websocket-key")?;
    let accept = derive_accept_key(key.as_bytes());
    let text = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).await.ok()?;
    Some(WebSocketStream::from_raw_socket(stream, Role::Server, None).await)
}
