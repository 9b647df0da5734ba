//! One stack of its own per test, removed by its label also when the test fails.

use std::collections::BTreeMap;
use std::collections::HashMap;

use bollard::query_parameters::ListContainersOptionsBuilder;
use bollard::query_parameters::ListImagesOptionsBuilder;
use bollard::query_parameters::ListNetworksOptionsBuilder;
use bollard::query_parameters::ListVolumesOptionsBuilder;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use bollard::query_parameters::RemoveImageOptionsBuilder;
use bollard::query_parameters::RemoveVolumeOptionsBuilder;
use shopctl::backend::Apply as _;
use shopctl::backend::BackendError;
use shopctl::backend::Context;
use shopctl::backend::Observe as _;
use shopctl::backend::Query;
use shopctl::backend::docker::Docker;
use shopctl::backend::docker::Settings;
use shopctl::backend::docker::image;
use shopctl::plan::action::Action;
use shopctl::plan::action::InstanceSpec;
use shopctl::plan::action::Listen;
use shopctl::state::names;
use shopctl::state::observed::Instance;
use shopctl::state::observed::ObservedState;
use shopctl::state::observed::Role;
use shopctl::state::spec::ContainerSpec;
use shopctl::state::spec::Endpoint;
use shopctl::state::spec::NetworkMode;
use shopctl::state::spec::NetworkSpec;
use shopctl::state::spec::VolumeSpec;
use uuid::Uuid;

use crate::support::probe;

/// A stack and a connection.
pub(crate) struct World {
    pub(crate) docker: Docker,
    pub(crate) stack: String,
    pub(crate) context: Context,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::at(None).await
    }

    /// At a given address, e.g. of a shim.
    pub(crate) async fn at(host: Option<String>) -> Self {
        let settings = Settings {
            host,
            ..Settings::default()
        };
        Self::with(&settings).await
    }

    pub(crate) async fn with(settings: &Settings) -> Self {
        let docker = Docker::connect(settings).await.unwrap();
        let random = Uuid::now_v7().simple().to_string();
        let stack = format!("t-{}", &random[20..]);
        let context = Context {
            run: format!("run-{random}"),
            helper_image: format!("{stack}-helper:1"),
            helper_binary: probe::path(),
            stack: stack.clone(),
            files: BTreeMap::new(),
        };
        let world = Self {
            docker,
            stack,
            context,
        };
        // An image of its own: one that is loaded while another test removes the last name
        // of the same image is gone.
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("probe");
        let mut program = std::fs::read(probe::path()).unwrap();
        program.extend_from_slice(world.stack.as_bytes());
        std::fs::write(&own, program).unwrap();
        image::ensure(&world.docker, &world.context.helper_image, &own)
            .await
            .unwrap();
        world
    }

    pub(crate) async fn apply(&self, action: Action) {
        self.try_apply(&action).await.unwrap();
    }

    pub(crate) async fn try_apply(&self, action: &Action) -> Result<(), BackendError> {
        self.docker.apply(&self.context, action).await
    }

    pub(crate) async fn observe(&self) -> ObservedState {
        let query = Query {
            stack: self.stack.clone(),
            ..Query::default()
        };
        self.docker.observe(&query).await.unwrap()
    }

    pub(crate) async fn find(&self, container: &str) -> Option<Instance> {
        let state = self.observe().await;
        state
            .instances
            .into_iter()
            .find(|one| one.name == container)
    }

    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}_{key}", self.stack)
    }

    pub(crate) async fn network(&self, key: &str) {
        self.apply(self.create_network(key, false)).await;
    }

    pub(crate) fn create_network(&self, key: &str, internal: bool) -> Action {
        Action::CreateNetwork {
            key: key.to_owned(),
            spec: NetworkSpec {
                name: self.name(key),
                internal,
                ..NetworkSpec::default()
            },
        }
    }

    pub(crate) fn create_volume(&self, key: &str) -> Action {
        Action::CreateVolume {
            key: key.to_owned(),
            spec: VolumeSpec {
                name: self.name(key),
                ..VolumeSpec::default()
            },
        }
    }

    pub(crate) fn create_store(&self) -> Action {
        Action::CreateVolume {
            key: "shopctl".to_owned(),
            spec: VolumeSpec {
                name: names::store(&self.stack),
                ..VolumeSpec::default()
            },
        }
    }

    pub(crate) fn create_helper(
        &self,
        name: &str,
        role: Role,
        listens: &[Listen],
        networks: &[&str],
    ) -> Action {
        Action::CreateHelper {
            name: name.to_owned(),
            role,
            listens: listens.to_vec(),
            networks: networks.iter().map(|key| self.name(key)).collect(),
            names: BTreeMap::new(),
        }
    }

    /// A stack with a store and its keeper.
    pub(crate) async fn keeper(&self) -> String {
        let name = names::keeper(&self.stack);
        self.apply(self.create_store()).await;
        self.apply(self.create_helper(&name, Role::Keeper, &[], &[]))
            .await;
        name
    }

    /// An instance of a service on networks, running the probe with a command.
    pub(crate) fn instance(
        &self,
        service: &str,
        networks: &[&str],
        command: &[&str],
    ) -> InstanceSpec {
        let revision = "abcdef0123456789";
        let alias = names::alias(&self.stack, service, 1, revision);
        let endpoints = networks
            .iter()
            .map(|key| ((*key).to_owned(), Endpoint::default()))
            .collect();
        let labels = [
            (names::STACK, self.stack.as_str()),
            (names::SERVICE, service),
            (names::SLOT, "1"),
            (names::REVISION, revision),
            (names::INSTANCE, &alias),
            (names::ROLE, "service"),
            (names::COMPOSE_PROJECT, &self.stack),
            (names::COMPOSE_SERVICE, service),
            (names::COMPOSE_NUMBER, "1"),
            (names::COMPOSE_ONEOFF, "False"),
            (names::COMPOSE_HASH, "shopctl:1"),
        ];
        InstanceSpec {
            name: names::instance(&self.stack, service, 1, revision),
            service: service.to_owned(),
            slot: 1,
            revision: revision.to_owned(),
            image_id: None,
            spec: ContainerSpec {
                image: self.context.helper_image.clone(),
                command: Some(command.iter().map(|word| (*word).to_owned()).collect()),
                network: if networks.is_empty() {
                    NetworkMode::None
                } else {
                    NetworkMode::Networks(endpoints)
                },
                ..ContainerSpec::default()
            },
            networks: networks
                .iter()
                .map(|key| ((*key).to_owned(), self.name(key)))
                .collect(),
            volumes: BTreeMap::new(),
            files: BTreeMap::new(),
            join: None,
            volumes_from: Vec::new(),
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            alias,
        }
    }

    /// Creates and starts an instance; its container's name.
    pub(crate) async fn run(&self, instance: InstanceSpec) -> String {
        let container = instance.name.clone();
        self.apply(Action::CreateInstance { instance }).await;
        self.apply(start(&container)).await;
        container
    }
}

