//! A small API server in memory, which breaks calls as it is told to: objects of any kind
//! by their paths, versions and conflicts, lists, watches, and server-side apply as a merge.
//! It checks and defaults nothing. The cases of `kubernetes_cluster` run against it too, so
//! that it stays like a real one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Request;
use hyper::Response;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::SignedDuration;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::sync::watch;

/// How a call breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// It is refused with this status.
    Refused(u16),
    /// It is refused, since somebody else was faster to make the object.
    Exists,
    /// It is done, and answered with this status all the same.
    Belied(u16),
    /// It is done, and the connection ends before the answer.
    Lost,
    /// The connection ends before it is done.
    Reset,
    /// Nothing comes back, ever.
    Hangs,
    /// A watch begins, and says that it is too old.
    Expired,
}

/// What its answers say of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dates {
    /// What it is.
    #[default]
    Right,
    /// So much earlier than it is.
    Late(Duration),
    /// Nothing.
    Missing,
}

/// Calls that break: so many of a method whose path and query hold a text.
struct Fault {
    method: &'static str,
    part: String,
    left: usize,
    how: Break,
}

/// `/api/v1` or `/apis/GROUP/VERSION`, namespace, plural, name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Path {
    version: String,
    namespace: Option<String>,
    plural: String,
    name: Option<String>,
}

/// A change as a watch tells it.
struct Event {
    number: u64,
    kind: &'static str,
    path: Path,
    object: Value,
}

#[derive(Default)]
struct State {
    number: u64,
    objects: BTreeMap<Path, Value>,
    events: Vec<Event>,
    faults: Vec<Fault>,
    calls: Vec<String>,
    dates: Dates,
}

/// The server; it ends with this.
pub struct FakeCluster {
    state: Shared,
    _lives: oneshot::Sender<()>,
    folder: tempfile::TempDir,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

#[derive(Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl FakeCluster {
    /// It runs in a thread of its own: tests may block theirs.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Shared {
            state: Arc::default(),
            changed: watch::Sender::new(0),
        };
        let (lives, ends) = oneshot::channel();
        let accepting = accept(listener, shared.clone());
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = accepting => {}
                    _ = ends => {}
                }
            });
        });
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{ "name": "fake", "cluster": { "server": format!("http://{address}") } }],
            "users": [{ "name": "fake", "user": {} }],
            "contexts": [{ "name": "fake", "context": { "cluster": "fake", "user": "fake" } }],
        });
        let path = folder.path().join("kubeconfig");
        std::fs::write(path, kubeconfig.to_string()).expect("the folder is writable");
        Self {
            state: shared,
            _lives: lives,
            folder,
        }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// The next `times` calls of a method whose path and query hold `part` break.
    pub fn breaks(&self, method: &'static str, part: &str, times: usize, how: Break) {
        self.state.lock().faults.push(Fault {
            method,
            part: part.to_owned(),
            left: times,
            how,
        });
    }

    pub fn dates(&self, dates: Dates) {
        self.state.lock().dates = dates;
    }

    /// The calls so far, as `METHOD path?query`.
    pub fn calls(&self) -> Vec<String> {
        self.state.lock().calls.clone()
    }
}

async fn accept(listener: std::net::TcpListener, shared: Shared) {
    listener.set_nonblocking(true).expect("a plain socket");
    let listener = TcpListener::from_std(listener).expect("a socket");
    while let Ok((connection, _)) = listener.accept().await {
        let shared = shared.clone();
        let service = service_fn(move |request| shared.clone().serve(request));
        let mut server = http1::Builder::new();
        server.auto_date_header(false);
        tokio::spawn(server.serve_connection(TokioIo::new(connection), service));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error ends the connection.
    async fn serve(self, request: Request<Incoming>) -> Result<Answer, std::io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await;
        let body = body.map_err(std::io::Error::other)?.to_bytes();
        let method = head.method.as_str();
        let path = head.uri.path().to_owned();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let broken = self.lock().break_of(method, &format!("{path}?{query}"));
        match broken {
            Some(Break::Refused(code)) => return Ok(self.dated(status(code, "told to"))),
            Some(Break::Exists) => {
                let mut body = failure(409, "already exists");
                body["reason"] = "AlreadyExists".into();
                return Ok(self.dated(answer(409, &body)));
            }
            Some(Break::Reset) => return Err(std::io::Error::other("told to")),
            Some(Break::Hangs) => std::future::pending().await,
            _ => {}
        }
        let query = Query::of(&query);
        let expired = broken == Some(Break::Expired);
        let answer = match Path::of(&path) {
            Some(path) if query.watches => self.watch(path, query, expired),
            Some(path) => {
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let answer = self.lock().answer(method, &path, &query, body);
                let number = self.lock().number;
                self.changed.send_replace(number);
                answer
            }
            None => discovery(&path),
        };
        match broken {
            Some(Break::Belied(code)) => Ok(self.dated(status(code, "told to"))),
            Some(Break::Lost) => Err(std::io::Error::other("told to")),
            _ => Ok(self.dated(answer)),
        }
    }

    fn dated(&self, mut answer: Answer) -> Answer {
        let now = Timestamp::now();
        let time = match self.lock().dates {
            Dates::Right => now,
            Dates::Late(by) => now - SignedDuration::try_from(by).expect("not too long"),
            Dates::Missing => return answer,
        };
        let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&time);
        let text = text.expect("a time of today").parse().expect("plain text");
        answer.headers_mut().insert(hyper::header::DATE, text);
        answer
    }

    fn watch(&self, path: Path, query: Query, expired: bool) -> Answer {
        if expired {
            let line = json!({ "type": "ERROR", "object": failure(410, "too old") });
            let only = stream::iter([Ok(frame(&line))]);
            return Response::new(StreamBody::new(only).boxed_unsync());
        }
        let changed = self.changed.subscribe();
        let start = (self.clone(), path, query, changed);
        let told = stream::unfold(start, |(shared, path, mut query, mut changed)| async move {
            loop {
                changed.borrow_and_update();
                let next = shared.lock().next(&path, &query);
                if let Some((number, line)) = next {
                    query.since = number;
                    return Some((Ok(frame(&line)), (shared, path, query, changed)));
                }
                changed.changed().await.ok()?;
            }
        });
        Response::new(StreamBody::new(told).boxed_unsync())
    }
}

