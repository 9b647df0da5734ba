//! One action at a time, refused where an engine would refuse it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use shop_gateway::protocol;

use super::world::Behaviour;
use super::world::Container;
use super::world::World;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::plan::action::Action;
use crate::plan::action::InstanceSpec;
use crate::plan::action::Listen;
use crate::state::cluster::ObjectRef;
use crate::state::desired::PublishedPort;
use crate::state::names;
use crate::state::observed::Environment;
use crate::state::observed::ImageInfo;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::ObservedNetwork;
use crate::state::observed::ObservedVolume;
use crate::state::observed::Role;
use crate::state::observed::ScaleOverride;
use crate::state::records;
use crate::state::spec::LiveSpec;
use crate::state::spec::NetworkMode;
use crate::state::strategy::TrafficSplit;

type Done = Result<(), BackendError>;

impl World {
    /// Does it, without faults. Build, route and record actions are done here too,
    /// so that a test can run whole plans without an executor.
    pub(super) fn act(&mut self, context: &Context, action: &Action) -> Done {
        let stack = context.stack.as_str();
        match action {
            Action::BuildImage { tag, .. } => {
                let tag = tag.clone().unwrap_or_default();
                self.add_image(&tag, "");
                Ok(())
            }
            Action::PullImage { reference, .. } => self.pull(reference),
            Action::CreateNetwork { spec, .. } => {
                let network = ObservedNetwork {
                    id: names::hex(spec.name.as_bytes())[..12].to_owned(),
                    of_stack: true,
                    ours: true,
                };
                self.networks.insert(spec.name.clone(), network);
                Ok(())
            }
            Action::RemoveNetwork { name } if self.stuck.contains(name) => {
                Err(BackendError::StuckNetwork { name: name.clone() })
            }
            Action::RemoveNetwork { name } => self.remove_network(name),
            Action::CreateVolume { spec, .. } => {
                let volume = ObservedVolume { of_stack: true };
                self.volumes.insert(spec.name.clone(), volume);
                Ok(())
            }
            Action::RemoveVolume { name } => self.remove_volume(name),
            Action::SeedFiles {
                set,
                volume,
                memory,
            } => {
                self.volumes
                    .insert(volume.clone(), ObservedVolume { of_stack: true });
                let files = context.files.get(set).cloned().unwrap_or_default();
                if *memory {
                    self.hold(context, volume)?;
                }
                self.seeded.insert(volume.clone(), files);
                Ok(())
            }
            Action::CreateInstance { instance } => self.create(context, instance),
            Action::CreateHelper {
                name,
                role,
                listens,
                networks,
                names,
            } => {
                self.helper(context, name, *role, listens, networks)?;
                self.get(name)?.instance.names.clone_from(names);
                Ok(())
            }
            Action::StoreProgram { program } => {
                self.programs.insert((stack.to_owned(), program.clone()));
                Ok(())
            }
            Action::UpgradeGateway {
                container, program, ..
            } => {
                self.get(container)?.instance.program = Some(program.clone());
                Ok(())
            }
            Action::ConnectNetwork {
                container,
                network,
                aliases,
            } => self.connect(container, network, aliases),
            Action::DisconnectNetwork { container, network } => {
                let one = &mut self.get(container)?.instance;
                one.networks.remove(network);
                one.names.remove(network);
                Ok(())
            }
            Action::StartContainer { container } => self.start(container, false),
            Action::RestartContainer { container } => self.start(container, true),
            Action::StopContainer { container, .. } => self.stop(container),
            // Gone already is as good: a reply may have been lost.
            Action::RemoveContainer { container } => {
                self.containers.remove(container);
                Ok(())
            }
            Action::UpdateLive { container, live } => self.update(container, live),
            Action::SetListeners { listeners } => self.set_listeners(stack, listeners),
            Action::AddTarget { service, alias, .. } => self.add_target(stack, service, alias),
            Action::SetSplit { service, split, .. } => {
                self.set_split(stack, service, split.as_ref())
            }
            Action::RemoveTarget { service, alias, .. } => {
                self.remove_target(stack, service, alias)
            }
            Action::RunTask { task } => self.run_task(context, task),
            Action::RecordScale { overrides } => self.record_scale(stack, overrides),
            Action::ApplyObject { object, .. }
            | Action::DeleteObject { object }
            | Action::RestartWorkload { object } => unsupported(object),
        }
    }

    fn update(&mut self, container: &str, live: &LiveSpec) -> Done {
        self.get(container)?.instance.live = live.clone();
        Ok(())
    }

