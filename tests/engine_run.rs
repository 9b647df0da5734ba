//! `shopctl run` on a real Docker Engine: output, exit code, input, signals, the size
//! of the terminal, and nothing left behind.

mod support;

use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use rustix::pty;
use rustix::termios;
use support::TestStack;
use support::eventually;

const FILE: &str = r#"
services:
  web:
    build: app
    environment: { GREETING: hello }
    deploy: { update_config: { monitor: 0s } }
    volumes: ["data:/data"]
    x-shop: { ready: { http: /readyz, port: 8000 } }
volumes: { data: {} }
"#;

/// Containers that `run` made, by name and state.
fn one_offs(stack: &TestStack) -> Vec<(String, String)> {
    let all = stack.containers().into_iter();
    all.filter(|(name, _)| name.contains("-web-run-")).collect()
}

fn running(stack: &TestStack) -> String {
    eventually(Duration::from_secs(20), "it runs", || {
        let found = one_offs(stack);
        let (name, _) = found.iter().find(|(_, state)| state.ends_with("running"))?;
        Some(name.clone())
    })
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

#[test]
#[ignore = "engine"]
fn a_command_runs_with_the_settings_of_its_service() {
    let stack = TestStack::new(FILE);
    let early = stack.code(125, &["run", "web", "--", "task", "say", "hi"]);
    assert!(early.stderr.contains("shopctl build web"), "{early}");
    stack.ok(&["deploy"]);
    // What the file says since is not what was deployed.
    stack.write("stack.yaml", &FILE.replace("hello", "later"));
    let words = "run -e MORE=much web -- task say out warn err env GREETING env MORE exit 7";
    let ran = stack.code(7, &words.split(' ').collect::<Vec<_>>());
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\nhello\nmuch\n", "err\n")
    );
    let ran = stack.ok(&["run", "--entrypoint", "/workload task say 'it is'", "web"]);
    assert_eq!(ran.stdout, "it is\n");
    let missing = stack.code(125, &["run", "--entrypoint", "/none", "web"]);
    assert!(missing.stderr.contains("/none"), "{missing}");
    assert_eq!(one_offs(&stack), []);

    let mut child = stack.command(&["run", "-T", "web", "--", "task", "cat", "say", "end"]);
    let child = child.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().expect("shopctl starts");
    let mut input = child.stdin.take().expect("a pipe");
    let text = "typed\n".repeat(50_000);
    let typed = text.clone();
    let typing = std::thread::spawn(move || input.write_all(typed.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    typing.join().expect("it ends").expect("all was read");
    assert!(output.status.success());
    assert!(output.stdout == format!("{text}end\n").into_bytes());
    assert_eq!(one_offs(&stack), []);
}

#[test]
#[ignore = "engine"]
fn a_one_off_is_no_part_of_the_stack() {
    let stack = TestStack::new(FILE);
    stack.ok(&["deploy"]);
    let name = stack.ok(&["run", "-d", "web", "--", "task", "sleep", "60000"]);
    let name = name.stdout.trim().to_owned();
    assert_eq!(running(&stack), name);
    let found = stack.inspect(&name);
    let networks = found.network_settings.and_then(|network| network.networks);
    for endpoint in networks.expect("networks").into_values() {
        let aliases = endpoint.aliases.unwrap_or_default();
        assert!(!aliases.contains(&"web".to_owned()), "{aliases:?}");
    }
    stack.ok(&["plan", "--check"]);
    let again = stack.ok(&["deploy", "-o", "json"]);
    assert_eq!(
        again.events().pop().expect("an event")["outcome"],
        "nothing_to_do"
    );
    let status = stack
        .ok(&["status", "--check", "--drift", "-o", "json"])
        .json();
    assert_eq!(
        status["services"][0]["instances"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(running(&stack), name);
    stack.ok(&["down", "--volumes"]);
    assert_eq!(stack.leftovers(), Vec::<String>::new());
}

#[test]
#[ignore = "engine"]
fn signals_are_passed_on() {
    let stack = TestStack::new(FILE);
    stack.ok(&["deploy"]);
    // The workload ends well when it is asked to.
    let mut server = stack
        .command(&["run", "web"])
        .spawn()
        .expect("shopctl starts");
    let name = running(&stack);
    let ready = || {
        support::block_on(async {
            let options = bollard::query_parameters::LogsOptionsBuilder::default()
                .stdout(true)
                .build();
            let lines = futures_util::TryStreamExt::try_collect::<Vec<_>>(
                support::docker().logs(&name, Some(options)),
            );
            let lines = lines.await.unwrap_or_default();
            lines
                .iter()
                .any(|line| line.to_string().contains("listening"))
                .then_some(())
        })
    };
    eventually(Duration::from_secs(20), "it listens", ready);
    signal(&server, "-TERM");
    assert_eq!(server.wait().expect("it ends").code(), Some(0));
    assert_eq!(one_offs(&stack), []);

    // The first process of a container does not hear of SIGINT unless it asks to; the
    // second one kills it.
    let mut deaf = stack.command(&["run", "web", "--", "task", "sleep", "60000"]);
    let mut deaf = deaf.spawn().expect("shopctl starts");
    running(&stack);
    signal(&deaf, "-INT");
    let ended = eventually(Duration::from_secs(20), "it ends", || {
        signal(&deaf, "-INT");
        deaf.try_wait().expect("it can be waited for")
    });
    assert_eq!(ended.code(), Some(137));
    assert_eq!(one_offs(&stack), []);
}

/// Both ends of a terminal.
fn terminal() -> (File, File) {
    let flags = pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY;
    let ours: OwnedFd = pty::openpt(flags).expect("a terminal");
    pty::grantpt(&ours).expect("granted");
    pty::unlockpt(&ours).expect("unlocked");
    let path = pty::ptsname(&ours, Vec::new()).expect("a name");
    let path = path.into_string().expect("a path");
    let theirs = File::options().read(true).write(true).open(path);
    (File::from(ours), theirs.expect("the other end"))
}

fn resize(terminal: &File, rows: u16, columns: u16) {
    let size = termios::Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    termios::tcsetwinsize(terminal, size).expect("a terminal has a size");
}

/// What a terminal shows, piece by piece.
fn shown(terminal: &File) -> mpsc::Receiver<String> {
    let mut terminal = terminal.try_clone().expect("another handle");
    let (sender, pieces) = mpsc::channel();
    std::thread::spawn(move || {
        let mut chunk = [0_u8; 256];
        while let Ok(count @ 1..) = terminal.read(&mut chunk) {
            let piece = String::from_utf8_lossy(&chunk[..count]).into_owned();
            if sender.send(piece).is_err() {
                return;
            }
        }
    });
    pieces
}

/// Reads until this text came.
fn read_until(pieces: &mpsc::Receiver<String>, wanted: &str) {
    let mut seen = String::new();
    while !seen.contains(wanted) {
        match pieces.recv_timeout(Duration::from_secs(20)) {
            Ok(piece) => seen.push_str(&piece),
            Err(error) => panic!("{error}: {seen}"),
        }
    }
}

#[test]
#[ignore = "engine"]
fn a_terminal_keeps_its_size() {
    let stack = TestStack::new(FILE);
    stack.ok(&["deploy"]);
    let run = [
        "run", "web", "--", "task", "columns", "90", "say", "now", "columns", "100",
    ];
    let exec = [
        "exec",
        "web",
        "--",
        "/workload",
        "task",
        "columns",
        "90",
        "say",
        "now",
        "columns",
        "100",
    ];
    for arguments in [run.as_slice(), exec.as_slice()] {
        let (ours, theirs) = terminal();
        let pieces = shown(&ours);
        resize(&ours, 30, 90);
        let end = || Stdio::from(theirs.try_clone().expect("another handle"));
        let mut child = stack.command(arguments);
        let child = child.stdin(end()).stdout(end()).stderr(end());
        let mut child = child.spawn().expect("shopctl starts");
        read_until(&pieces, "30 rows 90 columns\r\nnow");
        resize(&ours, 40, 100);
        // It is not the terminal that the process belongs to, so nobody else tells it.
        signal(&child, "-WINCH");
        read_until(&pieces, "40 rows 100 columns");
        assert_eq!(
            child.wait().expect("it ends").code(),
            Some(0),
            "{arguments:?}"
        );
    }
    assert_eq!(one_offs(&stack), []);
}
