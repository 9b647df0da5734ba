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
//! | `START_MS` | how long it takes until it listens |
//! | `GROW_MB`, `GROW_AFTER_MS` | memory it touches later |
//! | `FLAPS=n` | of `n` answers of `/readyz` one is 200, the others are 503 |
//! | `FAILS=n` | of `n` requests one is answered with 500 |
//! | `NEEDS=host:port` | `/readyz` answers 503 while nobody listens there |
//! | `CALL=host:port` | calls another service 100 times a second from its start on |
//! | `LEDGER` | folder in which it notes the `X-Id` of every request that it did |
//!
//! `/calls` says how its calls went; `/ask/HOST:PORT/NAME` connects there, asks for NAME and says
//! what came back: nothing is tried twice, and only the first address of a name is.
//!
//! `/events?n=N` streams N events (for ever without it), `/upgrade` echoes lines, or WebSocket frames
//! with one, after a switch of protocols. On SIGTERM both say `bye` and end well; a plain request is cut
//! off there, so that whoever stops a replica that still works is found out.
//!
//! `workload task WORD…` does one thing after another and ends: `say TEXT`, `warn TEXT`
//! (on stderr), `env NAME`, `show FILE`, `cat` (stdin to stdout), `columns N` (until the terminal has so many), `sleep MS`,
//! `exit CODE`.
//!
//! `workload healthcheck` exits 0 when `/readyz` answers 200.

use std::collections::BTreeMap;
use std::env;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
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
use tokio::sync::watch;

/// How long a call may take. One to a container that was removed meanwhile hangs until
/// another gets its address, and would be counted as lost only then.
const PATIENCE: Duration = Duration::from_secs(2);

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

/// Whether somebody listens at `NEEDS`.
async fn has_what_it_needs() -> bool {
    let Ok(at) = env::var("NEEDS") else {
        return true;
    };
    let connecting = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(at));
    matches!(connecting.await, Ok(Ok(_)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let port = u16::try_from(setting("PORT", 8000)).unwrap_or(8000);
    if env::args().nth(1).as_deref() == Some("healthcheck") {
        return healthcheck(port).await;
    }
    if env::args().nth(1).as_deref() == Some("task") {
        return task(env::args().skip(2)).await;
    }
    let held = hold(setting("HOLD_MB", 0));
    let mut term = signal(SignalKind::terminate()).expect("signals can be handled");
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(setting("START_MS", 0))) => {}
        _ = term.recv() => return std::process::ExitCode::SUCCESS,
    }
    let ready_after = Duration::from_millis(setting("READY_AFTER_MS", 0));
    let (ending, ends) = watch::channel(false);
    let replica = Arc::new(Replica {
        started: Instant::now(),
        ready_after,
        asked: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
        ledger: ledger(),
        calls: Mutex::default(),
        ends,
    });
    if let Ok(to) = env::var("CALL") {
        tokio::spawn(call(to, Arc::clone(&replica)));
    }
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
    let after = |name: &str| {
        let after = setting(name, u64::MAX);
        async move {
            match after {
                u64::MAX => std::future::pending().await,
                after => tokio::time::sleep(Duration::from_millis(after)).await,
            }
        }
    };
    let end = after("EXIT_AFTER_MS");
    let grow = after("GROW_AFTER_MS");
    tokio::pin!(end, grow);
    let mut grown = Vec::new();
    let mut streams = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                streams.spawn(serve(stream, Arc::clone(&replica)));
            }
            _ = term.recv() => break,
            () = &mut grow, if grown.is_empty() => grown = hold(setting("GROW_MB", 0)),
            Some(_) = streams.join_next() => {}
            () = &mut end => {
                log("leaving by EXIT_AFTER_MS");
                return std::process::ExitCode::from(u8::try_from(setting("EXIT_CODE", 0)).unwrap_or(1));
            }
        }
    }
    // Streams hear of it; the moment they get is too short for a request.
    let _ = ending.send(true);
    let _ = tokio::time::timeout(Duration::from_millis(20), async {
        while streams.join_next().await.is_some() {}
    })
    .await;
    std::process::ExitCode::SUCCESS
}

/// What the connections of a replica share.
struct Replica {
    started: Instant,
    ready_after: Duration,
    /// How often it was asked whether it is ready.
    asked: AtomicUsize,
    /// How many requests it has answered.
    answered: AtomicUsize,
    ledger: Option<std::fs::File>,
    /// How its own calls went.
    calls: Mutex<Calls>,
    ends: watch::Receiver<bool>,
}