fn frame(line: &Value) -> Frame<Bytes> {
    Frame::data(format!("{line}\n").into())
}

impl State {
    fn break_of(&mut self, method: &str, call: &str) -> Option<Break> {
        self.calls.push(format!("{method} {call}"));
        let mut faults = self.faults.iter_mut();
        let fault = faults
            .find(|fault| fault.left > 0 && fault.method == method && call.contains(&fault.part))?;
        fault.left = fault.left.saturating_sub(1);
        Some(fault.how)
    }

    fn answer(&mut self, method: &str, path: &Path, query: &Query, body: Value) -> Answer {
        match (method, &path.name) {
            ("GET", None) => {
                let found = self.objects.iter();
                let found = found.filter(|(at, object)| at.is_in(path) && query.selects(object));
                let items: Vec<&Value> = found.map(|(_, object)| object).collect();
                let number = self.number.to_string();
                answer(
                    200,
                    &json!({ "metadata": { "resourceVersion": number }, "items": items }),
                )
            }
            ("GET", Some(_)) => match self.objects.get(path) {
                Some(found) => answer(200, found),
                None => status(404, &format!("{} is not found", path.called())),
            },
            ("POST", None) => {
                let name = body["metadata"]["name"].as_str().map(str::to_owned);
                let path = Path {
                    name,
                    ..path.clone()
                };
                if self.objects.contains_key(&path) {
                    return status(409, &format!("{} already exists", path.called()));
                }
                self.write(path, body, 201)
            }
            ("PUT", Some(_)) => match self.objects.get(path) {
                None => status(404, &format!("{} is not found", path.called())),
                Some(found) => {
                    let (was, is) = (&found["metadata"], &body["metadata"]);
                    if !is["resourceVersion"].is_null()
                        && was["resourceVersion"] != is["resourceVersion"]
                    {
                        return status(409, &format!("{} was modified", path.called()));
                    }
                    self.write(path.clone(), body, 200)
                }
            },
            ("PATCH", Some(_)) => {
                let mut object = self.objects.get(path).cloned().unwrap_or(Value::Null);
                merge(&mut object, body);
                self.write(path.clone(), object, 200)
            }
            ("DELETE", Some(name)) => {
                let within = (path.plural == "namespaces").then(|| name.clone());
                let all = self.objects.keys();
                let gone =
                    all.filter(|at| *at == path || within.is_some() && at.namespace == within);
                let gone: Vec<Path> = gone.cloned().collect();
                for one in &gone {
                    self.remove(one);
                }
                if gone.contains(path) {
                    answer(200, &json!({ "kind": "Status", "status": "Success" }))
                } else {
                    status(404, &format!("{} is not found", path.called()))
                }
            }
            _ => status(405, "not served"),
        }
    }

    fn write(&mut self, path: Path, mut object: Value, code: u16) -> Answer {
        if let Some(namespace) = &path.namespace
            && !self.objects.contains_key(&Path::of_namespace(namespace))
        {
            return status(404, &format!("namespaces \"{namespace}\" not found"));
        }
        let before = self.objects.get(&path);
        let same = before.is_some_and(|before| {
            object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            for kept in ["uid", "creationTimestamp", "namespace", "name"] {
                object["metadata"][kept] = before["metadata"][kept].clone();
            }
            object == *before
        });
        if same {
            return answer(code, &object);
        }
        let kind = if before.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        if before.is_none() {
            object["metadata"]["uid"] = uuid::Uuid::now_v7().to_string().into();
            object["metadata"]["creationTimestamp"] = Timestamp::now().to_string().into();
            object["metadata"]["name"] = path.name.clone().into();
            if let Some(namespace) = &path.namespace {
                object["metadata"]["namespace"] = namespace.clone().into();
            }
        }
        self.tell(kind, path.clone(), &mut object);
        let answered = answer(code, &object);
        self.objects.insert(path, object);
        answered
    }

