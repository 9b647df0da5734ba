//! A proxy before the engine's socket that counts calls and can break them: before
//! the engine sees them, or after it did them and before the answer comes back.
//! Works for any client, also another process, so crash tests can use it too: there
//! the call and all that come after it hang, until the client is killed.
//!
//! What changes a gateway goes over a held exec stream, so its lines count as calls.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;

const ENGINE: &str = "/var/run/docker.sock";

/// One call as it went by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// `GET`, `POST`, …; `LINE` for a line to a gateway.
    pub(crate) method: String,
    /// Path and query, without the version; what a line asks for.
    pub(crate) path: String,
}

impl Call {
    /// Whether it may change something. Exec and attach streams and the build's
    /// session carry what other calls began.
    pub(crate) fn mutates(&self) -> bool {
        self.method != "GET" && self.method != "HEAD"
    }
}

/// How a call breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// The connection ends before the engine sees the call.
    Before,
    /// The engine does it; the connection ends before the answer.
    After,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    mutating: usize,
    /// Number of the mutating call, from 1, that breaks.
    plan: Option<(usize, Break)>,
    /// The broken call hangs, and so does every later one.
    freezes: bool,
    /// The call broke, and nothing goes through any more.
    frozen: bool,
}

/// Answers on their way to the client, or held back.
#[derive(Default)]
struct Answers {
    muted: AtomicBool,
    ended: AtomicBool,
    /// What was held back.
    kept: Mutex<Vec<u8>>,
    news: Notify,
}

impl Answers {
    /// Passes on what the engine says, until it is muted.
    async fn pass(&self, mut engine: OwnedReadHalf, mut client: OwnedWriteHalf) {
        let mut chunk = vec![0; 1 << 16];
        while let Ok(count @ 1..) = engine.read(&mut chunk).await {
            if self.muted.load(Ordering::SeqCst) {
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&chunk[..count]);
                drop(kept);
                self.news.notify_one();
            } else if client.write_all(&chunk[..count]).await.is_err() {
                break;
            }
        }
        self.ended.store(true, Ordering::SeqCst);
        self.news.notify_one();
        if self.muted.load(Ordering::SeqCst) {
            // The client hears nothing, not even that the connection ended.
            std::future::pending::<()>().await;
        }
        let _ = client.shutdown().await;
    }

    /// Resolves when these bytes were held back, or no more will come.
    async fn came(&self, wanted: &[u8]) {
        loop {
            let came = {
                let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.windows(wanted.len()).any(|part| part == wanted)
            };
            if came || self.ended.load(Ordering::SeqCst) {
                return;
            }
            self.news.notified().await;
        }
    }
}

/// The running proxy; it ends with the runtime it was started on.
pub(crate) struct Shim {
    folder: TempDir,
    state: Arc<Mutex<State>>,
    broke: Arc<Notify>,
}

impl Shim {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("docker.sock")).expect("a socket");
        let state = Arc::new(Mutex::new(State::default()));
        let broke = Arc::new(Notify::new());
        let shim = Self {
            folder,
            state: Arc::clone(&state),
            broke: Arc::clone(&broke),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let link = Link {
                    state: Arc::clone(&state),
                    broke: Arc::clone(&broke),
                };
                tokio::spawn(link.serve(client));
            }
        });
        shim
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        Path::new(self.folder.path()).join("docker.sock")
    }

    /// Calls since the last reset.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state
            .lock()
            .expect("no test panicked here")
            .calls
            .clone()
    }

    /// Calls since the last reset that may change something.
    pub(crate) fn mutating(&self) -> Vec<Call> {
        let calls = self.calls();
        calls.into_iter().filter(Call::mutates).collect()
    }

    /// Forgets all calls and plans to break the `number`th mutating one from now.
    pub(crate) fn reset(&self, plan: Option<(usize, Break)>) {
        *self.state.lock().expect("no test panicked here") = State {
            plan,
            ..State::default()
        };
    }

    /// As [`reset`](Self::reset), and there everything stands still: the client gets
    /// no answer and reaches nobody, until it is killed.
    pub(crate) fn freeze_at(&self, number: usize, how: Break) {
        *self.state.lock().expect("no test panicked here") = State {
            plan: Some((number, how)),
            freezes: true,
            ..State::default()
        };
    }

    /// Waits until the planned call broke, e.g. to kill the client there.
    pub(crate) async fn broken(&self) {
        self.broke.notified().await;
    }
}