/// How calls of another service went.
#[derive(Default)]
struct Calls {
    /// By the first word of the answer, the version.
    answered: BTreeMap<String, u64>,
    /// No answer, or another status than 200.
    lost: u64,
    /// What happened to the first that was lost.
    first: String,
}

impl Calls {
    fn count(&mut self, answer: &str) {
        if let Some(page) = answer.strip_prefix("200 ") {
            let version = page.split_whitespace().next().unwrap_or_default();
            *self.answered.entry(version.to_owned()).or_default() += 1;
            return;
        }
        if self.lost == 0 {
            answer.clone_into(&mut self.first);
        }
        self.lost += 1;
    }

    /// `lost 0; 1 answered 20; 2 answered 30`.
    fn words(&self) -> String {
        let mut words = vec![format!("lost {} {}", self.lost, self.first)];
        let answered = self.answered.iter();
        words.extend(answered.map(|(version, count)| format!("{version} answered {count}")));
        words.join("; ")
    }
}

/// Calls in an open loop: one that hangs holds up no other.
async fn call(to: String, replica: Arc<Replica>) {
    let host = to.split(':').next().unwrap_or_default().to_owned();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    loop {
        ticks.tick().await;
        let (to, host, replica) = (to.clone(), host.clone(), Arc::clone(&replica));
        tokio::spawn(async move {
            let answer = ask(&to, &host).await;
            replica.calls.lock().expect("whole").count(&answer);
        });
    }
}

/// The status and the page that come back; or what went wrong.
async fn ask(to: &str, host: &str) -> String {
    let ask = async {
        let mut addresses = tokio::net::lookup_host(to).await?;
        let first = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
        let mut stream = TcpStream::connect(first).await?;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, page) = answer
            .split_once("\r\n\r\n")
            .ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        Ok::<_, std::io::Error>(format!("{status} {page}"))
    };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => format!("failed: {error}"),
        Err(_) => "failed: no answer in time".to_owned(),
    }
}

impl Replica {
    fn is_ready(&self) -> bool {
        let flaps = usize::try_from(setting("FLAPS", 1)).unwrap_or(1);
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        self.started.elapsed() >= self.ready_after && asked.is_multiple_of(flaps.max(1))
    }

    /// Whether this request is one that fails.
    fn fails(&self) -> bool {
        let each = usize::try_from(setting("FAILS", 0)).unwrap_or(0);
        let number = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        each > 0 && number.is_multiple_of(each)
    }

    /// Notes a request that was done; one write, so that lines stay whole.
    fn note(&self, id: &str) {
        if let Some(mut ledger) = self.ledger.as_ref() {
            ledger
                .write_all(format!("{id}\n").as_bytes())
                .expect("the ledger is writable");
        }
    }
}

fn ledger() -> Option<std::fs::File> {
    let path = std::path::Path::new(&env::var_os("LEDGER")?).join(host());
    let open = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path);
    Some(open.expect("the ledger can be made"))
}