pub(crate) fn start(container: &str) -> Action {
    Action::StartContainer {
        container: container.to_owned(),
    }
}

pub(crate) fn stop(container: &str) -> Action {
    Action::StopContainer {
        container: container.to_owned(),
        grace_secs: None,
    }
}

pub(crate) fn remove(container: &str) -> Action {
    Action::RemoveContainer {
        container: container.to_owned(),
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let stack = self.stack.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(clean(&stack));
        });
        let _ = thread.join();
    }
}

/// Removes what carries the label of a stack, and its images.
async fn clean(stack: &str) {
    let docker = bollard::Docker::connect_with_unix_defaults().unwrap();
    let label = HashMap::from([("label", vec![format!("{}={stack}", names::STACK)])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&label);
    let force = RemoveContainerOptionsBuilder::new()
        .force(true)
        .v(true)
        .build();
    let containers = docker.list_containers(Some(options.build())).await;
    for found in containers.unwrap_or_default() {
        let id = found.id.unwrap_or_default();
        let _ = docker.remove_container(&id, Some(force.clone())).await;
    }
    let options = ListNetworksOptionsBuilder::new().filters(&label).build();
    let networks = docker.list_networks(Some(options)).await;
    for found in networks.unwrap_or_default() {
        let _ = docker.remove_network(&found.id.unwrap_or_default()).await;
    }
    let options = ListVolumesOptionsBuilder::new().filters(&label).build();
    let volumes = docker.list_volumes(Some(options)).await;
    for found in volumes.ok().and_then(|all| all.volumes).unwrap_or_default() {
        let force = RemoveVolumeOptionsBuilder::new().force(true).build();
        let _ = docker.remove_volume(&found.name, Some(force)).await;
    }
    let references = HashMap::from([("reference", vec![format!("{stack}-*")])]);
    let options = ListImagesOptionsBuilder::new().filters(&references).build();
    let images = docker.list_images(Some(options)).await;
    for tag in images
        .unwrap_or_default()
        .into_iter()
        .flat_map(|one| one.repo_tags)
    {
        if tag.starts_with(stack) {
            let options = RemoveImageOptionsBuilder::new().build();
            let _ = docker.remove_image(&tag, Some(options), None).await;
        }
    }
}