    fn remove(&mut self, path: &Path) {
        if let Some(mut object) = self.objects.remove(path) {
            self.tell("DELETED", path.clone(), &mut object);
        }
    }

    fn tell(&mut self, kind: &'static str, path: Path, object: &mut Value) {
        self.number += 1;
        object["metadata"]["resourceVersion"] = self.number.to_string().into();
        self.events.push(Event {
            number: self.number,
            kind,
            path,
            object: object.clone(),
        });
    }

    /// The next event that a watch tells, and its number.
    fn next(&self, path: &Path, query: &Query) -> Option<(u64, Value)> {
        let mut events = self.events.iter();
        let event = events.find(|event| {
            event.number > query.since && event.path.is_in(path) && query.selects(&event.object)
        })?;
        let line = json!({ "type": event.kind, "object": event.object });
        Some((event.number, line))
    }
}

impl Path {
    fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => (format!("api/{version}"), rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                (format!("apis/{group}/{version}"), rest)
            }
            _ => return None,
        };
        let (namespace, plural, name) = match rest {
            ["namespaces", namespace, plural, name @ ..] => (Some(*namespace), plural, name),
            [plural, name @ ..] => (None, plural, name),
            [] => return None,
        };
        Some(Self {
            version,
            namespace: namespace.map(str::to_owned),
            plural: (*plural).to_owned(),
            name: name.first().map(|name| (*name).to_owned()),
        })
    }

    fn of_namespace(name: &str) -> Self {
        Self {
            version: "api/v1".to_owned(),
            namespace: None,
            plural: "namespaces".to_owned(),
            name: Some(name.to_owned()),
        }
    }

    /// Whether it is among the objects of a list.
    fn is_in(&self, list: &Self) -> bool {
        self.version == list.version
            && self.plural == list.plural
            && (list.namespace.is_none() || self.namespace == list.namespace)
    }

    fn called(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        format!("{} \"{name}\"", self.plural)
    }
}

/// What of a list is asked for.
#[derive(Debug, Default)]
struct Query {
    watches: bool,
    since: u64,
    /// As `name=value`.
    labels: Vec<(String, String)>,
    name: Option<String>,
}

impl Query {
    fn of(text: &str) -> Self {
        let mut query = Self::default();
        for (key, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = value.replace("%3D", "=").replace("%2F", "/");
            let value = value.replace("%2C", ",");
            match key {
                "watch" => query.watches = value == "true",
                "resourceVersion" => query.since = value.parse().unwrap_or(0),
                "labelSelector" => {
                    let pairs = value.split(',').filter_map(|pair| pair.split_once('='));
                    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
                    query.labels = pairs.collect();
                }
                "fieldSelector" => {
                    let name = value.strip_prefix("metadata.name=");
                    query.name = name.map(str::to_owned);
                }
                _ => {}
            }
        }
        query
    }

    fn selects(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let mut labels = self.labels.iter();
        let name = self.name.as_ref();
        labels.all(|(name, value)| metadata["labels"][name] == **value)
            && name.is_none_or(|name| metadata["name"] == **name)
    }
}

/// Objects become one, the newer counts.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                if value.is_null() {
                    into.remove(&name);
                } else {
                    merge(into.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}

/// What the server is, and the groups that it serves.
fn discovery(path: &str) -> Answer {
    let group = |name: &str, version: &str| {
        let version = json!({ "groupVersion": format!("{name}/{version}"), "version": version });
        json!({ "name": name, "versions": [version], "preferredVersion": version })
    };
    match path {
        "/version" => answer(
            200,
            &json!({
                "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "",
                "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "",
                "platform": "",
            }),
        ),
        "/apis" => {
            let groups = [
                group("apps", "v1"),
                group("batch", "v1"),
                group("coordination.k8s.io", "v1"),
            ];
            answer(
                200,
                &json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }),
            )
        }
        _ => status(404, "not served"),
    }
}

fn failure(code: u16, message: &str) -> Value {
    // Clients go by these words.
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        _ => "",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn status(code: u16, message: &str) -> Answer {
    answer(code, &failure(code, message))
}

fn answer(code: u16, body: &Value) -> Answer {
    let whole = Full::new(Bytes::from(body.to_string())).boxed_unsync();
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(whole)
        .expect("a number of a status")
}