    /// Starts what keeps a volume in memory, where it does not run.
    fn hold(&mut self, context: &Context, volume: &str) -> Done {
        let name = names::holder(volume);
        if self.containers.get(&name).is_some_and(Container::runs) {
            return Ok(());
        }
        self.containers.remove(&name);
        self.helper(context, &name, Role::Holder, &[], &[])?;
        let one = &mut self.get(&name)?.instance;
        one.volumes = [volume.to_owned()].into();
        Ok(())
    }

    fn stop(&mut self, container: &str) -> Done {
        let one = self.get(container)?;
        one.ready = false;
        one.instance.health = None;
        if one.instance.state != InstanceState::Created {
            one.instance.state = InstanceState::Exited {
                code: 0,
                oom: false,
            };
        }
        Ok(())
    }

    fn remove_target(&mut self, stack: &str, service: &str, alias: &str) -> Done {
        let config = self.config(stack)?;
        if let Some(one) = config.services.get_mut(service) {
            one.targets.retain(|target| target.id != *alias);
            if one.targets.is_empty() {
                config.services.remove(service);
            }
        }
        Ok(())
    }

    /// Gets an image from the registry.
    pub(super) fn pull(&mut self, reference: &str) -> Done {
        let Some(found) = self.registry.get(reference).cloned() else {
            return Err(BackendError::ImageMissing {
                reference: reference.to_owned(),
                reason: "the registry does not have it".to_owned(),
            });
        };
        let age_secs = Some(0);
        self.put_image(reference, ImageInfo { age_secs, ..found });
        Ok(())
    }

    /// What a container is made from: its reference, or the id that it must have where
    /// the reference means something else.
    fn image_of(&self, spec: &InstanceSpec) -> Result<(String, ImageInfo), BackendError> {
        let named = self.images.get(&spec.spec.image);
        let is_wanted = |info: &&ImageInfo| spec.image_id.as_ref().is_none_or(|id| *id == info.id);
        if let Some(info) = named.filter(is_wanted) {
            return Ok((spec.spec.image.clone(), info.clone()));
        }
        let pinned = spec.image_id.as_ref();
        let found = pinned.and_then(|id| Some((id.clone(), self.images.get(id)?.clone())));
        found.ok_or_else(|| BackendError::ImageMissing {
            reference: spec.spec.image.clone(),
            reason: "no such image".to_owned(),
        })
    }

    fn create(&mut self, context: &Context, spec: &InstanceSpec) -> Done {
        if let Some(found) = self.containers.get(&spec.name) {
            let same = found.instance.alias == spec.alias && found.run == context.run;
            return if same {
                Ok(())
            } else {
                Err(conflict(&spec.name))
            };
        }
        let role = match spec.labels.get(names::ROLE).map(String::as_str) {
            Some("task") => Role::Task,
            Some("run") => Role::Run,
            _ => Role::Service,
        };
        let (reference, image) = self.image_of(spec)?;
        let mut networks = BTreeSet::new();
        if let NetworkMode::Networks(endpoints) = &spec.spec.network {
            for key in endpoints.keys() {
                let name = spec
                    .networks
                    .get(key)
                    .ok_or_else(|| missing("network", key))?;
                self.need_network(name)?;
                networks.insert(name.clone());
            }
        }
        if let Some(other) = &spec.join {
            self.get(other)?;
        }
        for name in spec.volumes.values() {
            if !self.volumes.contains_key(name) {
                return Err(missing("volume", name));
            }
        }
        for name in spec.files.values() {
            if !self.seeded.contains_key(name) {
                return Err(missing("seeded volume", name));
            }
        }
        self.created += 1;
        let environment = spec.spec.environment.iter();
        let instance = Instance {
            name: spec.name.clone(),
            id: format!("{:012x}", self.created),
            role,
            service: if role == Role::Service {
                spec.service.clone()
            } else {
                String::new()
            },
            slot: spec.slot,
            revision: spec.revision.clone(),
            alias: spec.alias.clone(),
            image: reference,
            image_id: image.id,
            state: InstanceState::Created,
            networks,
            live: spec.spec.live.clone(),
            ours: true,
            nameless: spec.labels.contains_key(names::NAME),
            host_ports: spec
                .spec
                .ports
                .iter()
                .filter_map(|port| {
                    let number = port.host_port?;
                    Some(host_port(&port.host_ip, number, &port.protocol))
                })
                .collect(),
            volumes: spec
                .volumes
                .values()
                .chain(spec.files.values())
                .cloned()
                .collect(),
            fields: spec
                .labels
                .get(names::FIELDS)
                .and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_default(),
            environment: Some(Environment(
                environment
                    .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
                    .collect(),
            )),
            ..Instance::default()
        };
        let container = Container {
            instance,
            stack: context.stack.clone(),
            run: context.run.clone(),
            checked: spec.spec.healthcheck.is_some(),
            ready: false,
        };
        self.containers.insert(spec.name.clone(), container);
        Ok(())
    }

