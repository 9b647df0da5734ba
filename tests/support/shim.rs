//! A proxy before the engine's socket that counts calls and can break them: before
//! the engine sees them, or after it did them and before the answer comes back.
//! Works for any client, also another process, so crash tests can use it too.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
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
    /// `GET`, `POST`, …
    pub(crate) method: String,
    /// Path and query, without the version.
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
    /// From now on the engine is unreachable: what a dead client looks like.
    dead: bool,
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
enum Verdict {
    Pass,
    Break(Break),
    Dead,
}

impl Link {
    async fn serve(self, client: UnixStream) {
        let Ok(engine) = UnixStream::connect(ENGINE).await else {
            return;
        };
        let (client_reader, mut client_writer) = client.into_split();
        let (mut engine_reader, engine_writer) = engine.into_split();
        let muted = Arc::new(AtomicBool::new(false));
        let mute = Arc::clone(&muted);
        let answers = tokio::spawn(async move {
            let mut chunk = vec![0; 1 << 16];
            while let Ok(count) = engine_reader.read(&mut chunk).await {
                // A muted answer is not passed on: that it came is what counts.
                let passes = count > 0 && !mute.load(Ordering::SeqCst);
                if !passes || client_writer.write_all(&chunk[..count]).await.is_err() {
                    break;
                }
            }
            let _ = client_writer.shutdown().await;
        });
        let mut pipe = Pipe {
            reader: client_reader,
            writer: engine_writer,
            buffer: Vec::new(),
        };
        while let Some(head) = pipe.head().await {
            match self.judge(&head) {
                Verdict::Pass => {}
                Verdict::Break(Break::Before) | Verdict::Dead => {
                    answers.abort();
                    self.broke.notify_one();
                    return;
                }
                Verdict::Break(Break::After) => {
                    muted.store(true, Ordering::SeqCst);
                    let _ = pipe.forward(&head).await;
                    let _ = answers.await;
                    self.broke.notify_one();
                    return;
                }
            }
            if pipe.forward(&head).await.is_none() {
                break;
            }
        }
        let _ = pipe.writer.shutdown().await;
        let _ = answers.await;
    }

    fn judge(&self, head: &Head) -> Verdict {
        let mut state = self.state.lock().expect("no test panicked here");
        let call = head.call();
        let mutates = call.mutates();
        state.calls.push(call);
        if state.dead {
            return Verdict::Dead;
        }
        if !mutates {
            return Verdict::Pass;
        }
        state.mutating += 1;
        match state.plan {
            Some((number, how)) if number == state.mutating => Verdict::Break(how),
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

    fn body(&self) -> Body {
        let lower = self.text.to_ascii_lowercase();
        let header = |name: &str| {
            lower
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        if header("upgrade").is_some() {
            Body::Endless
        } else if header("transfer-encoding") == Some("chunked") {
            Body::Chunked
        } else {
            let length = header("content-length").and_then(|text| text.parse().ok());
            Body::Length(length.unwrap_or(0))
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
