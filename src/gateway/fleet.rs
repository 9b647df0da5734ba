//! All gateways of a stack as one: every change of routes is a generation
//! that each of them has acknowledged before the call returns.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::de::DeserializeOwned;
use shop_gateway::protocol;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio::time::sleep;

use super::Control;
use super::GatewayError;
use crate::backend::Apply;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Exec;
use crate::plan::action::Action;
use crate::state::desired::HealthCheck;
use crate::state::desired::PublishedPort;
use crate::state::desired::Route;
use crate::state::names;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::ObservedState;
use crate::state::observed::Role;
use crate::state::strategy::Sample;
use crate::state::strategy::TrafficSplit;

/// A gateway that was killed is back within this time.
const RETURN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// A program takes over within this time, or never.
const HANDOVER: Duration = Duration::from_secs(30);

/// All gateways of a stack, with the configuration they were last given.
pub struct Fleet<'a, B> {
    backend: &'a B,
    context: &'a Context,
    lock: u64,
    state: Mutex<State>,
    /// Held while the prober is made, so that it is made once.
    prober: Mutex<Option<Prober>>,
    /// A prober was asked for, so there may be one to remove.
    probes: AtomicBool,
}

struct State {
    gateways: BTreeMap<String, Gateway>,
    generation: u64,
    listeners: BTreeMap<String, (bool, Vec<Route>)>,
    /// By service: the aliases of its targets, each with its group.
    targets: BTreeMap<String, BTreeMap<String, String>>,
    splits: BTreeMap<String, TrafficSplit>,
    checks: BTreeMap<String, HealthCheck>,
    /// Something was published by this run, so a gateway that comes back may lack it.
    published: bool,
}

#[derive(Default)]
struct Gateway {
    networks: BTreeSet<String>,
    control: Option<Arc<Control>>,
}

struct Prober {
    networks: BTreeSet<String>,
    control: Arc<Control>,
}

impl<'a, B: Exec + Apply> Fleet<'a, B> {
    /// The gateways that run, under the lock with this number; see [`super::fence`].
    /// Connections are made when they are first needed.
    pub fn new(backend: &'a B, context: &'a Context, lock: u64, observed: &ObservedState) -> Self {
        let routes = observed
            .store
            .as_ref()
            .and_then(|store| store.routes.clone())
            .unwrap_or_default();
        let gateways = observed
            .instances
            .iter()
            .filter(|one| one.role == Role::Gateway && one.state == InstanceState::Running)
            .map(|one| {
                (
                    one.name.clone(),
                    Gateway {
                        networks: one.networks.clone(),
                        control: None,
                    },
                )
            })
            .collect();
        let group = |alias: &String| {
            let mut instances = observed.instances.iter();
            let found = instances.find(|one| one.alias == *alias);
            found.map(Instance::group).unwrap_or_default()
        };
        let targets = routes
            .targets
            .into_iter()
            .map(|(service, aliases)| {
                let groups = aliases.into_iter().map(|alias| {
                    let group = group(&alias);
                    (alias, group)
                });
                (service, groups.collect())
            })
            .collect();
        // A generation counts under its lock; a newer lock starts from 1 again.
        let generation = if routes.lock == lock {
            routes.generation
        } else {
            0
        };
        Self {
            backend,
            context,
            lock,
            state: Mutex::new(State {
                gateways,
                generation,
                listeners: routes.listeners,
                targets,
                splits: routes.splits,
                checks: routes.checks,
                published: false,
            }),
            prober: Mutex::new(None),
            probes: AtomicBool::new(false),
        }
    }

    /// Lets the gateways hold this lock's number and changes nothing else; acknowledged
    /// on return. From then on nobody can take the same number or write with a lower one.
    pub async fn claim(&self) -> Result<(), GatewayError> {
        self.publish(&mut *self.state.lock().await).await
    }

    /// A gateway was started.
    pub async fn joined(&self, name: &str, networks: &[String]) {
        let gateway = Gateway {
            networks: networks.iter().cloned().collect(),
            control: None,
        };
        self.state
            .lock()
            .await
            .gateways
            .insert(name.to_owned(), gateway);
    }

    /// A container is about to go; if it is a gateway, it is asked nothing more.
    pub async fn left(&self, name: &str) {
        self.state.lock().await.gateways.remove(name);
    }

    /// A container was attached to a network.
    pub async fn attached(&self, name: &str, network: &str) {
        if let Some(gateway) = self.state.lock().await.gateways.get_mut(name) {
            gateway.networks.insert(network.to_owned());
        }
    }

    /// A container is about to leave a network.
    pub async fn detached(&self, name: &str, network: &str) {
        if let Some(gateway) = self.state.lock().await.gateways.get_mut(name) {
            gateway.networks.remove(network);
        }
    }

