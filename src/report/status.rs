//! The status document, from what should be and what is.

use std::collections::BTreeMap;

use super::documents::Capacities;
use super::documents::DeploymentStatus;
use super::documents::ImageStatus;
use super::documents::InstanceStatus;
use super::documents::Latency;
use super::documents::PendingStep;
use super::documents::PerformanceStatus;
use super::documents::Replicas;
use super::documents::ServiceStatus;
use super::documents::StatusDocument;
use super::documents::VERSION;
use crate::capacity::report::CapacityReport;
use crate::plan::action::Plan;
use crate::plan::report;
use crate::state::desired::DesiredState;
use crate::state::desired::ReadyGate;
use crate::state::desired::ServiceSpec;
use crate::state::history::Outcome;
use crate::state::observed::Health;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::ObservedState;
use crate::state::observed::Performance;
use crate::state::observed::Role;

/// What is known beside the two states.
pub struct Facts<'a> {
    /// R = M / C.
    pub capacity: &'a CapacityReport,
    /// Replicas wanted by service, `scale` included.
    pub wanted: &'a BTreeMap<String, u32>,
    /// Steps that a deploy would take; none where it is refused.
    pub left: Option<usize>,
    /// What the newest release has still to do, where it did not finish; none where that
    /// is not known.
    pub pending: Option<&'a Plan>,
    /// What differs from the recorded release, where that was asked for.
    pub drift: Option<Vec<String>>,
    /// Measured cores and bytes by container, where they were asked for.
    pub usage: &'a BTreeMap<String, (f64, u64)>,
    /// What deserves a word, such as helpers that do not run.
    pub notes: Vec<String>,
}

/// The status of a stack, services in the order of their names.
pub fn document(
    desired: &DesiredState,
    observed: &ObservedState,
    facts: Facts<'_>,
) -> StatusDocument {
    let services = desired
        .services
        .values()
        .filter(|service| desired.only.is_empty() || desired.only.contains(&service.name))
        .map(|service| one(desired, service, observed, &facts))
        .collect();
    StatusDocument {
        version: VERSION.to_owned(),
        stack: desired.stack.clone(),
        backend: if observed.cluster.is_some() {
            "kubernetes".to_owned()
        } else {
            "docker".to_owned()
        },
        release: observed.store.as_ref().and_then(|store| store.head.serving),
        deployment: deployment(observed, facts.pending),
        drift: facts.drift.clone(),
        converged: facts.left == Some(0),
        capacity: Capacities::new(facts.capacity),
        services,
        notes: facts.notes,
    }
}

/// The newest release, where it is not the one that serves.
fn deployment(observed: &ObservedState, pending: Option<&Plan>) -> Option<DeploymentStatus> {
    let head = &observed.store.as_ref()?.head;
    let newest = head.newest.as_ref()?;
    let pending = pending.filter(|_| newest.goes_on());
    let next = pending.and_then(|plan| plan.steps.first());
    (newest.outcome != Outcome::Deployed).then(|| DeploymentStatus {
        release: newest.number,
        outcome: newest.outcome.word().replace(' ', "_"),
        by: newest.by.clone(),
        at: newest.at * 1000,
        steps: newest.steps,
        left: pending.map(|plan| plan.steps.len()),
        next: next.map(|step| PendingStep {
            service: step.service.clone(),
            what: report::what(step),
            cause: report::cause(&step.cause),
        }),
        reason: newest.reason.clone(),
    })
}

