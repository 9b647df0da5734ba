//! The model: containers, networks, volumes, images, the store and its routes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use shop_gateway::protocol::Config;

use super::faults::Faults;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Holder;
use crate::backend::Query;
use crate::plan::action::Action;
use crate::plan::action::Gate;
use crate::state::desired::FileSet;
use crate::state::desired::ReadyGate;
use crate::state::happening::Happening;
use crate::state::names;
use crate::state::observed::Engine;
use crate::state::observed::Environment;
use crate::state::observed::Foreign;
use crate::state::observed::Health;
use crate::state::observed::ImageInfo;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::ObservedNetwork;
use crate::state::observed::ObservedState;
use crate::state::observed::ObservedVolume;
use crate::state::observed::Role;
use crate::state::records;

/// What a container does once it is started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// Runs and is ready.
    #[default]
    Ready,
    /// Runs and never gets ready.
    NeverReady,
    /// Runs; its health check fails.
    Unhealthy,
    /// Ends at once with this code.
    Exits(i64),
    /// Is ended at once for lack of memory.
    OutOfMemory,
}

/// A container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Container {
    /// What an observer sees.
    pub instance: Instance,
    /// Stack it belongs to.
    pub stack: String,
    /// Run that made it.
    pub run: String,
    /// Has a health check of the engine.
    pub checked: bool,
    /// Answers a probe.
    pub ready: bool,
}

/// Everything there is. Fields are public so that a test can arrange anything.
#[derive(Debug, Clone)]
pub struct World {
    /// The engine.
    pub engine: Engine,
    /// Containers of stacks by name.
    pub containers: BTreeMap<String, Container>,
    /// Running containers outside any stack.
    pub foreign: Vec<Foreign>,
    /// Ports of the host that a process holds which is no container.
    pub busy_ports: BTreeSet<String>,
    /// Bytes left on the engine's disk; `None` where nobody can see.
    pub disk_free: Option<u64>,
    /// Networks by engine name.
    pub networks: BTreeMap<String, ObservedNetwork>,
    /// Networks that the engine will not remove though nothing is in them.
    pub stuck: BTreeSet<String>,
    /// Programs in the stores, by stack.
    pub programs: BTreeSet<(String, String)>,
    /// Nothing can be started from the stores.
    pub noexec: bool,
    /// Volumes by engine name.
    pub volumes: BTreeMap<String, ObservedVolume>,
    /// Volumes whose files were seeded, with the files.
    pub seeded: BTreeMap<String, FileSet>,
    /// Images on the engine by reference and by id.
    pub images: BTreeMap<String, ImageInfo>,
    /// Tags of images that were built, with the stack they were built for.
    pub built: BTreeMap<String, String>,
    /// Images a pull can get, by reference.
    pub registry: BTreeMap<String, ImageInfo>,
    /// Records of each stack's store.
    pub records: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Release documents of each stack's store, by number.
    pub releases: BTreeMap<String, BTreeMap<u64, Vec<u8>>>,
    /// Configuration of each stack's gateways.
    pub routes: BTreeMap<String, Config>,
    /// What containers do, by their image id, their service or what their names begin
    /// with: those of services [`Behaviour::Ready`] by default, hooks end well.
    pub behaviours: BTreeMap<String, Behaviour>,
    /// Faults of mutating calls.
    pub faults: Faults,
    /// Locks by stack.
    pub locks: BTreeMap<String, Holder>,
    /// Id of the newest lock.
    pub lock_id: u64,
    /// What somebody else does just before the next lock is given out.
    pub before_lock: Option<fn(&mut Self)>,
    /// Logs by container name.
    pub logs: BTreeMap<String, Vec<String>>,
    /// What happened, in order.
    pub happenings: Vec<Happening>,
    /// What health checks said last, by container name.
    pub checks: BTreeMap<String, Vec<String>>,
    /// Actions that were carried out.
    pub journal: Vec<Action>,
    /// Engine ids given out.
    pub(super) created: u64,
}