struct Link {
    state: Arc<Mutex<State>>,
    broke: Arc<Notify>,
}

/// What is done with a call.
#[derive(Clone, Copy)]
enum Verdict {
    Pass,
    Break(Break),
    /// An earlier call broke, and everything stands still.
    Frozen,
}

impl Link {
    async fn serve(self, client: UnixStream) {
        let Ok(engine) = UnixStream::connect(ENGINE).await else {
            return;
        };
        let (client_reader, client_writer) = client.into_split();
        let (engine_reader, engine_writer) = engine.into_split();
        let answers = Arc::new(Answers::default());
        let passing = Arc::clone(&answers);
        let passing = tokio::spawn(async move {
            passing.pass(engine_reader, client_writer).await;
        });
        let mut pipe = Pipe {
            reader: client_reader,
            writer: engine_writer,
            buffer: Vec::new(),
        };
        if self.calls(&mut pipe, &answers).await.is_some() {
            // All went through.
            let _ = pipe.writer.shutdown().await;
            let _ = passing.await;
        } else {
            passing.abort();
        }
    }

    /// Passes calls on until the client has no more; none when one broke.
    async fn calls(&self, pipe: &mut Pipe, answers: &Answers) -> Option<()> {
        while let Some(head) = pipe.head().await {
            let verdict = self.judge(head.call());
            if let Verdict::Break(Break::After) = verdict {
                answers.muted.store(true, Ordering::SeqCst);
                tokio::select! {
                    () = answers.came(b"HTTP/1.1 ") => {}
                    () = async {
                        pipe.forward(&head).await;
                        std::future::pending::<()>().await;
                    } => {}
                }
            }
            self.passes(verdict, pipe).await?;
            if head.is_exec() {
                pipe.writer.write_all(&head.bytes).await.ok()?;
                pipe.pass(head.length()).await?;
                return self.lines(pipe, answers).await;
            }
            if pipe.forward(&head).await.is_none() {
                break;
            }
        }
        Some(())
    }

    /// Passes on what goes to a command in a container, line by line.
    async fn lines(&self, pipe: &mut Pipe, answers: &Answers) -> Option<()> {
        while let Some(line) = pipe.line().await {
            let asked: Option<serde_json::Value> = serde_json::from_slice(&line).ok();
            let op = asked.as_ref().and_then(|asked| asked["op"].as_str());
            if let (Some(asked), Some(op @ ("apply" | "drain"))) = (&asked, op) {
                let verdict = self.judge(Call {
                    method: "LINE".to_owned(),
                    path: format!("gateway {op}"),
                });
                if let Verdict::Break(Break::After) = verdict {
                    answers.muted.store(true, Ordering::SeqCst);
                    pipe.writer.write_all(&line).await.ok()?;
                    let answer = format!("\"id\":{},", asked["id"]);
                    answers.came(answer.as_bytes()).await;
                }
                self.passes(verdict, pipe).await?;
            } else if self.frozen() {
                self.passes(Verdict::Frozen, pipe).await?;
            }
            pipe.writer.write_all(&line).await.ok()?;
        }
        Some(())
    }

    /// Returns at once for a call that goes through; else the link has ended, when
    /// it is frozen only with its client.
    async fn passes(&self, verdict: Verdict, pipe: &mut Pipe) -> Option<()> {
        if let Verdict::Pass = verdict {
            return Some(());
        }
        if let Verdict::Break(_) = verdict {
            self.broke.notify_one();
        }
        if self.frozen() {
            while pipe.more().await.is_some() {
                pipe.buffer.clear();
            }
        }
        None
    }

    fn frozen(&self) -> bool {
        self.state.lock().expect("no test panicked here").frozen
    }