/// Memory that is really there.
fn hold(megabytes: u64) -> Vec<u8> {
    vec![1; usize::try_from(megabytes).unwrap_or(0) << 20]
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

/// One request as it came.
struct Asked {
    path: String,
    id: Option<String>,
    length: usize,
    upgrade: String,
    /// The connection ends with the answer.
    last: bool,
}

async fn asked(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut request = String::new();
    if stream.read_line(&mut request).await.ok()? == 0 {
        return None;
    }
    let mut asked = Asked {
        path: request.split_whitespace().nth(1).unwrap_or("/").to_owned(),
        id: None,
        length: 0,
        upgrade: String::new(),
        last: false,
    };
    loop {
        let mut header = String::new();
        if stream.read_line(&mut header).await.ok()? == 0 {
            return None;
        }
        let header = header.trim().to_ascii_lowercase();
        match header.split_once(':') {
            Some(("content-length", value)) => asked.length = value.trim().parse().ok()?,
            Some(("upgrade", value)) => value.trim().clone_into(&mut asked.upgrade),
            Some(("connection", value)) => asked.last = value.trim() == "close",
            Some(("x-id", value)) => asked.id = Some(value.trim().to_owned()),
            None => return Some(asked),
            _ => {}
        }
    }
}

async fn serve(mut stream: TcpStream, replica: Arc<Replica>) {
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
        let request = tokio::select! {
            request = asked(&mut stream) => request,
            // An idle connection ends with the replica.
            () = ended(&replica) => return,
        };
        let Some(request) = request else { return };
        let mut body = vec![0; request.length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let (status, text) = match request.path.as_str() {
            "/readyz" if !replica.is_ready() || !has_what_it_needs().await => {
                ("503 Service Unavailable", "not ready".to_owned())
            }
            "/readyz" => ("200 OK", "ready".to_owned()),
            "/upgrade" => return drop(echo(stream, &replica, &request.upgrade).await),
            "/calls" => ("200 OK", replica.calls.lock().expect("whole").words()),
            path if path.starts_with("/ask/") => {
                let mut words = path.split('/').skip(2);
                let (to, host) = (words.next(), words.next());
                let answer = ask(to.unwrap_or_default(), host.unwrap_or_default()).await;
                ("200 OK", answer)
            }
            path if path.starts_with("/events") => {
                let count = path.split_once("?n=").and_then(|(_, n)| n.parse().ok());
                return drop(events(stream, &replica, count.unwrap_or(u64::MAX)).await);
            }
            path => {
                let asked = path.split_once("?ms=").and_then(|(_, ms)| ms.parse().ok());
                let delay = asked.unwrap_or_else(|| setting("DELAY_MS", 0));
                tokio::time::sleep(Duration::from_millis(delay)).await;
                if let Some(id) = &request.id {
                    replica.note(id);
                }
                let status = if replica.fails() {
                    "500 Internal Server Error"
                } else {
                    "200 OK"
                };
                (status, format!("{} {}", version(), host()))
            }
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: text/plain\r\n\r\n{text}",
            text.len()
        );
        if stream.get_mut().write_all(answer.as_bytes()).await.is_err() || request.last {
            return;
        }
    }
}

async fn ended(replica: &Replica) {
    let mut ends = replica.ends.clone();
    let _ = ends.wait_for(|end| *end).await;
}

/// Numbered events, one each 50 ms.
async fn events(
    mut stream: BufReader<TcpStream>,
    replica: &Replica,
    count: u64,
) -> std::io::Result<()> {
    let stream = stream.get_mut();
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await?;
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let mut last = "data: end\n\n";
    for number in 0..count {
        stream
            .write_all(chunk(&format!("data: {number}\n\n")).as_bytes())
            .await?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
            () = ended(replica) => {
                last = "data: bye\n\n";
                break;
            }
        }
    }
    stream.write_all(chunk(last).as_bytes()).await?;
    stream.write_all(b"0\r\n\r\n").await?;
    stream.shutdown().await
}

/// Every line comes back, in whatever protocol: a WebSocket frame with a line in it too.
async fn echo(
    mut stream: BufReader<TcpStream>,
    replica: &Replica,
    protocol: &str,
) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    );
    stream.get_mut().write_all(head.as_bytes()).await?;
    loop {
        let mut line = Vec::new();
        tokio::select! {
            read = stream.read_until(b'\n', &mut line) => if read? == 0 {
                return Ok(());
            },
            () = ended(replica) => {
                stream.get_mut().write_all(b"\x81\x04bye\n").await?;
                return stream.get_mut().shutdown().await;
            }
        }
        stream.get_mut().write_all(&line).await?;
    }
}

async fn task(mut words: impl Iterator<Item = String>) -> std::process::ExitCode {
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap_or_default();
        match word.as_str() {
            "say" => log(&next()),
            "warn" => warn(&next()),
            "env" => log(&env::var(next()).unwrap_or_else(|_| "unset".to_owned())),
            "add" => add(&next(), &next()),
            "show" => log(&std::fs::read_to_string(next()).expect("the file can be read")),
            "cat" => {
                let mut output = tokio::io::stdout();
                let copied = tokio::io::copy(&mut tokio::io::stdin(), &mut output).await;
                copied.expect("both ends are open");
                output.flush().await.expect("stdout is open");
            }
            "columns" => columns(number(&next())).await,
            "sleep" => tokio::time::sleep(Duration::from_millis(number(&next()))).await,
            "exit" => {
                return std::process::ExitCode::from(u8::try_from(number(&next())).unwrap_or(1));
            }
            other => panic!("{other} is no task"),
        }
    }
    std::process::ExitCode::SUCCESS
}

/// Adds a line to a file.
fn add(path: &str, line: &str) {
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path);
    writeln!(file.expect("the file can be opened"), "{line}").expect("the line can be written");
}

/// Says the size of the terminal once it has so many columns.
async fn columns(wanted: u64) {
    let mut changes = signal(SignalKind::window_change()).expect("signals can be handled");
    loop {
        let size = rustix::termios::tcgetwinsize(std::io::stdin()).expect("a terminal");
        if u64::from(size.ws_col) == wanted {
            return log(&format!("{} rows {} columns", size.ws_row, size.ws_col));
        }
        changes.recv().await.expect("signals can be handled");
    }
}

#[expect(clippy::print_stderr, reason = "what the tests read")]
fn warn(line: &str) {
    eprintln!("{line}");
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
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
