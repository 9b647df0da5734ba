//! Commands in pods of their own: made, attached to, and gone at the end, whatever it is.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use shopctl::backend::Apply as _;
use shopctl::backend::BackendError;
use shopctl::backend::Context;
use shopctl::backend::Exec as _;
use shopctl::backend::OneOff;
use shopctl::backend::OneOffs as _;
use shopctl::backend::RunRequest;
use shopctl::plan::action::Action;
use shopctl::state::desired::DesiredState;
use shopctl::state::desired::ImageSource;
use shopctl::state::desired::PullPolicy;
use shopctl::state::desired::ServiceSpec;
use tokio::sync::watch;

use super::PODS;
use super::commands::CLOSE;
use super::commands::STDERR;
use super::commands::STDIN;
use super::commands::STDOUT;
use super::commands::V5;
use super::commands::Written;
use super::commands::end;
use super::commands::heard;
use super::commands::say;
use super::commands::well;
use super::server::Reply;
use super::server::Server;
use super::server::Socket;
use super::server::status;

const NAME: &str = "order-run-1";

/// The pod of the command, in a state.
fn pod(phase: &str, state: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": NAME, "namespace": "shop", "uid": "u", "resourceVersion": "5",
            "labels": { "shopctl.dev/run-of": "order" } },
        "spec": { "containers": [{ "name": "order", "image": "order:1" }] },
        "status": { "phase": phase, "containerStatuses": [{ "name": "order", "image": "order:1",
            "imageID": "", "ready": false, "restartCount": 0, "state": state }] },
    })
}

fn waiting(reason: &str) -> Value {
    let message = "no such tag";
    pod(
        "Pending",
        &json!({ "waiting": { "reason": reason, "message": message } }),
    )
}

fn running() -> Value {
    pod(
        "Running",
        &json!({ "running": { "startedAt": "2026-01-02T03:04:05Z" } }),
    )
}

fn ended(code: i32) -> Value {
    pod(
        "Failed",
        &json!({ "terminated": { "exitCode": code, "reason": "Error" } }),
    )
}

/// A cluster on which one command runs: what its pod is, and what it has said.
#[derive(Clone)]
struct Play {
    pod: watch::Sender<Value>,
    /// What the pod becomes once somebody follows it.
    next: Arc<Mutex<Option<Value>>>,
    log: Arc<Mutex<String>>,
}

impl Play {
    fn new(pod: Value, next: Option<Value>) -> Self {
        Self {
            pod: watch::Sender::new(pod),
            next: Arc::new(Mutex::new(next)),
            log: Arc::default(),
        }
    }

    fn logs(&self, text: &str) {
        self.log.lock().unwrap().push_str(text);
    }