    /// Replaces the listeners; acknowledged by every gateway on return.
    pub async fn set_listeners(&self, ports: &[PublishedPort]) -> Result<(), GatewayError> {
        let mut state = self.state.lock().await;
        state.listeners = ports
            .iter()
            .map(|port| (port.id.clone(), (port.http, port.routes.clone())))
            .collect();
        self.publish(&mut state).await
    }

    /// Sends requests to a replica too; acknowledged on return.
    pub async fn add_target(
        &self,
        service: &str,
        alias: &str,
        group: &str,
        check: Option<&HealthCheck>,
    ) -> Result<(), GatewayError> {
        let mut state = self.state.lock().await;
        if let Some(check) = check {
            state.checks.insert(service.to_owned(), check.clone());
        }
        state
            .targets
            .entry(service.to_owned())
            .or_default()
            .insert(alias.to_owned(), group.to_owned());
        self.publish(&mut state).await
    }

    /// Shares a service's requests between its revisions, or no longer;
    /// acknowledged on return.
    pub async fn set_split(
        &self,
        service: &str,
        split: Option<&TrafficSplit>,
    ) -> Result<(), GatewayError> {
        let mut state = self.state.lock().await;
        match split {
            Some(split) => state.splits.insert(service.to_owned(), split.clone()),
            None => state.splits.remove(service),
        };
        self.publish(&mut state).await
    }

    /// What went through to a service by group, over all gateways: counts add up, of
    /// latencies the highest counts.
    pub async fn groups(&self, service: &str) -> Result<BTreeMap<String, Sample>, GatewayError> {
        let mut all: BTreeMap<String, Sample> = BTreeMap::new();
        for name in self.names().await {
            let stats: protocol::Stats = self.insist(&name, protocol::Op::Stats).await?;
            let groups = stats.services.get(service).map(|found| &found.groups);
            for (group, counts) in groups.into_iter().flatten() {
                let sample = all.entry(group.clone()).or_default();
                sample.requests += counts.requests;
                sample.failed += counts.errors_5xx;
                if let Some(new) = &counts.latency_ms {
                    let (p95, p99) = sample.latency.unwrap_or_default();
                    sample.latency = Some((p95.max(new.p95), p99.max(new.p99)));
                }
            }
        }
        Ok(all)
    }