impl Default for World {
    /// An empty engine with 4 cores and 16 GiB.
    fn default() -> Self {
        Self {
            engine: Engine {
                name: "memory".to_owned(),
                version: "20.10.24".to_owned(),
                api: "1.41".to_owned(),
                cpus: 4,
                memory: 16 << 30,
                cgroup: 1,
                platform: "linux/amd64".to_owned(),
                root: "/data".to_owned(),
                no_swap_limit: false,
            },
            containers: BTreeMap::new(),
            foreign: Vec::new(),
            busy_ports: BTreeSet::new(),
            disk_free: None,
            networks: BTreeMap::new(),
            stuck: BTreeSet::new(),
            programs: BTreeSet::new(),
            noexec: false,
            volumes: BTreeMap::new(),
            seeded: BTreeMap::new(),
            images: BTreeMap::new(),
            built: BTreeMap::new(),
            registry: BTreeMap::new(),
            records: BTreeMap::new(),
            releases: BTreeMap::new(),
            routes: BTreeMap::new(),
            behaviours: BTreeMap::new(),
            faults: Faults::default(),
            locks: BTreeMap::new(),
            lock_id: 0,
            before_lock: None,
            logs: BTreeMap::new(),
            happenings: Vec::new(),
            checks: BTreeMap::new(),
            journal: Vec::new(),
            created: 0,
        }
    }
}

impl World {
    /// One look, as [`Observe`](crate::backend::Observe) gives it.
    pub fn observe(&self, query: &Query) -> ObservedState {
        let store = names::store(&query.stack);
        let mut observed = ObservedState {
            engine: self.engine.clone(),
            instances: self
                .containers
                .values()
                .filter(|one| one.stack == query.stack)
                .map(|one| one.instance.clone())
                .collect(),
            foreign: if query.foreign {
                self.foreign(query)
            } else {
                Vec::new()
            },
            networks: self
                .networks
                .iter()
                .filter(|(name, one)| one.of_stack || query.networks.contains(*name))
                .map(|(name, one)| (name.clone(), one.clone()))
                .collect(),
            volumes: self
                .volumes
                .iter()
                .filter(|(name, one)| one.of_stack || query.volumes.contains(*name))
                .map(|(name, one)| (name.clone(), one.clone()))
                .collect(),
            images: self
                .images
                .iter()
                .filter(|(reference, _)| query.images.contains(*reference))
                .map(|(reference, info)| (reference.clone(), info.clone()))
                .collect(),
            busy_ports: self
                .busy_ports
                .intersection(&query.ports)
                .cloned()
                .collect(),
            disk_free: self.disk_free,
            store: self.volumes.contains_key(&store).then(|| {
                let nothing = BTreeMap::new();
                let records = self.records.get(&query.stack).unwrap_or(&nothing);
                let routes = self.routes.get(&query.stack).map(|config| {
                    serde_json::json!({ "checksum": "", "config": config })
                        .to_string()
                        .into_bytes()
                });
                records::snapshot(records, routes.as_deref(), &[])
            }),
            cluster: None,
        };
        observed.know_taken_over();
        observed
    }

