//! One service: replicas, order, readiness, demand and rollout.

use std::time::Duration;

use super::Inputs;
use super::container;
use super::hooks;
use super::inner;
use crate::stack::Stack;
use crate::stack::model;
use crate::stack::model::DeployMode;
use crate::stack::model::FailureAction;
use crate::stack::model::HealthTest;
use crate::stack::model::UpdateOrder;
use crate::stack::model::VolumeAccess;
use crate::state::desired::Back;
use crate::state::desired::Class;
use crate::state::desired::Condition;
use crate::state::desired::Demand;
use crate::state::desired::DemandSource;
use crate::state::desired::Dependency;
use crate::state::desired::ImageSource;
use crate::state::desired::Mesh;
use crate::state::desired::OnFailure;
use crate::state::desired::PullPolicy;
use crate::state::desired::ReadyGate;
use crate::state::desired::Rollout;
use crate::state::desired::RolloutOrder;
use crate::state::desired::ServiceSpec;
use crate::state::scaling::Autoscale;
use crate::state::scaling::Peak;
use crate::state::spec::Mount;
use crate::state::spec::NetworkMode;
use crate::state::strategy::Judge;
use crate::state::strategy::Staged;
use crate::state::strategy::StagedKind;
use crate::state::strategy::TrafficStage;

/// Time a replica may take to get ready when the file sets none.
pub(super) const READY_DEADLINE: Duration = Duration::from_mins(1);
/// Time a one-off may run.
const COMPLETED_DEADLINE: Duration = Duration::from_mins(10);
/// Time a new replica is watched when the file sets none.
const MONITOR: Duration = Duration::from_secs(5);
/// Header by which a request chooses its revision when the file names none.
const HEADER: &str = "X-Shop-Revision";
/// So many requests tell something about latency.
const MIN_REQUESTS: u64 = 100;
/// Share of failed requests that a staged rollout bears, in millionths.
const MAX_ERRORS: u32 = 10_000;
/// How much slower than the old revision a new one may be, in percent.
const MAX_SLOWDOWN: u32 = 200;
/// The engine's own defaults for health checks.
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);

/// Fills in every default of one service.
pub(super) fn resolve(
    stack: &Stack,
    service: &model::Service,
    inputs: &Inputs,
    granted: Vec<Mount>,
) -> ServiceSpec {
    let one_off = is_one_off(stack, service);
    let image = image(service, inputs);
    let reference = match &image {
        ImageSource::Pull { reference, .. } => reference.clone(),
        ImageSource::Build { tag } => tag.clone().unwrap_or_default(),
        ImageSource::Unset => String::new(),
    };
    let ready = ready(stack, service, one_off);
    let limit = ready.deadline_ms();
    ServiceSpec {
        compose_hash: service.compose_hash.clone(),
        name: service.name.clone(),
        place: service.place.to_string(),
        replicas: service.replicas(),
        replicas_declared: service.deploy.replicas.is_some(),
        container: container::resolve(stack, service, reference, granted, one_off),
        image,
        pinned: None,
        needs: needs(service),
        ready,
        demand: demand(service),
        rollout: rollout(service),
        class: match service.shop.as_ref().and_then(|shop| shop.class) {
            Some(model::Class::Batch) => Class::Batch,
            Some(model::Class::Stateful) => Class::Stateful,
            Some(model::Class::Latency) | None => Class::Latency,
        },
        container_name: service.container_name.clone(),
        one_off,
        exclusive_volumes: exclusive_volumes(stack, service),
        inner: inner::ports(stack, service, one_off),
        hooks: hooks::of_service(service),
        lifecycle: hooks::inside(service, limit, service.stop_grace_period),
        autoscale: autoscale(service),
        mesh: mesh(stack, service),
    }
}

fn is_one_off(stack: &Stack, service: &model::Service) -> bool {
    let job = matches!(
        service.deploy.mode,
        DeployMode::ReplicatedJob | DeployMode::GlobalJob
    );
    let awaited = stack.services.values().any(|other| {
        other
            .depends_on
            .get(&service.name)
            .is_some_and(|need| need.condition == model::Condition::ServiceCompletedSuccessfully)
    });
    job || awaited
}