fn one(
    desired: &DesiredState,
    service: &ServiceSpec,
    observed: &ObservedState,
    facts: &Facts<'_>,
) -> ServiceStatus {
    let instances: Vec<&Instance> = observed
        .instances
        .iter()
        .filter(|it| it.role == Role::Service && it.service == service.name)
        .collect();
    let count = |test: &dyn Fn(&Instance) -> bool| {
        u32::try_from(instances.iter().filter(|it| test(it)).count()).unwrap_or(u32::MAX)
    };
    let image = observed.images.get(&service.container.image);
    let meant = image.map(|image| &image.id);
    let mut runs = instances.iter().map(|it| &it.image_id);
    let id = runs.find(|id| !id.is_empty()).or(meant);
    let store = observed.store.as_ref();
    let targets = store
        .and_then(|store| store.routes.as_ref())
        .and_then(|routes| routes.targets.get(&service.name));
    let routed = desired.ports.iter().any(|port| {
        port.routes
            .iter()
            .any(|route| route.service == service.name)
    });
    let on_cluster = observed.cluster.is_some();
    let ready = |it: &Instance| {
        if on_cluster {
            return it.health == Some(Health::Healthy);
        }
        it.state == InstanceState::Running
            && match service.ready {
                ReadyGate::Healthy { .. } => it.health == Some(Health::Healthy),
                _ => it.health != Some(Health::Unhealthy),
            }
            // What Docker Compose made has its ports itself.
            && (!(routed || it.nameless)
                || !it.ours
                || targets.is_some_and(|targets| targets.contains(&it.alias)))
    };
    ServiceStatus {
        name: service.name.clone(),
        image: ImageStatus {
            r#ref: service.container.image.clone(),
            id: id.cloned(),
            repo_digest: image
                .filter(|_| id == meant)
                .and_then(|image| image.repo_digests.first().cloned()),
        },
        replicas: Replicas {
            desired: facts
                .wanted
                .get(&service.name)
                .copied()
                .unwrap_or(service.replicas),
            running: count(&|it| it.state == InstanceState::Running),
            ready: count(&ready),
        },
        ratio: ServiceStatus::ratio(facts.capacity, &service.name),
        performance: store
            .and_then(|store| store.performance.get(&service.name))
            .map(performance),
        ports: ports(desired, &service.name),
        instances: instances
            .iter()
            .map(|it| instance(it, ready(it), facts.usage))
            .collect(),
    }
}

/// Host ports of a service, those of the gateway and its own.
fn ports(desired: &DesiredState, service: &str) -> Vec<String> {
    let routed = desired
        .ports
        .iter()
        .filter(|port| port.routes.iter().any(|route| route.service == service))
        .filter_map(|port| port.host_port);
    let own = desired
        .services
        .get(service)
        .into_iter()
        .flat_map(|service| &service.container.ports);
    routed
        .chain(own.filter_map(|port| port.host_port))
        .map(|port| port.to_string())
        .collect()
}

fn instance(it: &Instance, ready: bool, usage: &BTreeMap<String, (f64, u64)>) -> InstanceStatus {
    let measured = usage.get(&it.name);
    let state = match &it.state {
        InstanceState::Running if ready => "ready".to_owned(),
        InstanceState::Running if it.health == Some(Health::Unhealthy) => "unhealthy".to_owned(),
        InstanceState::Running => "running".to_owned(),
        InstanceState::Created => "created".to_owned(),
        InstanceState::Paused => "paused".to_owned(),
        InstanceState::Restarting => "restarting".to_owned(),
        InstanceState::Exited { oom: true, .. } => "out of memory".to_owned(),
        InstanceState::Exited { code, .. } => format!("exited {code}"),
        InstanceState::Dead => "dead".to_owned(),
    };
    InstanceStatus {
        name: it.name.clone(),
        state,
        cpu: measured.map(|(cpu, _)| *cpu),
        memory: measured.map(|(_, memory)| *memory),
        restarts: it.restarts,
    }
}

/// P = T / N with T in requests per second and N, the median latency, in
/// milliseconds; only comparable with the same service at another time.
fn performance(numbers: &Performance) -> PerformanceStatus {
    PerformanceStatus {
        throughput_rps: numbers.throughput_rps,
        latency_ms: numbers
            .latency_ms
            .map(|(p50, p95, p99)| Latency { p50, p95, p99 }),
        power: numbers
            .latency_ms
            .filter(|(p50, ..)| *p50 > 0.0)
            .map(|(p50, ..)| numbers.throughput_rps / p50),
    }
}