    fn foreign(&self, query: &Query) -> Vec<Foreign> {
        let others = self
            .containers
            .values()
            .filter(|one| one.stack != query.stack && one.runs())
            .map(|one| Foreign {
                name: one.instance.name.clone(),
                project: Some(one.stack.clone()),
                cpu_milli: 0,
                memory: 0,
                host_ports: one.instance.host_ports.clone(),
            });
        let mut all: Vec<_> = self.foreign.iter().cloned().chain(others).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// An engine that is away takes its locks along.
    pub(super) fn is_there(&mut self) -> Result<(), BackendError> {
        if self.faults.is_away() {
            self.locks.clear();
            return Err(super::faults::unreachable());
        }
        Ok(())
    }

    /// Carries out one action under the faults.
    pub fn apply(&mut self, context: &Context, action: &Action) -> Result<(), BackendError> {
        self.is_there()?;
        let fault = self.faults.wrap()?;
        self.act(context, action)?;
        self.journal.push(action.clone());
        match fault {
            Some(_) => Err(super::faults::unreachable()),
            None => Ok(()),
        }
    }

    /// Whether the gate of a step opens.
    pub fn gate(&self, gate: &Gate) -> Result<(), String> {
        let Gate::Ready {
            container, ready, ..
        } = gate
        else {
            return Ok(());
        };
        let Some(one) = self.containers.get(container) else {
            return Err(format!("{container} is gone"));
        };
        let open = match ready {
            ReadyGate::Running => one.runs(),
            ReadyGate::Probe { .. } => one.runs() && one.ready,
            ReadyGate::Healthy { .. } => one.instance.health == Some(Health::Healthy),
            ReadyGate::Completed { .. } => {
                matches!(one.instance.state, InstanceState::Exited { code: 0, .. })
            }
        };
        if open {
            Ok(())
        } else {
            Err(format!(
                "{container} is not ready: {:?}",
                one.instance.state
            ))
        }
    }

    /// Containers of a service that answer: behind the gateway where it routes to
    /// the service, else all that run.
    pub fn answering(&self, stack: &str, service: &str) -> usize {
        let config = self.routes.get(stack);
        let named = self.containers.values().any(|one| {
            let names = &one.instance.names;
            one.stack == stack && names.values().any(|names| names.contains(service))
        });
        let routed = config.is_some_and(|config| {
            let mut listeners = config.listeners.iter();
            listeners.any(|one| {
                let leads = names::parse_door(&one.id).is_none() || named;
                leads && one.routes.iter().any(|route| route.service == service)
            })
        });
        let targets: BTreeSet<&str> = config
            .and_then(|config| config.services.get(service))
            .into_iter()
            .flat_map(|one| one.targets.iter().map(|target| target.id.as_str()))
            .collect();
        self.containers
            .values()
            .filter(|one| one.stack == stack && one.instance.service == service)
            .filter(|one| one.runs() && one.ready)
            .filter(|one| !routed || targets.contains(one.instance.alias.as_str()))
            .count()
    }

    /// Lets every running container get ready, also those that were slow.
    pub fn get_ready(&mut self) {
        for one in self.containers.values_mut().filter(|one| one.runs()) {
            one.ready = true;
            if one.checked {
                one.instance.health = Some(Health::Healthy);
            }
        }
    }

    /// Running containers of a service.
    pub fn running(&self, stack: &str, service: &str) -> usize {
        self.containers
            .values()
            .filter(|one| one.stack == stack && one.instance.service == service && one.runs())
            .count()
    }

    /// Puts an image on the engine; the id follows from the reference and `content`.
    pub fn add_image(&mut self, reference: &str, content: &str) {
        let info = image(reference, content);
        self.put_image(reference, info);
    }

    /// Lets a reference mean this image; what it meant before stays under its id.
    pub fn put_image(&mut self, reference: &str, info: ImageInfo) {
        self.images.insert(info.id.clone(), info.clone());
        self.images.insert(reference.to_owned(), info);
    }

    /// Arranges a running container that Docker Compose made.
    pub fn add_compose_container(&mut self, stack: &str, service: &str, slot: u32, port: &str) {
        let name = format!("{stack}-{service}-{slot}");
        self.created += 1;
        let instance = Instance {
            name: name.clone(),
            id: format!("{:012x}", self.created),
            role: Role::Service,
            service: service.to_owned(),
            slot,
            image: "compose:1".to_owned(),
            image_id: image("compose:1", "").id,
            state: InstanceState::Running,
            started_at: self.created,
            networks: BTreeSet::from([format!("{stack}_default")]),
            environment: Some(Environment::default()),
            host_ports: [port]
                .into_iter()
                .filter(|port| !port.is_empty())
                .map(str::to_owned)
                .collect(),
            ..Instance::default()
        };
        let network = ObservedNetwork {
            id: "n".to_owned(),
            of_stack: true,
            ours: false,
        };
        self.networks
            .entry(format!("{stack}_default"))
            .or_insert(network);
        let container = Container {
            instance,
            stack: stack.to_owned(),
            ready: true,
            ..Container::default()
        };
        self.containers.insert(name, container);
    }
}

impl Container {
    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.instance.state == InstanceState::Running
    }

    /// Starts it, as its behaviour says.
    pub(super) fn start(&mut self, behaviour: Behaviour, at: u64) {
        self.instance.started_at = at;
        self.ready = behaviour == Behaviour::Ready;
        self.instance.state = match behaviour {
            Behaviour::Exits(code) => InstanceState::Exited { code, oom: false },
            Behaviour::OutOfMemory => InstanceState::Exited {
                code: 137,
                oom: true,
            },
            _ => InstanceState::Running,
        };
        self.instance.health = match (self.checked, behaviour) {
            (false, _) | (true, Behaviour::Exits(_) | Behaviour::OutOfMemory) => None,
            (true, Behaviour::Ready) => Some(Health::Healthy),
            (true, Behaviour::NeverReady) => Some(Health::Starting),
            (true, Behaviour::Unhealthy) => Some(Health::Unhealthy),
        };
    }
}

/// An image with an id that follows from its reference and content.
pub fn image(reference: &str, content: &str) -> ImageInfo {
    ImageInfo {
        id: format!(
            "sha256:{}",
            names::hex(format!("{reference}\0{content}").as_bytes())
        ),
        content: names::hex(content.as_bytes()),
        repo_digests: Vec::new(),
        age_secs: None,
    }
}