    /// Sends no new request to a replica and waits until none is in flight or
    /// the deadline passes; returns how many are left.
    pub async fn remove_target(
        &self,
        service: &str,
        alias: &str,
        drain: Duration,
    ) -> Result<u64, GatewayError> {
        {
            let mut state = self.state.lock().await;
            if let Some(targets) = state.targets.get_mut(service) {
                targets.remove(alias);
                if targets.is_empty() {
                    state.targets.remove(service);
                    state.splits.remove(service);
                    state.checks.remove(service);
                }
            }
            self.publish(&mut state).await?;
        }
        let deadline_ms = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX);
        let mut left = 0;
        for name in self.names().await {
            let drain = protocol::Op::Drain {
                target: alias.to_owned(),
                deadline_ms,
            };
            left += self
                .insist::<protocol::Drained>(&name, drain)
                .await?
                .in_flight;
        }
        Ok(left)
    }

    /// Lets a program of the store take over from the one that a gateway runs; the
    /// requests and connections that were ended at the deadline. Only when nothing else
    /// is asked of that gateway.
    pub async fn upgrade(
        &self,
        name: &str,
        program: &str,
        drain: Duration,
    ) -> Result<u64, GatewayError> {
        let control = self
            .connect_one(&mut *self.state.lock().await, name)
            .await?;
        let upgrade = protocol::Op::Upgrade {
            program: program.to_owned(),
            deadline_ms: u64::try_from(drain.as_millis()).unwrap_or(u64::MAX),
        };
        let asked = control.call::<protocol::Upgraded>(upgrade);
        let answer = tokio::time::timeout(drain + HANDOVER, asked).await;
        // Whoever answered so far answers nothing more.
        if let Some(gateway) = self.state.lock().await.gateways.get_mut(name) {
            gateway.control = None;
        }
        let cut = match answer {
            Ok(Ok(upgraded)) => upgraded.cut,
            Ok(Err(error)) if !error.is_absence() => return Err(error),
            // The answer may be all that was lost.
            Ok(Err(_)) | Err(_) => 0,
        };
        let hello: protocol::Hello = self.insist(name, protocol::Op::Hello).await?;
        if hello.program.as_deref() == Some(program) {
            return Ok(cut);
        }
        let runs = hello.program.unwrap_or_default();
        Err(GatewayError::Refused {
            gateway: name.to_owned(),
            fault: protocol::Fault::internal(format!("it still runs data plane {runs}")),
        })
    }

    /// Makes sure that [`probe`](Self::probe) can begin at once: called before a
    /// container starts, so that no gate waits for the prober itself.
    pub async fn ready_to_probe(&self, networks: &[String]) -> Result<(), GatewayError> {
        self.probing(networks).await.map(drop)
    }

    /// Resolves when the target answers, probed from a gateway on one of the
    /// networks, or else from a prober that lives as long as this run.
    pub async fn probe(
        &self,
        networks: &[String],
        target: &str,
        port: u16,
        http: Option<&str>,
        deadline: Duration,
    ) -> Result<(), GatewayError> {
        let until = Instant::now() + deadline;
        let mut patience = Patience::default();
        loop {
            let left = until.saturating_duration_since(Instant::now()).as_millis();
            let probe = protocol::Op::Probe {
                target: target.to_owned(),
                port,
                http: http.map(str::to_owned),
                deadline_ms: u64::try_from(left).unwrap_or(u64::MAX),
            };
            let probed = match self.probing(networks).await {
                Ok(control) => control.call::<protocol::Probed>(probe).await,
                Err(error) => Err(error),
            };
            match probed {
                Err(error) => patience.bear(error).await?,
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Ends the connections, and removes the prober if that is ours to do.
    pub async fn close(&self, removes: bool) {
        for gateway in self.state.lock().await.gateways.values_mut() {
            gateway.control = None;
        }
        drop(self.prober.lock().await.take());
        if removes && self.probes.load(Ordering::Relaxed) {
            let remove = Action::RemoveContainer {
                container: names::prober(&self.context.stack),
            };
            // Should this fail, the next run removes the leftover.
            let _ = self.backend.apply(self.context, &remove).await;
        }
    }

    async fn probing(&self, networks: &[String]) -> Result<Arc<Control>, GatewayError> {
        {
            let mut state = self.state.lock().await;
            let near = |gateway: &Gateway| {
                networks
                    .iter()
                    .any(|network| gateway.networks.contains(network))
            };
            let name = state
                .gateways
                .iter()
                .find(|(_, gateway)| near(gateway))
                .map(|(name, _)| name.clone());
            if let Some(name) = name {
                return self.connect_one(&mut state, &name).await;
            }
        }
        let mut prober = self.prober.lock().await;
        let name = names::prober(&self.context.stack);
        let failed = |source| GatewayError::Connect {
            gateway: name.clone(),
            source,
        };
        if prober
            .as_ref()
            .is_some_and(|prober| prober.control.is_closed())
        {
            *prober = None;
        }
        if let Some(prober) = prober.as_mut() {
            if let Some(network) = networks
                .iter()
                .find(|network| !prober.networks.contains(*network))
                && prober
                    .networks
                    .is_disjoint(&networks.iter().cloned().collect())
            {
                let attach = Action::ConnectNetwork {
                    container: name.clone(),
                    network: network.clone(),
                    aliases: Vec::new(),
                };
                self.backend
                    .apply(self.context, &attach)
                    .await
                    .map_err(failed)?;
                prober.networks.insert(network.clone());
            }
            return Ok(Arc::clone(&prober.control));
        }
        let remove = Action::RemoveContainer {
            container: name.clone(),
        };
        self.backend
            .apply(self.context, &remove)
            .await
            .map_err(failed)?;
        self.probes.store(true, Ordering::Relaxed);
        let create = Action::CreateHelper {
            name: name.clone(),
            role: Role::Prober,
            listens: Vec::new(),
            networks: networks.to_vec(),
            names: BTreeMap::new(),
        };
        self.backend
            .apply(self.context, &create)
            .await
            .map_err(failed)?;
        let control = Arc::new(Control::open(self.backend, &name, true).await?);
        *prober = Some(Prober {
            networks: networks.iter().cloned().collect(),
            control: Arc::clone(&control),
        });
        Ok(control)
    }

    async fn connect_one(
        &self,
        state: &mut State,
        name: &str,
    ) -> Result<Arc<Control>, GatewayError> {
        if let Some(control) = state
            .gateways
            .get(name)
            .and_then(|gateway| gateway.control.as_ref())
            && !control.is_closed()
        {
            return Ok(Arc::clone(control));
        }
        let control = Arc::new(Control::open(self.backend, name, false).await?);
        if state.published {
            // It may have ended before it took the newest; what it has it takes again.
            let config = config(self.lock, state);
            let apply = protocol::Op::Apply { config };
            control.call::<protocol::Applied>(apply).await?;
        }
        if let Some(gateway) = state.gateways.get_mut(name) {
            gateway.control = Some(Arc::clone(&control));
        }
        Ok(control)
    }

    async fn names(&self) -> Vec<String> {
        self.state.lock().await.gateways.keys().cloned().collect()
    }

    /// Asks a gateway, and once more when it has gone away and come back.
    async fn insist<T: DeserializeOwned>(
        &self,
        name: &str,
        op: protocol::Op,
    ) -> Result<T, GatewayError> {
        let mut patience = Patience::default();
        loop {
            let control = self.connect_one(&mut *self.state.lock().await, name).await;
            let answer = match control {
                Ok(control) => control.call(op.clone()).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) => patience.bear(error).await?,
                Ok(answer) => return Ok(answer),
            }
        }
    }

    /// Gives the next generation to every gateway and waits for all of them.
    async fn publish(&self, state: &mut State) -> Result<(), GatewayError> {
        state.generation += 1;
        let config = config(self.lock, state);
        let names: Vec<String> = state.gateways.keys().cloned().collect();
        for name in names {
            let mut patience = Patience::default();
            loop {
                let apply = protocol::Op::Apply {
                    config: config.clone(),
                };
                let applied = match self.connect_one(state, &name).await {
                    Ok(control) => control.call::<protocol::Applied>(apply).await,
                    Err(error) => Err(error),
                };
                match applied {
                    Err(error) => patience.bear(error).await?,
                    Ok(_) => break,
                }
            }
        }
        state.published = true;
        Ok(())
    }
}

/// How long a gateway that went away is waited for: its engine starts it again.
#[derive(Default)]
struct Patience(Option<Instant>);

impl Patience {
    /// Waits a moment after an error that a restarted gateway makes good; any other, and
    /// one too many, is given back. An engine that is away takes longer: whoever runs the
    /// plan waits for that.
    async fn bear(&mut self, error: GatewayError) -> Result<(), GatewayError> {
        let engine = matches!(
            &error,
            GatewayError::Connect { source, .. } if matches!(source, BackendError::Unreachable { .. })
        );
        let until = *self.0.get_or_insert_with(|| Instant::now() + RETURN);
        if engine || !error.is_absence() || Instant::now() >= until {
            return Err(error);
        }
        sleep(PAUSE).await;
        Ok(())
    }
}

/// How every target of a service is asked: out within some seconds, back within two.
fn health(check: &HealthCheck) -> protocol::Health {
    protocol::Health {
        port: check.port,
        http: check.http.clone(),
        interval_ms: 1000,
        rise: 2,
        fall: 3,
    }
}

fn config(lock: u64, state: &State) -> protocol::Config {
    let route = |route: &Route| protocol::Route {
        host: route.host.clone(),
        path: route.path.clone(),
        service: route.service.clone(),
        port: route.port,
        group: None,
    };
    // While a service has a preview, its host leads to the new revision.
    let preview = |found: &Route| {
        let preview = state.splits.get(&found.service)?.preview.as_ref()?;
        Some(protocol::Route {
            host: Some(preview.host.clone()),
            group: Some(preview.group.clone()),
            ..route(found)
        })
    };
    // A listener between services says by its id where requests for it come from.
    let door = |id: &String| {
        names::parse_door(id).map(|(network, port)| (names::door_name(network), port))
    };
    let listener = |(id, (http, routes)): (&String, &(bool, Vec<Route>))| protocol::Listener {
        id: id.clone(),
        protocol: if *http {
            protocol::Protocol::Http
        } else {
            protocol::Protocol::Tcp
        },
        port: door(id).map(|(_, port)| port),
        bind: door(id).map(|(bind, _)| bind),
        routes: routes
            .iter()
            .map(route)
            .chain(
                // Between services nobody asks for a preview.
                routes
                    .iter()
                    .filter(|_| *http && door(id).is_none())
                    .filter_map(preview),
            )
            .collect(),
    };
    // A routed service without a replica is known too: its requests are answered
    // with "no healthy upstream", not "no route".
    let routed = state
        .listeners
        .values()
        .flat_map(|(_, routes)| routes)
        .map(|route| &route.service);
    let names: BTreeSet<&String> = routed.chain(state.targets.keys()).collect();
    let service = |name: &String| {
        let target = |(alias, group): (&String, &String)| protocol::Target {
            id: alias.clone(),
            host: alias.clone(),
            weight: 1,
            group: Some(group.clone()).filter(|group| !group.is_empty()),
        };
        let targets = state
            .targets
            .get(name)
            .into_iter()
            .flatten()
            .map(target)
            .collect();
        let split = state.splits.get(name).map(|split| protocol::Split {
            weights: split.weights.clone(),
            header: split.header.clone(),
            cookie: split.cookie.clone(),
        });
        let service = protocol::Service {
            targets,
            split,
            health: state.checks.get(name).map(health),
            ..protocol::Service::default()
        };
        (name.clone(), service)
    };
    protocol::Config {
        version: 1,
        lock,
        generation: state.generation,
        listeners: state.listeners.iter().map(listener).collect(),
        services: names.into_iter().map(service).collect(),
    }
}