fn image(service: &model::Service, inputs: &Inputs) -> ImageSource {
    match (&service.build, &service.image) {
        (Some(_), _) => ImageSource::Build {
            tag: inputs.tags.get(&service.name).cloned(),
        },
        (None, Some(reference)) => ImageSource::Pull {
            reference: reference.clone(),
            policy: match service.pull_policy {
                Some(model::PullPolicy::Always) => PullPolicy::Always,
                Some(model::PullPolicy::Never) => PullPolicy::Never,
                Some(model::PullPolicy::Refresh(after)) => PullPolicy::Refresh(after.as_secs()),
                Some(model::PullPolicy::Missing | model::PullPolicy::Build) | None => {
                    PullPolicy::Missing
                }
            },
        },
        (None, None) => ImageSource::Unset,
    }
}

/// What the file declares, and what follows from sharing a namespace.
fn needs(service: &model::Service) -> Vec<Dependency> {
    let mut needs: Vec<Dependency> = service
        .depends_on
        .iter()
        .map(|(name, need)| Dependency {
            service: name.clone(),
            condition: match need.condition {
                model::Condition::ServiceStarted => Condition::Started,
                model::Condition::ServiceHealthy => Condition::Healthy,
                model::Condition::ServiceCompletedSuccessfully => Condition::CompletedSuccessfully,
            },
            required: need.required,
            restart: need.restart,
        })
        .collect();
    if let NetworkMode::Service(other) = super::network::mode(service)
        && needs.iter().all(|need| need.service != other)
    {
        needs.push(Dependency {
            service: other,
            condition: Condition::Started,
            required: true,
            restart: false,
        });
    }
    needs
}

fn ready(stack: &Stack, service: &model::Service, one_off: bool) -> ReadyGate {
    if one_off {
        return ReadyGate::Completed {
            deadline_ms: millis(COMPLETED_DEADLINE),
        };
    }
    if let Some(ready) = service.shop.as_ref().and_then(|shop| shop.ready.as_ref()) {
        return ReadyGate::Probe {
            port: ready.port(),
            http: match ready {
                model::Ready::Http { path, .. } => Some(path.clone()),
                model::Ready::Tcp { .. } => None,
            },
            deadline_ms: millis(ready.timeout().unwrap_or(READY_DEADLINE)),
        };
    }
    let awaited = stack.services.values().any(|other| {
        other
            .depends_on
            .get(&service.name)
            .is_some_and(|need| need.condition == model::Condition::ServiceHealthy)
    });
    match &service.healthcheck {
        Some(check) if check.test == HealthTest::Disabled => ReadyGate::Running,
        Some(check) if check.test != HealthTest::Inherit || awaited => health_gate(check),
        // The image must bring a check then, or the file makes no sense.
        None if awaited => health_gate(&model::Healthcheck::default()),
        _ => ReadyGate::Running,
    }
}

/// Long enough for the check to fail as often as it may, and once more.
fn health_gate(check: &model::Healthcheck) -> ReadyGate {
    let interval = check.interval.unwrap_or(HEALTH_INTERVAL);
    let timeout = check.timeout.unwrap_or(HEALTH_INTERVAL);
    let tries = u32::try_from(check.retries.unwrap_or(3)).unwrap_or(u32::MAX);
    let worst = check.start_period.unwrap_or_default()
        + (interval.saturating_add(timeout)).saturating_mul(tries.saturating_add(1));
    ReadyGate::Healthy {
        deadline_ms: millis(worst.max(READY_DEADLINE)),
        interval_ms: millis(interval),
    }
}

fn demand(service: &model::Service) -> Demand {
    let resources = &service.deploy.resources;
    let (reserved, limits) = (&resources.reservations, &resources.limits);
    let (cpu_milli, cpu_source) = match (reserved.cpus, limits.cpus) {
        (Some(cpus), _) => (cpus.0.div_ceil(1_000_000), DemandSource::Reservation),
        (None, Some(cpus)) => (cpus.0.div_ceil(1_000_000), DemandSource::Limit),
        (None, None) => (0, DemandSource::Assumed),
    };
    let (memory, memory_source) = match (reserved.memory, limits.memory) {
        (Some(bytes), _) => (bytes, DemandSource::Reservation),
        (None, Some(bytes)) => (bytes, DemandSource::Limit),
        (None, None) => (0, DemandSource::Assumed),
    };
    Demand {
        cpu_milli,
        cpu_source,
        memory,
        memory_source,
    }
}

