//! Networks, volumes, instances and helpers: made, found, changed, removed, each
//! twice as after a lost reply.

use std::net::TcpListener;

use shopctl::backend::BackendError;
use shopctl::backend::Context;
use shopctl::backend::Exec as _;
use shopctl::backend::ExecRequest;
use shopctl::backend::Observe as _;
use shopctl::backend::Query;
use shopctl::plan::action::Action;
use shopctl::plan::action::Listen;
use shopctl::state::desired::FileSet;
use shopctl::state::desired::SeedFile;
use shopctl::state::names;
use shopctl::state::observed::InstanceState;
use shopctl::state::observed::ObservedState;
use shopctl::state::observed::Role;
use shopctl::state::spec::HostPort;
use shopctl::state::spec::LiveSpec;
use shopctl::state::spec::Mount;
use shopctl::state::spec::MountSource;
use shopctl::state::spec::Restart;

use crate::world::World;
use crate::world::remove;
use crate::world::start;
use crate::world::stop;

/// What a command in a container prints.
pub(crate) async fn output(world: &World, container: &str, command: &[&str]) -> String {
    let request = ExecRequest {
        container: container.to_owned(),
        command: std::iter::once("/shopctl")
            .chain(command.iter().copied())
            .map(ToOwned::to_owned)
            .collect(),
        ..ExecRequest::default()
    };
    let (reader, writer) = tokio::io::duplex(1 << 16);
    let run = world.docker.exec(
        &request,
        None,
        Box::new(writer),
        Box::new(tokio::io::sink()),
    );
    let read = async {
        let mut text = String::new();
        let mut reader = reader;
        tokio::io::AsyncReadExt::read_to_string(&mut reader, &mut text)
            .await
            .unwrap();
        text
    };
    let (code, text) = tokio::join!(run, read);
    assert_eq!(code.unwrap(), 0, "{command:?}");
    text.trim_end().to_owned()
}

#[tokio::test]
#[ignore = "engine"]
async fn an_empty_stack_has_an_engine_and_nothing_else() {
    let world = World::new().await;
    let found = world.observe().await;
    assert!(found.engine.cpus > 0 && found.engine.memory > 0);
    assert_eq!(found.engine.api, world.docker.api_version());
    // The engine of the tests runs on this host.
    assert!(found.disk_free > Some(0), "{:?}", found.disk_free);
    let empty = ObservedState {
        engine: found.engine.clone(),
        disk_free: found.disk_free,
        ..ObservedState::default()
    };
    assert_eq!(found, empty);
}

#[tokio::test]
#[ignore = "engine"]
async fn an_instance_lives_and_every_action_may_be_done_twice() {
    let world = World::new().await;
    let mut instance = world.instance("order", &["back", "front"], &["keep"]);
    instance.volumes = [("data".to_owned(), world.name("data"))].into();
    instance.spec.mounts = vec![Mount {
        target: "/data".to_owned(),
        source: MountSource::Volume {
            key: "data".to_owned(),
            nocopy: false,
            subpath: None,
        },
        read_only: false,
    }];
    let name = instance.name.clone();
    for action in [
        world.create_network("back", true),
        world.create_network("front", false),
        world.create_volume("data"),
        Action::CreateInstance {
            instance: instance.clone(),
        },
    ] {
        world.apply(action.clone()).await;
        world.apply(action).await;
    }
    let made = world.find(&name).await.unwrap();
    assert_eq!(made.state, InstanceState::Created);
    assert_eq!((made.service.as_str(), made.slot), ("order", 1));
    assert_eq!(made.alias, instance.alias);
    let networks = [world.name("back"), world.name("front")];
    assert_eq!(made.networks, networks.into());
    assert_eq!(made.volumes, [world.name("data")].into());
    for _ in 0..2 {
        world.apply(start(&name)).await;
    }
    let running = world.find(&name).await.unwrap();
    assert_eq!(running.state, InstanceState::Running);
    assert!(running.started_at > 1_500_000_000);
    for _ in 0..2 {
        world.apply(stop(&name)).await;
    }
    let ended = world.find(&name).await.unwrap();
    let (code, oom) = (0, false);
    assert_eq!(ended.state, InstanceState::Exited { code, oom });
    world
        .apply(Action::RestartContainer {
            container: name.clone(),
        })
        .await;
    assert_eq!(
        world.find(&name).await.unwrap().state,
        InstanceState::Running
    );
    let disconnect = Action::DisconnectNetwork {
        container: name.clone(),
        network: world.name("front"),
    };
    let connect = Action::ConnectNetwork {
        container: name.clone(),
        network: world.name("front"),
        aliases: vec!["again".to_owned()],
    };
    for action in [disconnect, connect] {
        world.apply(action.clone()).await;
        world.apply(action).await;
    }
    for _ in 0..2 {
        world.apply(remove(&name)).await;
        world.apply(stop(&name)).await;
        for key in ["back", "front"] {
            let name = world.name(key);
            world.apply(Action::RemoveNetwork { name }).await;
        }
        let name = world.name("data");
        world.apply(Action::RemoveVolume { name }).await;
    }
    let left = world.observe().await;
    assert!(left.instances.is_empty() && left.networks.is_empty() && left.volumes.is_empty());
}

