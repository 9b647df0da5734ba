//! Events, logs, exec and usage.

use std::time::Duration;

use shopctl::backend::BackendError;
use shopctl::backend::Change;
use shopctl::backend::Exec as _;
use shopctl::backend::ExecRequest;
use shopctl::backend::LogQuery;
use shopctl::backend::Logs as _;
use shopctl::backend::Usage as _;
use shopctl::backend::Watch as _;
use shopctl::state::observed::Health;
use shopctl::state::observed::InstanceState;
use shopctl::state::spec::Healthcheck;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc::Receiver;

use crate::containers::output;
use crate::world::World;
use crate::world::remove;
use crate::world::stop;

async fn wait(changes: &mut Receiver<Change>, wanted: impl Fn(&Change) -> bool) -> Change {
    let find = async {
        loop {
            let change = changes.recv().await.expect("the stream is open");
            if wanted(&change) {
                return change;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), find)
        .await
        .expect("the change comes")
}

#[tokio::test]
#[ignore = "engine"]
async fn health_and_ends_are_heard() {
    let world = World::new().await;
    let mut changes = world.docker.watch(&world.stack).await.unwrap();
    let mut instance = world.instance("order", &[], &["serve", "8080", "300"]);
    instance.spec.healthcheck = Some(Healthcheck {
        test: ["CMD", "/shopctl", "check", "8080"]
            .map(ToOwned::to_owned)
            .into(),
        interval_ns: Some(100_000_000),
        ..Healthcheck::default()
    });
    let name = world.run(instance).await;
    let started = wait(&mut changes, |change| {
        change.state == InstanceState::Running
    })
    .await;
    assert_eq!(started.container, name);
    wait(&mut changes, |change| {
        change.health == Some(Health::Healthy)
    })
    .await;
    let now = world.docker.state(&name).await.unwrap();
    assert_eq!(
        (now.state, now.health),
        (InstanceState::Running, Some(Health::Healthy))
    );
    world.apply(stop(&name)).await;
    wait(&mut changes, |change| {
        matches!(change.state, InstanceState::Exited { .. })
    })
    .await;
    world.apply(remove(&name)).await;
    wait(&mut changes, |change| change.state == InstanceState::Dead).await;
    let gone = world.docker.state(&name).await;
    assert!(matches!(gone, Err(BackendError::NotFound { .. })));
}

#[tokio::test]
#[ignore = "engine"]
async fn a_container_that_ends_at_once_is_not_missed() {
    let world = World::new().await;
    for _ in 0..3 {
        let mut changes = world.docker.watch(&world.stack).await.unwrap();
        let name = world
            .run(world.instance("order", &[], &["exit", "7"]))
            .await;
        let ended = wait(&mut changes, |change| {
            matches!(change.state, InstanceState::Exited { .. })
        })
        .await;
        let (code, oom) = (7, false);
        assert_eq!(ended.state, InstanceState::Exited { code, oom });
        world.apply(remove(&name)).await;
    }
}

#[tokio::test]
#[ignore = "engine"]
async fn lines_of_both_streams_are_read_and_followed() {
    let world = World::new().await;
    let name = world
        .run(world.instance("a", &[], &["print", "out", "err"]))
        .await;
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let mut lines = world.docker.logs(&name, &query).await.unwrap();
    let mut found = Vec::new();
    while let Some(line) = lines.recv().await {
        found.push((line.stderr, line.text));
    }
    found.sort();
    assert_eq!(found, [(false, "out".to_owned()), (true, "err".to_owned())]);
    let query = LogQuery {
        tail: Some(1),
        timestamps: true,
        ..LogQuery::default()
    };
    let mut lines = world.docker.logs(&name, &query).await.unwrap();
    let line = lines.recv().await.unwrap();
    assert!(
        line.text.starts_with("20") && line.text.contains('T'),
        "{}",
        line.text
    );
    let mut talker = world.instance("b", &[], &["talk", "hello"]);
    talker.spec.tty = true;
    let name = world.run(talker).await;
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let mut lines = world.docker.logs(&name, &query).await.unwrap();
    assert_eq!(lines.recv().await.unwrap().text, "hello");
    world.apply(remove(&name)).await;
    assert_eq!(
        lines.recv().await,
        None,
        "the stream ends with the container"
    );
    let missing = world.docker.logs("none", &query).await.err().unwrap();
    assert!(
        matches!(missing, BackendError::NotFound { .. }),
        "{missing}"
    );
}

#[tokio::test]
#[ignore = "engine"]
async fn a_session_stays_open_and_ends_with_its_input() {
    let world = World::new().await;
    let name = world.run(world.instance("a", &[], &["keep"])).await;
    let command = ["/shopctl", "echo"].map(ToOwned::to_owned);
    let mut session = world.docker.session(&name, &command).await.unwrap();
    for word in ["one", "two"] {
        session.input.write_all(word.as_bytes()).await.unwrap();
        session.input.flush().await.unwrap();
        let mut answer = [0; 3];
        session.output.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, word.as_bytes());
    }
    session.input.shutdown().await.unwrap();
    let mut rest = Vec::new();
    session.output.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
#[ignore = "engine"]
async fn commands_give_their_output_and_exit_code() {
    let world = World::new().await;
    let name = world.run(world.instance("a", &[], &["keep"])).await;
    assert_eq!(output(&world, &name, &["print", "out", "err"]).await, "out");
    let mut request = ExecRequest {
        container: name.clone(),
        command: ["/shopctl", "exit", "3"].map(ToOwned::to_owned).into(),
        ..ExecRequest::default()
    };
    let sink = || Box::new(tokio::io::sink());
    let code = world.docker.exec(&request, None, sink(), sink()).await;
    assert_eq!(code.unwrap(), 3);
    request.command = ["/shopctl", "echo"].map(ToOwned::to_owned).into();
    request.stdin = true;
    let (reader, writer) = tokio::io::duplex(1024);
    let input: &'static [u8] = b"typed";
    let run = world
        .docker
        .exec(&request, Some(Box::new(input)), Box::new(writer), sink());
    let mut text = String::new();
    let mut reader = reader;
    let (code, read) = tokio::join!(run, reader.read_to_string(&mut text));
    assert_eq!(
        (code.unwrap(), read.is_ok(), text.as_str()),
        (0, true, "typed")
    );
    request.command = vec!["/none".to_owned()];
    let error = world.docker.exec(&request, None, sink(), sink()).await;
    // The engine says 400, or 126 and 127 once the process could have begun.
    assert!(
        error.is_err() || matches!(error, Ok(126 | 127)),
        "{error:?}"
    );
}

#[tokio::test]
#[ignore = "engine"]
async fn a_terminal_has_one_stream() {
    let world = World::new().await;
    let name = world.run(world.instance("a", &[], &["keep"])).await;
    let request = ExecRequest {
        container: name,
        command: ["/shopctl", "print", "out", "err"]
            .map(ToOwned::to_owned)
            .into(),
        tty: true,
        ..ExecRequest::default()
    };
    let (mut reader, writer) = tokio::io::duplex(1024);
    let sink = Box::new(tokio::io::sink());
    let run = world.docker.exec(&request, None, Box::new(writer), sink);
    let mut text = String::new();
    let (code, read) = tokio::join!(run, reader.read_to_string(&mut text));
    assert_eq!((code.unwrap(), read.is_ok()), (0, true));
    assert_eq!(text, "out\r\nerr\r\n");
    let (_sender, sizes) = tokio::sync::watch::channel((33, 77));
    let request = ExecRequest {
        command: ["/shopctl", "size"].map(ToOwned::to_owned).into(),
        sizes: Some(sizes),
        ..request
    };
    let (mut reader, writer) = tokio::io::duplex(1024);
    let sink = Box::new(tokio::io::sink());
    let run = world.docker.exec(&request, None, Box::new(writer), sink);
    let mut text = String::new();
    let (code, read) = tokio::join!(run, reader.read_to_string(&mut text));
    assert_eq!((code.unwrap(), read.is_ok()), (0, true));
    assert_eq!(text, "33x77\r\n");
}

#[tokio::test]
#[ignore = "engine"]
async fn use_is_measured_for_all_at_once() {
    let world = World::new().await;
    let busy = world.run(world.instance("busy", &[], &["burn"])).await;
    let idle = world.run(world.instance("idle", &[], &["keep"])).await;
    let names = [busy.clone(), idle.clone(), "none".to_owned()];
    let start = std::time::Instant::now();
    let found = world.docker.usage(&names).await.unwrap();
    println!("{found:?} in {} ms", start.elapsed().as_millis());
    assert!(start.elapsed() < Duration::from_millis(1500));
    assert_eq!(found.len(), 2);
    assert!(found[&busy].cpu > 0.2 && found[&idle].cpu < 0.1);
    assert!(found[&idle].memory > 0);
}