    fn helper(
        &mut self,
        context: &Context,
        name: &str,
        role: Role,
        listens: &[Listen],
        networks: &[String],
    ) -> Done {
        if let Some(found) = self.containers.get(name) {
            return if found.run == context.run {
                self.start(name, false)
            } else {
                Err(conflict(name))
            };
        }
        if role != Role::Prober && !self.volumes.contains_key(&names::store(&context.stack)) {
            return Err(missing("volume", &names::store(&context.stack)));
        }
        for network in networks {
            self.need_network(network)?;
        }
        self.created += 1;
        let instance = Instance {
            name: name.to_owned(),
            id: format!("{:012x}", self.created),
            role,
            image: context.helper_image.clone(),
            networks: networks.iter().cloned().collect(),
            ours: true,
            program: (role == Role::Gateway)
                .then(|| context.helper_image.split_once(':'))
                .flatten()
                .map(|(_, program)| program.to_owned()),
            listens: listens
                .iter()
                .map(|one| (one.id.clone(), one.inside))
                .collect(),
            host_ports: listens
                .iter()
                .filter_map(|one| Some(host_port(&one.host_ip, one.host_port?, "tcp")))
                .collect(),
            ..Instance::default()
        };
        let container = Container {
            instance,
            stack: context.stack.clone(),
            run: context.run.clone(),
            checked: false,
            ready: false,
        };
        self.containers.insert(name.to_owned(), container);
        self.start(name, false)
    }

    fn connect(&mut self, name: &str, network: &str, aliases: &[String]) -> Done {
        self.need_network(network)?;
        let one = &mut self.get(name)?.instance;
        one.networks.insert(network.to_owned());
        if !aliases.is_empty() {
            let names = aliases.iter().cloned().collect();
            one.names.insert(network.to_owned(), names);
        }
        Ok(())
    }

    fn start(&mut self, name: &str, again: bool) -> Done {
        let one = self.get(name)?;
        let service = one.instance.service.clone();
        let image = one.instance.image_id.clone();
        if one.runs() && !again {
            return Ok(());
        }
        let wanted = one.instance.host_ports.clone();
        self.need_ports(name, &wanted)?;
        let of = |name: &String| self.behaviours.get(name).copied();
        let one_alone = || self.arranged(name);
        let behaviour = of(&image).or_else(|| of(&service));
        let behaviour = behaviour.or_else(one_alone).unwrap_or_default();
        let task = self.task_behaviour(name);
        let stopping = self.faults.stopping;
        self.created += 1;
        let at = self.created;
        let one = self.get(name)?;
        let behaviour = match one.instance.role {
            Role::Service if stopping => Behaviour::Exits(0),
            Role::Service => behaviour,
            Role::Task | Role::Run => task,
            _ => Behaviour::Ready,
        };
        one.start(behaviour, at);
        Ok(())
    }

    /// Refuses a start whose host port another running container has.
    fn need_ports(&self, name: &str, wanted: &BTreeSet<String>) -> Done {
        let others = self
            .containers
            .values()
            .filter(|one| one.runs() && one.instance.name != name)
            .map(|one| (&one.instance.name, &one.instance.host_ports));
        let foreign = self.foreign.iter().map(|one| (&one.name, &one.host_ports));
        for (holder, ports) in others.chain(foreign) {
            if let Some(port) = wanted.intersection(ports).next() {
                return Err(BackendError::PortTaken {
                    port: port.clone(),
                    reason: format!("{holder} has it"),
                });
            }
        }
        Ok(())
    }

    fn remove_network(&mut self, name: &str) -> Done {
        let user = self
            .containers
            .values()
            .find(|one| one.runs() && one.instance.networks.contains(name));
        if let Some(user) = user {
            return Err(BackendError::Engine {
                doing: format!("remove network {name}"),
                status: 403,
                message: format!("{} is attached to it", user.instance.name),
            });
        }
        self.networks.remove(name);
        Ok(())
    }

