//! A stack in short form, and what it stands for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use shopctl::state::desired::Back;
use shopctl::state::desired::Class;
use shopctl::state::desired::Condition;
use shopctl::state::desired::Demand;
use shopctl::state::desired::DemandSource;
use shopctl::state::desired::Dependency;
use shopctl::state::desired::DesiredState;
use shopctl::state::desired::FileSet;
use shopctl::state::desired::ImageSource;
use shopctl::state::desired::PublishedPort;
use shopctl::state::desired::PullPolicy;
use shopctl::state::desired::ReadyGate;
use shopctl::state::desired::Rollout;
use shopctl::state::desired::RolloutOrder;
use shopctl::state::desired::Route;
use shopctl::state::desired::SeedFile;
use shopctl::state::desired::ServiceSpec;
use shopctl::state::hooks::Hook;
use shopctl::state::hooks::Hooks;
use shopctl::state::hooks::Lifecycle;
use shopctl::state::hooks::PreStart;
use shopctl::state::hooks::StackHooks;
use shopctl::state::spec::ContainerSpec;
use shopctl::state::spec::Endpoint;
use shopctl::state::spec::Healthcheck;
use shopctl::state::spec::HostPort;
use shopctl::state::spec::LiveSpec;
use shopctl::state::spec::Mount;
use shopctl::state::spec::MountSource;
use shopctl::state::spec::NetworkMode;
use shopctl::state::spec::NetworkSpec;
use shopctl::state::spec::Restart;
use shopctl::state::spec::VolumeSpec;
use shopctl::state::spec::VolumesFrom;
use shopctl::state::spec::VolumesSource;
use shopctl::state::strategy::Judge;
use shopctl::state::strategy::Staged;
use shopctl::state::strategy::StagedKind;
use shopctl::state::strategy::TrafficStage;

/// A stack in short form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sketch {
    pub(crate) services: BTreeMap<String, Service>,
    /// `external` or `internal`, by key.
    pub(crate) networks: BTreeMap<String, String>,
    /// `external`, by key.
    pub(crate) volumes: BTreeMap<String, String>,
    pub(crate) strict: bool,
    pub(crate) only: Vec<String>,
    /// Service of the stack's own hooks, and their commands.
    pub(crate) hooks: Option<(String, BTreeMap<String, String>)>,
}

/// A service in short form.
#[expect(clippy::struct_excessive_bools, reason = "a case sets each by itself")]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) image: Option<String>,
    /// Tag of the built image, `?` while it is unknown.
    pub(crate) build: Option<String>,
    pub(crate) pull: Option<String>,
    pub(crate) replicas: Option<u32>,
    /// `[ip:]host:container`, through the gateway.
    pub(crate) ports: Vec<String>,
    pub(crate) path: Option<String>,
    /// Host ports of the container itself.
    pub(crate) own_ports: Vec<u16>,
    pub(crate) needs: BTreeMap<String, String>,
    pub(crate) restart_with: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) command: Vec<String>,
    /// Reserved, thousandths of a core.
    pub(crate) cpu: Option<u64>,
    /// Reserved, MiB.
    pub(crate) memory: Option<u64>,
    /// Limit, MiB.
    pub(crate) limit: Option<i64>,
    pub(crate) pids: Option<i64>,
    pub(crate) stop_first: bool,
    pub(crate) parallelism: Option<u32>,
    pub(crate) delay: u64,
    pub(crate) monitor: u64,
    /// On the way back: stop-first, replicas at a time, pause.
    pub(crate) back: Option<(bool, u32, u64)>,
    /// Of other services, or `container:NAME`.
    pub(crate) volumes_from: Vec<String>,
    /// Mode of the namespace of processes.
    pub(crate) pid: Option<String>,
    /// Folder by key of the volume.
    pub(crate) subpaths: BTreeMap<String, String>,
    /// Images whose content is mounted.
    pub(crate) image_mounts: Vec<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) mac: Option<String>,
    /// Memory and swap, MiB.
    pub(crate) swap: Option<i64>,
    pub(crate) networks: Option<Vec<String>>,
    /// Key to `shared` or `single`.
    pub(crate) volumes: BTreeMap<String, String>,
    /// Secrets by name.
    pub(crate) secrets: BTreeMap<String, String>,
    /// They are kept in memory only.
    pub(crate) in_memory: bool,
    /// Path probed on port 8000.
    pub(crate) ready: Option<String>,
    pub(crate) healthcheck: bool,
    pub(crate) one_off: bool,
    pub(crate) container_name: Option<String>,
    pub(crate) joins: Option<String>,
    pub(crate) host_network: bool,
    pub(crate) address: Option<String>,
    pub(crate) grace: Option<i64>,
    pub(crate) class: Option<String>,
    /// `blue-green`, or `canary` with the shares of its stages.
    pub(crate) rollout: Option<String>,
    /// Ports on which others reach it through the gateway.
    pub(crate) inner: Vec<u16>,
    /// Commands: `migrate`, `chown of tools:1`, `each warm` for one by replica.
    pub(crate) pre_start: Vec<String>,
    /// Command by hook: `pre_deploy`, `post_deploy`, `on_rollback`.
    pub(crate) hooks: BTreeMap<String, String>,
}

