//! What the engine tests share: a stack of its own per test, the shopctl
//! binary run in it, and clean-up by label that also runs after a failure.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses its own part of this"
)]

pub mod cable;
pub mod client;
pub mod compose;
pub mod customer;
pub mod engine;
pub mod http;
pub mod probe;
pub mod rig;
pub mod shim;
pub mod shop;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::time::Duration;
use std::time::Instant;

use bollard::Docker;
use bollard::query_parameters::ListContainersOptionsBuilder;
use bollard::query_parameters::ListImagesOptionsBuilder;
use bollard::query_parameters::ListNetworksOptionsBuilder;
use bollard::query_parameters::ListVolumesOptionsBuilder;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use bollard::query_parameters::RemoveImageOptionsBuilder;
use bollard::query_parameters::RemoveVolumeOptionsBuilder;

/// A stack in a folder of its own, removed with all it made when it is dropped.
pub struct TestStack {
    /// Name of the stack, `t-<8 hex>`.
    pub name: String,
    folder: tempfile::TempDir,
    cache: tempfile::TempDir,
}

impl TestStack {
    /// A folder with the workload's Dockerfile beside the given stack file, in
    /// which `@PORT@`-like words stay as they are: use [`free_port`].
    pub fn new(file: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let id = uuid::Uuid::now_v7().simple().to_string();
        let stack = Self {
            name: format!("t-{}", &id[id.len() - 8..]),
            cache: tempfile::tempdir().expect("a temporary folder"),
            folder,
        };
        let app = stack.path().join("app");
        fs::create_dir(&app).expect("a folder");
        fs::copy(workload(), app.join("workload")).expect("the workload was built");
        stack.write(
            "app/Dockerfile",
            "FROM scratch\nCOPY workload /workload\nUSER 65532:65532\nENTRYPOINT [\"/workload\"]\n",
        );
        stack.write("stack.yaml", file);
        stack
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file in the folder.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).expect("the folder is writable");
    }

    /// shopctl with these arguments, ready to run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(&shopctl(), arguments)
    }

    /// The same with another shopctl.
    pub fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(["-p", &self.name])
            .args(arguments)
            .current_dir(self.path())
            .env("XDG_CACHE_HOME", self.cache.path())
            .env_remove("COMPOSE_FILE")
            .env_remove("COMPOSE_PROJECT_NAME")
            .stdin(std::process::Stdio::null());
        command
    }

    /// Runs shopctl; the exit code, stdout and stderr.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(arguments, &mut self.command(arguments))
    }

    /// Runs shopctl with these variables.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = self.command(arguments);
        Ran::of(arguments, command.envs(variables.iter().copied()))
    }

    /// Runs shopctl, which must succeed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> Ran {
        self.code(0, arguments)
    }

    /// Runs shopctl, which must end with this code.
    #[track_caller]
    pub fn code(&self, code: i32, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{ran}");
        ran
    }

    /// Containers of the stack by name, each as its id and state.
    pub fn containers(&self) -> BTreeMap<String, String> {
        self.summaries()
            .into_iter()
            .map(|one| {
                let state = one.state.map(|state| state.to_string()).unwrap_or_default();
                let id = one.id.clone().unwrap_or_default();
                (container_name(&one), format!("{} {state}", &id[..12]))
            })
            .collect()
    }

    fn summaries(&self) -> Vec<bollard::models::ContainerSummary> {
        block_on(async {
            let filters = self.filter();
            let options = ListContainersOptionsBuilder::default()
                .all(true)
                .filters(&filters)
                .build();
            docker()
                .list_containers(Some(options))
                .await
                .expect("the engine answers")
        })
    }

    /// Containers of one service, by name and in order.
    pub fn replicas(&self, service: &str) -> Vec<String> {
        let is_of = |one: &bollard::models::ContainerSummary| {
            one.labels
                .as_ref()
                .and_then(|labels| labels.get("dev.shopctl.service"))
                .is_some_and(|it| it == service)
        };
        let mut names: Vec<String> = self
            .summaries()
            .iter()
            .filter(|one| is_of(one))
            .map(container_name)
            .collect();
        names.sort();
        names
    }

    /// Names of all containers of the stack, its lock and prober too, which are no
    /// part of the Compose project; in order.
    pub fn all_containers(&self) -> Vec<String> {
        let mut names: Vec<String> = block_on(async {
            let label = format!("dev.shopctl.stack={}", self.name);
            let filters = [("label".to_owned(), vec![label])].into();
            let options = ListContainersOptionsBuilder::default()
                .all(true)
                .filters(&filters)
                .build();
            let found = docker().list_containers(Some(options)).await;
            let found = found.expect("the engine answers");
            found.iter().map(container_name).collect()
        });
        names.sort();
        names
    }

    /// What the engine says of a container.
    #[expect(clippy::unused_self, reason = "reads better: the stack's container")]
    pub fn inspect(&self, name: &str) -> bollard::models::ContainerInspectResponse {
        block_on(async {
            docker()
                .inspect_container(name, None)
                .await
                .expect("the container exists")
        })
    }

    /// Networks and volumes that carry the stack's label.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = self.containers().into_keys().collect();
        block_on(async {
            let docker = docker();
            let filters = self.filter();
            let networks = ListNetworksOptionsBuilder::default()
                .filters(&filters)
                .build();
            for network in docker
                .list_networks(Some(networks))
                .await
                .expect("the engine answers")
            {
                left.push(format!("network {}", network.name.unwrap_or_default()));
            }
            let volumes = ListVolumesOptionsBuilder::default()
                .filters(&filters)
                .build();
            let found = docker
                .list_volumes(Some(volumes))
                .await
                .expect("the engine answers");
            for volume in found.volumes.unwrap_or_default() {
                left.push(format!("volume {}", volume.name));
            }
        });
        left
    }

    /// Tags of images that were built for the stack.
    pub fn images(&self) -> Vec<String> {
        let reference = [("reference".to_owned(), vec![format!("{}-*", self.name)])].into();
        let options = ListImagesOptionsBuilder::default()
            .filters(&reference)
            .build();
        let found = block_on(async { docker().list_images(Some(options)).await });
        let images = found.expect("the engine answers").into_iter();
        let mut tags: Vec<String> = images.flat_map(|one| one.repo_tags).collect();
        tags.sort();
        tags
    }

    fn filter(&self) -> std::collections::HashMap<String, Vec<String>> {
        [(
            "label".to_owned(),
            vec![format!("com.docker.compose.project={}", self.name)],
        )]
        .into()
    }
}