    fn remove_volume(&mut self, name: &str) -> Done {
        let user = self
            .containers
            .values()
            .find(|one| one.instance.volumes.contains(name));
        if let Some(user) = user {
            return Err(BackendError::Engine {
                doing: format!("remove volume {name}"),
                status: 409,
                message: format!("{} mounts it", user.instance.name),
            });
        }
        self.volumes.remove(name);
        self.seeded.remove(name);
        let owner: Vec<String> = self
            .records
            .keys()
            .chain(self.routes.keys())
            .filter(|stack| names::store(stack) == name)
            .cloned()
            .collect();
        for stack in owner {
            self.records.remove(&stack);
            self.routes.remove(&stack);
        }
        Ok(())
    }

    fn set_listeners(&mut self, stack: &str, ports: &[PublishedPort]) -> Done {
        let listeners = ports
            .iter()
            .map(|port| protocol::Listener {
                id: port.id.clone(),
                protocol: if port.http {
                    protocol::Protocol::Http
                } else {
                    protocol::Protocol::Tcp
                },
                port: None,
                bind: None,
                routes: port
                    .routes
                    .iter()
                    .map(|route| protocol::Route {
                        host: route.host.clone(),
                        path: route.path.clone(),
                        service: route.service.clone(),
                        port: route.port,
                        group: None,
                    })
                    .collect(),
            })
            .collect();
        self.config(stack)?.listeners = listeners;
        Ok(())
    }

    fn add_target(&mut self, stack: &str, service: &str, alias: &str) -> Done {
        let target = protocol::Target {
            id: alias.to_owned(),
            host: alias.to_owned(),
            weight: 1,
            group: None,
        };
        let targets = &mut self
            .config(stack)?
            .services
            .entry(service.to_owned())
            .or_default()
            .targets;
        if targets.iter().all(|one| one.id != alias) {
            targets.push(target);
        }
        Ok(())
    }

    fn set_split(&mut self, stack: &str, service: &str, split: Option<&TrafficSplit>) -> Done {
        let split = split.map(|split| protocol::Split {
            weights: split.weights.clone(),
            header: split.header.clone(),
            cookie: split.cookie.clone(),
        });
        let services = &mut self.config(stack)?.services;
        services.entry(service.to_owned()).or_default().split = split;
        Ok(())
    }

    fn record_scale(
        &mut self,
        stack: &str,
        changes: &BTreeMap<String, Option<ScaleOverride>>,
    ) -> Done {
        if !self.volumes.contains_key(&names::store(stack)) {
            return Err(missing("volume", &names::store(stack)));
        }
        let records = self.records.entry(stack.to_owned()).or_default();
        let mut scale = records::snapshot(records, None, &[]).scale;
        for (service, change) in changes {
            match change {
                Some(change) => scale.insert(service.clone(), change.clone()),
                None => scale.remove(service),
            };
        }
        let bytes = serde_json::to_vec(&scale).unwrap_or_default();
        records.insert(records::SCALE.to_owned(), bytes);
        Ok(())
    }

    /// The routes, as long as a gateway runs that takes them.
    fn config(&mut self, stack: &str) -> Result<&mut protocol::Config, BackendError> {
        let runs = self
            .containers
            .values()
            .any(|one| one.stack == stack && one.instance.role == Role::Gateway && one.runs());
        if !runs {
            return Err(missing("gateway", stack));
        }
        let config = self.routes.entry(stack.to_owned()).or_default();
        config.version = protocol::CONFIG_VERSION;
        config.generation += 1;
        Ok(config)
    }

    fn need_network(&self, name: &str) -> Done {
        if self.networks.contains_key(name) {
            Ok(())
        } else {
            Err(missing("network", name))
        }
    }

    pub(super) fn get(&mut self, name: &str) -> Result<&mut Container, BackendError> {
        self.containers
            .get_mut(name)
            .ok_or_else(|| missing("container", name))
    }
}

fn host_port(ip: &str, port: u16, protocol: &str) -> String {
    let ip = if ip.is_empty() { "0.0.0.0" } else { ip };
    format!("{ip}:{port}/{protocol}")
}

fn missing(kind: &str, name: &str) -> BackendError {
    BackendError::NotFound {
        what: format!("{kind} {name}"),
    }
}

fn conflict(name: &str) -> BackendError {
    BackendError::Conflict {
        what: format!("container {name}"),
    }
}
/// A world of containers has no objects.
fn unsupported(object: &ObjectRef) -> Done {
    Err(BackendError::Unsupported(object.to_string()))
}