/// Name of the stack in all tests.
pub(crate) const STACK: &str = "shop";

impl Sketch {
    /// What it stands for.
    pub(crate) fn desired(&self) -> DesiredState {
        let mut desired = DesiredState {
            stack: STACK.to_owned(),
            strict_capacity: self.strict,
            cpu_overcommit_percent: 100,
            working_dir: "/srv/shop".to_owned(),
            config_files: vec!["/srv/shop/stack.yaml".to_owned()],
            only: self.only.iter().cloned().collect(),
            hooks: self.hooks.as_ref().map(|(service, hooks)| StackHooks {
                service: service.clone(),
                hooks: commands(hooks),
            }),
            ..DesiredState::default()
        };
        let mut ports: BTreeMap<String, PublishedPort> = BTreeMap::new();
        for (name, service) in &self.services {
            for key in service.network_keys() {
                let kind = self.networks.get(&key).map(String::as_str);
                let spec = NetworkSpec {
                    name: format!("{STACK}_{key}"),
                    external: kind == Some("external"),
                    internal: kind == Some("internal"),
                    ..NetworkSpec::default()
                };
                desired.networks.insert(key, spec);
            }
            for key in service.volumes.keys() {
                let spec = VolumeSpec {
                    name: format!("{STACK}_{key}"),
                    external: self.volumes.get(key).map(String::as_str) == Some("external"),
                    ..VolumeSpec::default()
                };
                desired.volumes.insert(key.clone(), spec);
            }
            if !service.secrets.is_empty() {
                desired
                    .files
                    .insert(format!("{name}-secrets"), service.file_set());
            }
            for text in &service.ports {
                let (port, route) = service.port(name, text);
                let entry = ports.entry(port.id.clone()).or_insert(port);
                entry.routes.push(route);
            }
            desired.services.insert(name.clone(), service.spec(name));
        }
        desired.ports = ports.into_values().collect();
        desired
    }

    /// References of the images it uses.
    pub(crate) fn images(&self) -> Vec<String> {
        self.services
            .iter()
            .flat_map(|(name, service)| {
                let spec = service.container(name, "");
                let others: Vec<String> = spec.other_images().cloned().collect();
                std::iter::once(service.reference(name)).chain(others)
            })
            .filter(|reference| !reference.is_empty())
            .collect()
    }
}

/// As Docker Compose has it: the image counts, what `x-shop` says does not.
pub(crate) fn compose_hash(name: &str, service: &Service) -> String {
    format!("{name} {:?} {:?}", service.image, service.env)
}

impl Service {
    fn reference(&self, name: &str) -> String {
        match (&self.build, &self.image) {
            (Some(tag), _) if tag == "?" => String::new(),
            (Some(tag), _) => tag.clone(),
            (None, Some(image)) => image.clone(),
            (None, None) => format!("{name}:1"),
        }
    }

    fn network_keys(&self) -> Vec<String> {
        if self.joins.is_some() || self.host_network {
            return Vec::new();
        }
        self.networks
            .clone()
            .unwrap_or_else(|| vec!["default".to_owned()])
    }

    fn file_set(&self) -> FileSet {
        let files = self.secrets.iter().map(|(name, content)| {
            let file = SeedFile {
                content: content.clone().into_bytes(),
                mode: 0o444,
                ..SeedFile::default()
            };
            (name.clone(), file)
        });
        FileSet {
            files: files.collect(),
            known: None,
            memory: self.in_memory,
        }
    }