    /// The server; `attach` is what becomes of who is attached, time by time.
    async fn server(&self, attach: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Server {
        let play = self.clone();
        let times = AtomicUsize::new(0);
        let attach = move || attach(times.fetch_add(1, Ordering::Relaxed));
        Server::start(move |target| play.answer(target, &attach)).await
    }

    fn answer(&self, target: &str, attach: &impl Fn() -> Reply) -> Reply {
        let path = target.split('?').next().unwrap_or_default();
        let now = self.pod.borrow().clone();
        if path == format!("DELETE {PODS}/{NAME}") {
            let mut gone = now.clone();
            gone["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:06Z".into();
            self.pod.send_replace(gone);
            Reply::Json(200, now)
        } else if path == format!("{PODS}/{NAME}/attach") {
            attach()
        } else if path == format!("{PODS}/{NAME}/log") {
            Reply::Whole(self.log.lock().unwrap().clone())
        } else if path == format!("{PODS}/{NAME}") {
            Reply::Json(200, now)
        } else if path != PODS {
            status(404, "there is no such thing")
        } else if target.contains("watch=true") {
            Reply::Changes(self.pod.subscribe())
        } else {
            if target.contains("fieldSelector")
                && let Some(next) = self.next.lock().unwrap().take()
            {
                self.pod.send_replace(next);
            }
            let list = json!({ "kind": "PodList", "apiVersion": "v1",
                "metadata": { "resourceVersion": "1" }, "items": [now] });
            Reply::Json(200, list)
        }
    }

    /// It ends, with all that it has said.
    async fn ends(&self, mut socket: Socket, code: i32) {
        end(&mut socket, &well()).await;
        self.pod.send_replace(ended(code));
    }
}

/// Whoever attaches gets this.
fn with<F>(command: impl FnOnce(Socket) -> F + Send + 'static) -> Reply
where
    F: Future<Output = ()> + Send + 'static,
{
    Reply::Command(V5, Box::new(move |socket| Box::pin(command(socket))))
}

fn never(_: usize) -> Reply {
    status(500, "container order is not running")
}

/// The exit code, and what came out.
async fn run(server: &Server, stdin: &str) -> (Result<i64, BackendError>, String, String) {
    let cluster = server.cluster().await;
    let (out, err) = (Written::default(), Written::default());
    let request = RunRequest {
        container: NAME.to_owned(),
        ..RunRequest::default()
    };
    let stdin = io::Cursor::new(stdin.to_owned().into_bytes());
    let run = cluster.run(
        &request,
        Some(Box::new(stdin)),
        Box::new(out.clone()),
        Box::new(err.clone()),
    );
    let code = tokio::time::timeout(Duration::from_mins(1), run).await;
    (code.expect("it ends"), out.text(), err.text())
}

/// Removals of the pod, as what was asked for.
fn removals(server: &Server) -> Vec<Value> {
    server.sent("DELETE", &format!("/{NAME}"))
}

/// An error with its cause.
fn words(error: &BackendError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[tokio::test]
async fn a_command_has_its_streams_and_its_exit_code() {
    let play = Play::new(waiting("ContainerCreating"), Some(running()));
    // It has said something before anybody could be attached to it.
    play.logs("early\n");
    let scene = play.clone();
    let attach = move |_| {
        let play = scene.clone();
        with(async move |mut socket: Socket| {
            let mut read = Vec::new();
            while let Some((channel, bytes)) = heard(&mut socket).await {
                match channel {
                    STDIN => read.extend(bytes),
                    CLOSE => break,
                    other => panic!("channel {other}"),
                }
            }
            assert_eq!(read, b"in");
            say(&mut socket, STDOUT, b"late\n").await;
            say(&mut socket, STDERR, b"wrong\n").await;
            play.ends(socket, 7).await;
        })
    };
    let server = play.server(attach).await;
    let (code, out, err) = run(&server, "in").await;
    assert_eq!(code.unwrap(), 7);
    assert_eq!((out.as_str(), err.as_str()), ("early\nlate\n", "wrong\n"));
    let asked = "&stdin=true&stdout=true&stderr=true&container=order";
    assert_eq!(server.queries("/attach"), [asked]);
    assert_eq!(removals(&server), [json!({})]);
}

#[tokio::test]
async fn one_that_ended_before_anybody_was_attached_still_shows_its_output() {
    // It is seen to have ended, or it ends while one tries.
    for next in [ended(3), running()] {
        let play = Play::new(waiting("ContainerCreating"), Some(next));
        play.logs("all of it\n");
        let scene = play.clone();
        let attach = move |time| {
            scene.pod.send_replace(ended(3));
            never(time)
        };
        let server = play.server(attach).await;
        let (code, out, err) = run(&server, "").await;
        assert_eq!(code.unwrap(), 3);
        assert_eq!((out.as_str(), err.as_str()), ("all of it\n", ""));
        assert_eq!(removals(&server).len(), 1);
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_is_taken_up_and_nothing_is_told_twice() {
    let play = Play::new(running(), None);
    let scene = play.clone();
    let attach = move |time| {
        let play = scene.clone();
        with(async move |mut socket: Socket| {
            if time == 0 {
                say(&mut socket, STDOUT, b"one\n").await;
                play.logs("one\nmissed\n");
            } else {
                say(&mut socket, STDOUT, b"two\n").await;
                play.logs("two\n");
                play.ends(socket, 0).await;
            }
        })
    };
    let server = play.server(attach).await;
    let (code, out, _) = run(&server, "").await;
    assert_eq!(code.unwrap(), 0);
    assert_eq!(out, "one\nmissed\ntwo\n");
    // What was typed went to the first one.
    let asked = server.queries("/attach");
    assert_eq!(asked.len(), 2);
    assert!(!asked[1].contains("stdin"), "{asked:?}");
}

#[tokio::test]
async fn what_cannot_be_started_or_attached_to_is_one_error() {
    let bad_name = waiting("InvalidImageName");
    let server = Play::new(bad_name, None).server(never).await;
    let (code, ..) = run(&server, "").await;
    assert_eq!(
        words(&code.unwrap_err()),
        "could not start pod order-run-1: image order:1 is no name of an image"
    );
    let state = json!({ "terminated": { "exitCode": 128, "reason": "StartError",
        "message": "exec: \"nope\": not found" } });
    let server = Play::new(pod("Failed", &state), None).server(never).await;
    let (code, ..) = run(&server, "").await;
    assert_eq!(
        words(&code.unwrap_err()),
        "could not start pod order-run-1: cannot be started: exec: \"nope\": not found"
    );
    let forbidden = |_| status(403, "pods/attach is forbidden");
    let server = Play::new(running(), None).server(forbidden).await;
    let (code, ..) = run(&server, "").await;
    assert_eq!(
        words(&code.unwrap_err()),
        "the cluster refused to attach to pod order-run-1: pods/attach is forbidden"
    );
    let mut gone = waiting("ContainerCreating");
    gone["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:06Z".into();
    let waits = waiting("ContainerCreating");
    let server = Play::new(waits, Some(gone)).server(never).await;
    let (code, ..) = run(&server, "").await;
    let error = code.unwrap_err();
    assert!(matches!(error, BackendError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn signals_end_it_in_its_time_or_at_once() {
    for (signals, grace, code) in [
        (&["SIGTERM"][..], Some(10), 143),
        (&["SIGINT", "SIGKILL"], Some(0), 137),
    ] {
        let mut pod = running();
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        let play = Play::new(pod, None);
        let attach =
            |_| with(async |mut socket: Socket| while heard(&mut socket).await.is_some() {});
        let server = play.server(attach).await;
        let cluster = server.cluster().await;
        let signalled = async {
            // It runs, and somebody is attached.
            let attached = async {
                while server.queries("/attach").is_empty() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), attached)
                .await
                .unwrap();
            for name in signals {
                cluster.signal(NAME, name).await.unwrap();
            }
        };
        let (ran, ()) = tokio::join!(run(&server, ""), signalled);
        assert_eq!(ran.0.unwrap(), code);
        let sent = removals(&server);
        assert_eq!(sent[0], json!({}));
        let at_once = json!({ "gracePeriodSeconds": 0 });
        assert_eq!(sent.contains(&at_once), signals.len() == 2, "{sent:?}");
    }
}

#[tokio::test]
async fn one_that_nobody_stays_with_has_begun_or_is_an_error() {
    let begin = async |play: Play| {
        let server = play.server(never).await;
        let cluster = server.cluster().await;
        let container = NAME.to_owned();
        let start = Action::StartContainer { container };
        let begun = cluster.apply(&Context::default(), &start).await;
        let container = NAME.to_owned();
        let remove = Action::RemoveContainer { container };
        cluster.apply(&Context::default(), &remove).await.unwrap();
        assert_eq!(removals(&server).len(), 1);
        begun
    };
    let creating = || waiting("ContainerCreating");
    begin(Play::new(creating(), Some(running()))).await.unwrap();
    begin(Play::new(creating(), Some(ended(1)))).await.unwrap();
    let bad = Play::new(creating(), Some(waiting("InvalidImageName")));
    assert!(begin(bad).await.is_err());
}

/// A stack with a service that is pulled or built.
fn shop(image: ImageSource) -> DesiredState {
    let order = ServiceSpec {
        name: "order".to_owned(),
        image,
        ..ServiceSpec::default()
    };
    DesiredState {
        stack: "shop".to_owned(),
        services: [("order".to_owned(), order)].into(),
        ..DesiredState::default()
    }
}

async fn make(server: &Server, image: ImageSource) -> Result<String, BackendError> {
    let desired = shop(image);
    let request = OneOff {
        desired: &desired,
        service: &desired.services["order"],
        id: "1",
    };
    let made = server.cluster().await.one_off(&request).await?;
    assert_eq!(made.notes, Vec::<String>::new());
    Ok(made.name)
}

fn pulled() -> ImageSource {
    ImageSource::Pull {
        reference: "order:1".to_owned(),
        policy: PullPolicy::default(),
    }
}

#[tokio::test]
async fn a_pod_is_made_once_or_it_is_said_why_not() {
    let answering = async |namespace: u16, pods: u16| {
        Server::start(move |target| match target.split('?').next() {
            Some("/api/v1/namespaces/shop") if namespace == 200 => {
                Reply::Json(200, json!({ "metadata": { "name": "shop" } }))
            }
            Some("/api/v1/namespaces/shop") => {
                // Clients go by the reason.
                let reason = if namespace == 404 { "NotFound" } else { "x" };
                let status = json!({ "kind": "Status", "status": "Failure", "code": namespace,
                    "reason": reason, "message": "no namespace" });
                Reply::Json(namespace, status)
            }
            Some("POST /api/v1/namespaces/shop/pods") if pods == 201 => Reply::Json(201, running()),
            Some("POST /api/v1/namespaces/shop/pods") => status(pods, "no pod of yours"),
            _ => super::otherwise(target),
        })
        .await
    };
    // The answer to an earlier try may have been lost.
    for created in [201, 409] {
        let server = answering(200, created).await;
        assert_eq!(make(&server, pulled()).await.unwrap(), NAME);
        let sent = server.sent("POST", "/pods");
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0]["metadata"]["labels"]["shopctl.dev/run-of"], "order");
    }
    // Who may not look at namespaces may still have one.
    let server = answering(403, 201).await;
    assert_eq!(make(&server, pulled()).await.unwrap(), NAME);
    let server = answering(404, 201).await;
    let error = make(&server, pulled()).await.unwrap_err();
    assert_eq!(error.to_string(), "namespace shop does not exist");
    assert!(server.sent("POST", "/pods").is_empty());
    let server = answering(200, 403).await;
    let error = make(&server, pulled()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the cluster refused to create pod order-run-1: no pod of yours"
    );
    let error = make(&server, ImageSource::Build { tag: None }).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, BackendError::ImageMissing { .. }),
        "{error}"
    );
}