impl Drop for TestStack {
    fn drop(&mut self) {
        let filters = self.filter();
        let name = self.name.clone();
        block_on(async move {
            let docker = docker();
            let all = ListContainersOptionsBuilder::default()
                .all(true)
                .filters(&filters)
                .build();
            for one in docker.list_containers(Some(all)).await.unwrap_or_default() {
                let force = RemoveContainerOptionsBuilder::default()
                    .force(true)
                    .v(true)
                    .build();
                let _ = docker
                    .remove_container(&one.id.unwrap_or_default(), Some(force))
                    .await;
            }
            let networks = ListNetworksOptionsBuilder::default()
                .filters(&filters)
                .build();
            for one in docker
                .list_networks(Some(networks))
                .await
                .unwrap_or_default()
            {
                let _ = docker.remove_network(&one.id.unwrap_or_default()).await;
            }
            let volumes = ListVolumesOptionsBuilder::default()
                .filters(&filters)
                .build();
            let found = docker
                .list_volumes(Some(volumes))
                .await
                .ok()
                .and_then(|found| found.volumes);
            for one in found.unwrap_or_default() {
                let force = RemoveVolumeOptionsBuilder::default().force(true).build();
                let _ = docker.remove_volume(&one.name, Some(force)).await;
            }
            let reference = [("reference".to_owned(), vec![format!("{name}-*")])].into();
            let images = ListImagesOptionsBuilder::default()
                .filters(&reference)
                .build();
            for one in docker.list_images(Some(images)).await.unwrap_or_default() {
                for tag in one.repo_tags {
                    let options = RemoveImageOptionsBuilder::default().build();
                    let _ = docker.remove_image(&tag, Some(options), None).await;
                }
            }
        });
    }
}

/// How a run of shopctl ended.
pub struct Ran {
    arguments: String,
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Wall-clock time.
    pub took: Duration,
}

impl Ran {
    /// Runs shopctl to its end.
    pub fn of(arguments: &[&str], command: &mut Command) -> Self {
        let started = Instant::now();
        let output = command.output().expect("shopctl starts");
        Self::new(arguments, &output, started.elapsed())
    }

    /// What is known of a process that ended.
    pub fn new(arguments: &[&str], output: &Output, took: Duration) -> Self {
        Self {
            arguments: arguments.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took,
        }
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Standard output as JSON, one value a line.
    #[track_caller]
    pub fn events(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}: {self}"))
        };
        self.stdout.lines().map(parse).collect()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "`shopctl {}` ended with {} after {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.arguments, self.code, self.took, self.stdout, self.stderr
        )
    }
}

/// The shopctl under test.
pub fn shopctl() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_shopctl"))
}

/// The workload, an example that `cargo test` builds beside the tests.
pub fn workload() -> PathBuf {
    example("workload")
}

/// An example that `cargo test` builds beside the tests.
pub fn example(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_shopctl"))
        .with_file_name("examples")
        .join(name);
    assert!(path.exists(), "{} is built with the tests", path.display());
    path
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

/// GETs a path over a new connection; the status and the body.
pub fn get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    get_from("localhost", port, path)
}

/// The same from a host of this name.
pub fn get_from(host: &str, port: u16, path: &str) -> std::io::Result<(u16, String)> {
    use std::io::Read as _;
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// Waits until `condition` holds, looking every 20 ms.
#[track_caller]
pub fn eventually<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client of the engine that the tests look with.
pub fn docker() -> Docker {
    Docker::connect_with_defaults().expect("an engine is configured")
}

/// Runs a future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn container_name(summary: &bollard::models::ContainerSummary) -> String {
    summary
        .names
        .as_ref()
        .and_then(|names| names.first())
        .map_or("", |name| name.trim_start_matches('/'))
        .to_owned()
}