#[tokio::test]
#[ignore = "engine"]
async fn what_is_not_of_this_run_is_in_the_way() {
    let world = World::new().await;
    let instance = world.instance("order", &[], &["keep"]);
    let create = Action::CreateInstance { instance };
    world.apply(create.clone()).await;
    let later = Context {
        run: "another".to_owned(),
        ..world.context.clone()
    };
    let refused = shopctl::backend::Apply::apply(&world.docker, &later, &create).await;
    assert!(matches!(refused, Err(BackendError::Conflict { .. })));
}

#[tokio::test]
#[ignore = "engine"]
async fn a_missing_image_is_named() {
    let world = World::new().await;
    let mut instance = world.instance("order", &[], &["keep"]);
    instance.spec.image = format!("{}-none:1", world.stack);
    let refused = world.try_apply(&Action::CreateInstance { instance }).await;
    match refused.unwrap_err() {
        BackendError::ImageMissing { reference, .. } => {
            assert_eq!(reference, format!("{}-none:1", world.stack));
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
#[ignore = "engine"]
async fn an_image_that_is_not_the_planned_one_is_refused_and_leaves_nothing() {
    let world = World::new().await;
    let mut instance = world.instance("order", &[], &["keep"]);
    // A short one could be the beginning of any image's.
    let id = format!("sha256:{}", "0".repeat(64));
    instance.image_id = Some(id.clone());
    let name = instance.name.clone();
    let refused = world.try_apply(&Action::CreateInstance { instance }).await;
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains(&format!("image {id} is not available")),
        "{error}"
    );
    assert_eq!(world.find(&name).await, None);
}

#[tokio::test]
#[ignore = "engine"]
async fn a_taken_port_is_named() {
    let world = World::new().await;
    world.network("default").await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut instance = world.instance("order", &["default"], &["keep"]);
    instance.spec.ports = vec![HostPort {
        host_ip: "127.0.0.1".to_owned(),
        host_port: Some(port),
        container_port: 80,
        protocol: "tcp".to_owned(),
    }];
    let name = instance.name.clone();
    world.apply(Action::CreateInstance { instance }).await;
    match world.try_apply(&start(&name)).await.unwrap_err() {
        BackendError::PortTaken { port: found, .. } => assert_eq!(found, port.to_string()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
#[ignore = "engine"]
async fn a_gateway_is_hardened_and_found_with_its_ports() {
    let world = World::new().await;
    for action in [
        world.create_network("a-inside", true),
        world.create_network("b-outside", false),
        world.create_store(),
    ] {
        world.apply(action).await;
    }
    let name = names::gateway(&world.stack, 1);
    let port = free_port();
    let listens = [Listen {
        id: format!("127.0.0.1:{port}/tcp"),
        host_ip: "127.0.0.1".to_owned(),
        host_port: Some(port),
        inside: 10_001,
    }];
    let create = world.create_helper(&name, Role::Gateway, &listens, &["a-inside", "b-outside"]);
    world.apply(create.clone()).await;
    world.apply(create).await;
    let found = world.find(&name).await.unwrap();
    assert_eq!(
        (found.role, found.state),
        (Role::Gateway, InstanceState::Running)
    );
    assert_eq!(found.listens, [(listens[0].id.clone(), 10_001)].into());
    assert_eq!(found.host_ports, [listens[0].id.clone()].into());
    let networks = [world.name("a-inside"), world.name("b-outside")];
    assert_eq!(found.networks, networks.into());
    assert_eq!(found.live.restart, Restart::UnlessStopped);
    assert_eq!(
        output(&world, &name, &["owner", "/run/shopctl"]).await,
        "65532:65532 700"
    );
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
#[ignore = "engine"]
async fn a_published_port_is_reached_though_the_first_network_is_internal() {
    let world = World::new().await;
    world.apply(world.create_network("a-inside", true)).await;
    world.apply(world.create_network("b-outside", false)).await;
    let port = free_port();
    let mut instance = world.instance("order", &["a-inside", "b-outside"], &["serve", "80", "0"]);
    instance
        .spec
        .environment
        .insert("GREETING".to_owned(), Some("hello".to_owned()));
    instance.spec.ports = vec![HostPort {
        host_ip: "127.0.0.1".to_owned(),
        host_port: Some(port),
        container_port: 80,
        protocol: "tcp".to_owned(),
    }];
    world.run(instance).await;
    let text = tokio::time::timeout(std::time::Duration::from_secs(10), get(port));
    assert!(text.await.unwrap().ends_with("hello"));
}

/// Asks until somebody answers.
async fn get(port: u16) -> String {
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    loop {
        let ask = async {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            std::io::Result::Ok(text)
        };
        match ask.await {
            Ok(text) if !text.is_empty() => return text,
            _ => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
#[ignore = "engine"]
async fn foreign_containers_are_seen_when_asked_for() {
    let (world, other) = (World::new().await, World::new().await);
    let mut instance = other.instance("order", &[], &["keep"]);
    instance.spec.live = LiveSpec {
        cpu_shares: Some(512),
        memory_reservation: Some(1 << 24),
        ..LiveSpec::default()
    };
    let name = other.run(instance).await;
    let query = Query {
        stack: world.stack.clone(),
        foreign: true,
        ..Query::default()
    };
    let found = world.docker.observe(&query).await.unwrap();
    let found = found
        .foreign
        .into_iter()
        .find(|one| one.name == name)
        .unwrap();
    assert_eq!((found.cpu_milli, found.memory), (500, 1 << 24));
    assert_eq!(found.project, Some(other.stack.clone()));
    assert!(world.observe().await.foreign.is_empty());
}

#[tokio::test]
#[ignore = "engine"]
async fn networks_volumes_and_images_that_are_asked_for_are_looked_up() {
    let (world, other) = (World::new().await, World::new().await);
    other.network("net").await;
    other.apply(other.create_volume("vol")).await;
    let query = Query {
        stack: world.stack.clone(),
        images: [world.context.helper_image.clone(), "none:1".to_owned()].into(),
        networks: [other.name("net"), world.name("absent")].into(),
        volumes: [other.name("vol"), world.name("absent")].into(),
        ..Query::default()
    };
    let found = world.docker.observe(&query).await.unwrap();
    let networks: Vec<_> = found
        .networks
        .iter()
        .map(|(name, it)| (name, it.of_stack))
        .collect();
    assert_eq!(networks, [(&other.name("net"), false)]);
    assert_eq!(found.volumes.len(), 1);
    assert!(!found.volumes[&other.name("vol")].of_stack);
    let images: Vec<&String> = found.images.keys().collect();
    assert_eq!(images, [&world.context.helper_image]);
}

#[tokio::test]
#[ignore = "engine"]
async fn live_fields_change_and_the_rest_is_refused() {
    let world = World::new().await;
    let mut instance = world.instance("order", &[], &["keep"]);
    instance.spec.live.memory = Some(64 << 20);
    instance.spec.live.nano_cpus = Some(500_000_000);
    let name = world.run(instance).await;
    let live = LiveSpec {
        cpu_shares: Some(300),
        nano_cpus: Some(750_000_000),
        memory: Some(96 << 20),
        memory_swap: Some(128 << 20),
        memory_reservation: Some(32 << 20),
        pids: Some(77),
        restart: Restart::UnlessStopped,
    };
    let update = |live: &LiveSpec| Action::UpdateLive {
        container: name.clone(),
        live: live.clone(),
    };
    for _ in 0..2 {
        world.apply(update(&live)).await;
    }
    assert_eq!(world.find(&name).await.unwrap().live, live);
    let ignored = LiveSpec {
        nano_cpus: Some(0),
        ..live.clone()
    };
    let error = world.try_apply(&update(&ignored)).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("ignored the change of cpu limit"),
        "{error}"
    );
    assert_eq!(world.find(&name).await.unwrap().live, live);
}

#[tokio::test]
#[ignore = "engine"]
async fn seeded_files_have_their_owner_and_mode() {
    let mut world = World::new().await;
    let file = |text: &str, mode| SeedFile {
        content: text.as_bytes().to_vec(),
        uid: 65532,
        gid: 7,
        mode,
    };
    let set = FileSet {
        files: [
            ("key".to_owned(), file("k1", 0o400)),
            ("deep/er/one".to_owned(), file("d1", 0o440)),
        ]
        .into(),
        known: None,
        memory: false,
    };
    world.context.files = [("secrets".to_owned(), set)].into();
    let volume = names::files(&world.stack, "secrets", "0123456789abcdef");
    for _ in 0..2 {
        world
            .apply(Action::SeedFiles {
                memory: false,
                set: "secrets".to_owned(),
                volume: volume.clone(),
            })
            .await;
    }
    let mut instance = world.instance("order", &[], &["keep"]);
    instance.spec.read_only = true;
    instance.files = [("secrets".to_owned(), volume.clone())].into();
    let mount = |target: &str, file: Option<&str>| Mount {
        target: target.to_owned(),
        source: MountSource::Files {
            set: "secrets".to_owned(),
            file: file.map(ToOwned::to_owned),
        },
        read_only: true,
    };
    instance.spec.mounts = vec![
        mount("/run/secrets", None),
        mount("/etc/one", Some("deep/er/one")),
    ];
    let name = world.run(instance).await;
    assert_eq!(
        output(&world, &name, &["cat", "/run/secrets/key"]).await,
        "k1"
    );
    assert_eq!(
        output(&world, &name, &["owner", "/run/secrets/key"]).await,
        "65532:7 400"
    );
    assert_eq!(
        output(&world, &name, &["owner", "/etc/one"]).await,
        "65532:7 440"
    );
    let found = world.observe().await;
    assert!(found.instances[0].volumes.contains(&volume));
    assert_eq!(found.instances.len(), 1, "the seeding container is gone");
}