    fn port(&self, name: &str, text: &str) -> (PublishedPort, Route) {
        let parts: Vec<&str> = text.split(':').collect();
        let (ip, host, inside) = match parts.as_slice() {
            [ip, host, inside] => (*ip, *host, *inside),
            [host, inside] => ("", *host, *inside),
            _ => panic!("{text} is no port"),
        };
        let shown = if ip.is_empty() { "*" } else { ip };
        let port = PublishedPort {
            id: format!("{shown}:{host}/tcp"),
            host_ip: ip.to_owned(),
            host_port: Some(host.parse().unwrap()),
            http: self.ready.is_some() || self.path.is_some(),
            routes: Vec::new(),
            place: "stack.yaml:9:9".to_owned(),
        };
        let route = Route {
            host: None,
            path: self.path.clone().unwrap_or_else(|| "/".to_owned()),
            service: name.to_owned(),
            port: inside.parse().unwrap(),
        };
        (port, route)
    }

    fn spec(&self, name: &str) -> ServiceSpec {
        let reference = self.reference(name);
        ServiceSpec {
            name: name.to_owned(),
            place: format!("stack.yaml:{}:3", name.len()),
            compose_hash: compose_hash(name, self),
            replicas: self.replicas.unwrap_or(1),
            replicas_declared: self.replicas.is_some(),
            container: self.container(name, &reference),
            pinned: None,
            image: match &self.build {
                Some(tag) => ImageSource::Build {
                    tag: (tag != "?").then(|| tag.clone()),
                },
                None => ImageSource::Pull {
                    reference,
                    policy: match self.pull.as_deref() {
                        Some("always") => PullPolicy::Always,
                        Some("never") => PullPolicy::Never,
                        Some("hourly") => PullPolicy::Refresh(3600),
                        _ => PullPolicy::Missing,
                    },
                },
            },
            needs: self.dependencies(),
            ready: self.gate(),
            demand: Demand {
                cpu_milli: self.cpu.unwrap_or(0),
                cpu_source: source(self.cpu.is_some()),
                memory: self.memory.unwrap_or(0) << 20,
                memory_source: source(self.memory.is_some()),
            },
            rollout: Rollout {
                order: if self.stop_first {
                    RolloutOrder::StopFirst
                } else {
                    RolloutOrder::StartFirst
                },
                parallelism: self.parallelism.unwrap_or(1),
                delay_ms: self.delay,
                monitor_ms: self.monitor,
                staged: self.rollout.as_deref().map(staged),
                back: self.back.map(|(stop_first, parallelism, delay_ms)| Back {
                    order: if stop_first {
                        RolloutOrder::StopFirst
                    } else {
                        RolloutOrder::StartFirst
                    },
                    parallelism,
                    delay_ms,
                    monitor_ms: 0,
                }),
                ..Rollout::default()
            },
            class: match self.class.as_deref() {
                Some("batch") => Class::Batch,
                Some("stateful") => Class::Stateful,
                _ => Class::Latency,
            },
            container_name: self.container_name.clone(),
            one_off: self.one_off,
            exclusive_volumes: self
                .volumes
                .iter()
                .filter(|(_, access)| *access == "single")
                .map(|(key, _)| key.clone())
                .collect(),
            inner: self.inner.iter().copied().collect(),
            hooks: commands(&self.hooks),
            lifecycle: Lifecycle::default(),
            autoscale: None,
            mesh: None,
        }
    }

    fn dependencies(&self) -> Vec<Dependency> {
        let mut needs: Vec<Dependency> = self
            .needs
            .iter()
            .map(|(service, condition)| Dependency {
                service: service.clone(),
                condition: match condition.as_str() {
                    "healthy" => Condition::Healthy,
                    "completed" => Condition::CompletedSuccessfully,
                    _ => Condition::Started,
                },
                required: true,
                restart: self.restart_with.contains(service),
            })
            .collect();
        needs.extend(self.joins.iter().map(|service| Dependency {
            service: service.clone(),
            condition: Condition::Started,
            required: true,
            restart: false,
        }));
        needs
    }

    fn gate(&self) -> ReadyGate {
        if self.one_off {
            return ReadyGate::Completed { deadline_ms: 1000 };
        }
        match &self.ready {
            Some(path) => ReadyGate::Probe {
                port: 8000,
                http: Some(path.clone()),
                deadline_ms: 1000,
            },
            None if self.healthcheck => ReadyGate::Healthy {
                deadline_ms: 1000,
                interval_ms: 100,
            },
            None => ReadyGate::Running,
        }
    }