fn rollout(service: &model::Service) -> Rollout {
    let declared = service.deploy.update_config.clone().unwrap_or_default();
    Rollout {
        order: order(&declared),
        parallelism: parallelism(&declared),
        delay_ms: millis(declared.delay.unwrap_or_default()),
        monitor_ms: millis(declared.monitor.unwrap_or(MONITOR)),
        on_failure: match declared.failure_action {
            Some(FailureAction::Pause) => OnFailure::Pause,
            Some(FailureAction::Continue) => OnFailure::Continue,
            Some(FailureAction::Rollback) | None => OnFailure::Rollback,
        },
        max_failures: declared.max_failure_ratio.map_or(0, |ratio| ratio.0),
        staged: service.shop.as_ref().and_then(staged),
        back: service
            .deploy
            .rollback_config
            .as_ref()
            .map(|declared| Back {
                order: order(declared),
                parallelism: parallelism(declared),
                delay_ms: millis(declared.delay.unwrap_or_default()),
                monitor_ms: millis(declared.monitor.unwrap_or(MONITOR)),
            }),
    }
}

fn order(declared: &model::UpdateConfig) -> RolloutOrder {
    match declared.order {
        Some(UpdateOrder::StopFirst) => RolloutOrder::StopFirst,
        Some(UpdateOrder::StartFirst) | None => RolloutOrder::StartFirst,
    }
}

fn parallelism(declared: &model::UpdateConfig) -> u32 {
    let count = declared.parallelism.unwrap_or(1);
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The stages of `x-shop.rollout`, judged by `x-shop.slo` where that says more.
fn staged(shop: &model::ServiceShop) -> Option<Staged> {
    let declared = shop.rollout.as_ref()?;
    let stage = |percent, pause: Duration| TrafficStage {
        percent,
        pause_ms: millis(pause),
    };
    let (kind, stages) = match &declared.strategy {
        model::Strategy::Rolling => return None,
        model::Strategy::Canary { steps } => (
            StagedKind::Canary,
            steps
                .iter()
                .map(|(percent, pause)| stage(*percent, *pause))
                .collect(),
        ),
        model::Strategy::BlueGreen { pause, hold } => (
            StagedKind::BlueGreen,
            vec![stage(0, *pause), stage(100, *hold)],
        ),
    };
    let slo = shop.slo.clone().unwrap_or_default();
    let max_errors = declared.max_errors.or(slo.error_rate);
    Some(Staged {
        kind,
        stages,
        header: declared.header.clone().unwrap_or_else(|| HEADER.to_owned()),
        cookie: declared.cookie.clone(),
        preview: declared.preview.clone(),
        judge: Judge {
            min_requests: declared.min_requests.unwrap_or(MIN_REQUESTS),
            max_errors: max_errors.map_or(MAX_ERRORS, |ratio| ratio.0),
            p95_ms: slo.latency_p95.map(millis),
            p99_ms: slo.latency_p99.map(millis),
            max_slowdown: declared.max_slowdown.unwrap_or(MAX_SLOWDOWN),
        },
    })
}

/// The stack's mesh, unless the service says otherwise.
fn mesh(stack: &Stack, service: &model::Service) -> Option<Mesh> {
    let own = service.shop.as_ref().and_then(|shop| shop.mesh);
    match own.or(stack.shop.mesh)? {
        model::Mesh::None => None,
        model::Mesh::Istio => Some(Mesh::Istio),
        model::Mesh::Linkerd => Some(Mesh::Linkerd),
        model::Mesh::Consul => Some(Mesh::Consul),
    }
}

/// How the count may follow the load.
fn autoscale(service: &model::Service) -> Option<Autoscale> {
    let declared = service.shop.as_ref()?.autoscale.as_ref()?;
    let peaks = declared.schedules.iter().map(|schedule| Peak {
        at: schedule.at.clone(),
        length_ms: millis(schedule.length),
        replicas: schedule.replicas,
        lead_ms: millis(schedule.lead),
    });
    Some(Autoscale {
        min: declared.min.unwrap_or_else(|| service.replicas()),
        max: declared.max,
        // Millionths, of which a part of a percent is none.
        cpu_percent: declared.cpu.map(|share| (share.0 / 10_000).max(1)),
        rps_per_replica: declared.rps_per_replica,
        peaks: peaks.collect(),
    })
}

/// Volumes that the service writes and that bear one writer at a time.
fn exclusive_volumes(stack: &Stack, service: &model::Service) -> Vec<String> {
    let mut keys: Vec<String> = service
        .volumes
        .iter()
        .filter(|mount| !mount.read_only)
        .filter_map(|mount| match &mount.source {
            model::MountSource::Volume { name, .. } => name.clone(),
            _ => None,
        })
        .filter(|key| stack.volume_access(service, key) == VolumeAccess::Single)
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