    fn judge(&self, call: Call) -> Verdict {
        let mut state = self.state.lock().expect("no test panicked here");
        if state.frozen {
            return Verdict::Frozen;
        }
        let mutates = call.mutates();
        state.calls.push(call);
        if !mutates {
            return Verdict::Pass;
        }
        state.mutating += 1;
        match state.plan {
            Some((number, how)) if number == state.mutating => {
                state.frozen = state.freezes;
                Verdict::Break(how)
            }
            _ => Verdict::Pass,
        }
    }
}

/// The head of one request.
struct Head {
    bytes: Vec<u8>,
    text: String,
}

enum Body {
    Length(usize),
    Chunked,
    /// The connection becomes a pipe.
    Endless,
}

impl Head {
    fn call(&self) -> Call {
        let mut words = self.text.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default();
        // `/v1.41/containers/json` and `/containers/json` are one call.
        let path = match path.strip_prefix("/v1.").and_then(|rest| rest.find('/')) {
            Some(at) => &path["/v1.".len() + at..],
            None => path,
        };
        Call {
            method,
            path: path.to_owned(),
        }
    }

    /// Whether what follows goes to a command in a container.
    fn is_exec(&self) -> bool {
        matches!(self.body(), Body::Endless) && self.call().path.starts_with("/exec/")
    }

    fn header(&self, name: &str) -> Option<String> {
        let lower = self.text.to_ascii_lowercase();
        let value = lower
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(|value| value.trim().to_owned())
    }

    fn length(&self) -> usize {
        let length = self.header("content-length");
        length.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn body(&self) -> Body {
        if self.header("upgrade").is_some() {
            Body::Endless
        } else if self.header("transfer-encoding").as_deref() == Some("chunked") {
            Body::Chunked
        } else {
            Body::Length(self.length())
        }
    }
}

/// Requests on their way to the engine.
struct Pipe {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    buffer: Vec<u8>,
}

impl Pipe {
    async fn more(&mut self) -> Option<()> {
        let mut chunk = vec![0; 1 << 16];
        let count = self.reader.read(&mut chunk).await.ok()?;
        self.buffer.extend_from_slice(&chunk[..count]);
        (count > 0).then_some(())
    }

    async fn head(&mut self) -> Option<Head> {
        loop {
            let end = self.buffer.windows(4).position(|part| part == b"\r\n\r\n");
            if let Some(end) = end {
                let bytes: Vec<u8> = self.buffer.drain(..end + 4).collect();
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return Some(Head { bytes, text });
            }
            self.more().await?;
        }
    }

    async fn forward(&mut self, head: &Head) -> Option<()> {
        self.writer.write_all(&head.bytes).await.ok()?;
        match head.body() {
            Body::Length(length) => self.pass(length).await,
            Body::Chunked => loop {
                let size = self.chunk_size().await?;
                self.pass(size + 2).await?;
                if size == 0 {
                    return Some(());
                }
            },
            Body::Endless => {
                self.writer.write_all(&self.buffer).await.ok()?;
                let _ = tokio::io::copy(&mut self.reader, &mut self.writer).await;
                None
            }
        }
    }

    /// The next line with its end, or what is left of one.
    async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            let end = self.buffer.iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                return Some(self.buffer.drain(..=end).collect());
            }
            if self.more().await.is_none() {
                let rest = std::mem::take(&mut self.buffer);
                return (!rest.is_empty()).then_some(rest);
            }
        }
    }

    async fn chunk_size(&mut self) -> Option<usize> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|part| part == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                self.writer.write_all(&line).await.ok()?;
                let text = String::from_utf8_lossy(&line[..end]).into_owned();
                return usize::from_str_radix(text.trim(), 16).ok();
            }
            self.more().await?;
        }
    }

    async fn pass(&mut self, mut length: usize) -> Option<()> {
        while length > 0 {
            if self.buffer.is_empty() {
                self.more().await?;
            }
            let count = length.min(self.buffer.len());
            let part: Vec<u8> = self.buffer.drain(..count).collect();
            self.writer.write_all(&part).await.ok()?;
            length -= count;
        }
        Some(())
    }
}