    fn container(&self, name: &str, reference: &str) -> ContainerSpec {
        let endpoint = Endpoint {
            aliases: vec![name.to_owned()],
            ipv4: self.address.clone(),
            ..Endpoint::default()
        };
        let mut mounts: Vec<Mount> = self
            .volumes
            .keys()
            .map(|key| Mount {
                target: format!("/{key}"),
                source: MountSource::Volume {
                    key: key.clone(),
                    nocopy: false,
                    subpath: self.subpaths.get(key).cloned(),
                },
                read_only: false,
            })
            .collect();
        mounts.extend(self.image_mounts.iter().map(|reference| Mount {
            target: "/image".to_owned(),
            source: MountSource::Image {
                reference: reference.clone(),
                subpath: None,
            },
            read_only: false,
        }));
        if !self.secrets.is_empty() {
            mounts.push(Mount {
                target: "/run/secrets".to_owned(),
                source: MountSource::Files {
                    set: format!("{name}-secrets"),
                    file: None,
                },
                read_only: true,
            });
        }
        ContainerSpec {
            image: reference.to_owned(),
            command: (!self.command.is_empty()).then(|| self.command.clone()),
            environment: self
                .env
                .iter()
                .map(|(key, value)| (key.clone(), Some(value.clone())))
                .collect(),
            network: match (&self.joins, self.host_network) {
                (Some(other), _) => NetworkMode::Service(other.clone()),
                (None, true) => NetworkMode::Host,
                (None, false) => NetworkMode::Networks(
                    self.network_keys()
                        .into_iter()
                        .map(|key| (key, endpoint.clone()))
                        .collect(),
                ),
            },
            mounts,
            pre_start: self.pre_start.iter().map(|text| pre_start(text)).collect(),
            annotations: self.annotations.clone(),
            mac_address: self.mac.clone(),
            pid: self.pid.clone(),
            volumes_from: self.volumes_from.iter().map(|text| lender(text)).collect(),
            ports: self
                .own_ports
                .iter()
                .map(|port| HostPort {
                    host_ip: String::new(),
                    host_port: Some(*port),
                    container_port: *port,
                    protocol: "tcp".to_owned(),
                })
                .collect(),
            healthcheck: self.healthcheck.then(Healthcheck::default),
            stop_grace_secs: self.grace,
            live: LiveSpec {
                memory: self.limit.map(|mib| mib << 20),
                memory_swap: self.swap.map(|mib| mib << 20),
                pids: self.pids,
                restart: if self.one_off {
                    Restart::No
                } else {
                    Restart::UnlessStopped
                },
                ..LiveSpec::default()
            },
            ..ContainerSpec::default()
        }
    }
}

fn pre_start(text: &str) -> PreStart {
    let (per_replica, rest) = match text.strip_prefix("each ") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (command, image) = match rest.split_once(" of ") {
        Some((command, image)) => (command, Some(image.to_owned())),
        None => (rest, None),
    };
    PreStart {
        command: Some(vec![command.to_owned()]),
        image,
        per_replica,
        ..PreStart::default()
    }
}

fn lender(text: &str) -> VolumesFrom {
    let source = match text.strip_prefix("container:") {
        Some(name) => VolumesSource::Container(name.to_owned()),
        None => VolumesSource::Service(text.to_owned()),
    };
    VolumesFrom {
        source,
        read_only: true,
    }
}

fn staged(text: &str) -> Staged {
    let stage = |percent, pause_ms| TrafficStage { percent, pause_ms };
    let (kind, stages) = match text.strip_prefix("canary") {
        Some(shares) => {
            let shares = shares.split_whitespace();
            let stages = shares.map(|share| stage(share.parse().unwrap(), 1000));
            (StagedKind::Canary, stages.collect())
        }
        None => (StagedKind::BlueGreen, vec![stage(0, 500), stage(100, 1000)]),
    };
    Staged {
        kind,
        stages,
        header: "X-Shop-Revision".to_owned(),
        cookie: None,
        preview: Some("next.shop.local".to_owned()),
        judge: Judge {
            min_requests: 100,
            max_errors: 10_000,
            p95_ms: None,
            p99_ms: None,
            max_slowdown: 200,
        },
    }
}

fn commands(hooks: &BTreeMap<String, String>) -> Hooks {
    let at = |key: &str| hooks.get(key).map(|line| hook(line));
    Hooks {
        pre_deploy: at("pre_deploy"),
        post_deploy: at("post_deploy"),
        on_rollback: at("on_rollback"),
    }
}

fn hook(line: &str) -> Hook {
    Hook {
        command: line.split_whitespace().map(ToOwned::to_owned).collect(),
        timeout_ms: 1000,
        ..Hook::default()
    }
}

fn source(declared: bool) -> DemandSource {
    if declared {
        DemandSource::Reservation
    } else {
        DemandSource::Assumed
    }
}
