//! What one container of a service is.

use std::time::Duration;

use super::hooks;
use super::mounts;
use super::network;
use super::ports;
use crate::stack::Stack;
use crate::stack::model;
use crate::stack::model::HealthTest;
use crate::stack::model::RestartCondition;
use crate::state::devices::Blkio;
use crate::state::devices::DeviceRequest;
use crate::state::spec::ContainerSpec;
use crate::state::spec::Healthcheck;
use crate::state::spec::LiveSpec;
use crate::state::spec::Logging;
use crate::state::spec::Mount;
use crate::state::spec::Restart;

/// Fills in every default of a service's container.
pub(super) fn resolve(
    stack: &Stack,
    service: &model::Service,
    image: String,
    granted: Vec<Mount>,
    one_off: bool,
) -> ContainerSpec {
    ContainerSpec {
        image,
        command: service.command.clone(),
        entrypoint: service.entrypoint.clone(),
        environment: service.environment.clone(),
        working_dir: service.working_dir.clone(),
        user: service.user.clone(),
        labels: service.labels.clone(),
        hostname: service.hostname.clone(),
        domainname: service.domainname.clone(),
        init: service.init,
        tty: service.tty,
        stdin_open: service.stdin_open,
        read_only: service.read_only,
        privileged: service.privileged,
        cap_add: service.cap_add.clone(),
        cap_drop: service.cap_drop.clone(),
        security_opt: service.security_opt.clone(),
        group_add: service.group_add.clone(),
        devices: service
            .devices
            .iter()
            .map(|device| format!("{}:{}:{}", device.source, device.target, device.permissions))
            .collect(),
        shm_size: service.shm_size.and_then(|size| i64::try_from(size).ok()),
        ulimits: service
            .ulimits
            .iter()
            .map(|(name, limit)| (name.clone(), (limit.soft, limit.hard)))
            .collect(),
        sysctls: service.sysctls.clone(),
        extra_hosts: service
            .extra_hosts
            .iter()
            .flat_map(|(name, addresses)| {
                addresses
                    .iter()
                    .map(move |address| format!("{name}:{address}"))
            })
            .collect(),
        dns: service.dns.clone(),
        dns_search: service.dns_search.clone(),
        dns_opt: service.dns_opt.clone(),
        network: network::mode(service),
        pid: service.pid.clone(),
        ipc: service.ipc.clone(),
        userns_mode: service.userns_mode.clone(),
        uts: service.uts.clone(),
        cgroup: service.cgroup.clone(),
        cgroup_parent: service.cgroup_parent.clone(),
        device_cgroup_rules: service.device_cgroup_rules.clone(),
        device_requests: service
            .deploy
            .resources
            .reservations
            .devices
            .iter()
            .map(device_request)
            .collect(),
        blkio: blkio(&service.blkio_config),
        annotations: service.annotations.clone(),
        mac_address: service.mac_address.clone(),
        volumes_from: mounts::lenders(service),
        runtime: service.runtime.clone(),
        cpu_period: service.cpu_period,
        cpu_quota: service.cpu_quota,
        cpu_rt_period: service.cpu_rt_period,
        cpu_rt_runtime: service.cpu_rt_runtime,
        cpuset: service.cpuset.clone(),
        mem_swappiness: service.mem_swappiness,
        oom_kill_disable: service.oom_kill_disable,
        storage_opt: service.storage_opt.clone(),
        platform: service.platform.clone(),
        mounts: mounts::mounts(service, granted),
        ports: ports::own(stack, service),
        expose: ports::exposed(service),
        healthcheck: service.healthcheck.as_ref().map(healthcheck),
        stop_signal: service.stop_signal.clone(),
        stop_grace_secs: service.stop_grace_period.map(whole_seconds),
        logging: service.logging.as_ref().map(|logging| Logging {
            driver: logging.driver.clone(),
            options: logging.options.clone(),
        }),
        pre_start: hooks::before(service),
        oom_score_adj: service.oom_score_adj,
        live: live(service, one_off),
    }
}

fn live(service: &model::Service, one_off: bool) -> LiveSpec {
    let limits = &service.deploy.resources.limits;
    let memory = limits.memory.and_then(|bytes| i64::try_from(bytes).ok());
    LiveSpec {
        cpu_shares: service.cpu_shares,
        nano_cpus: limits.cpus.and_then(|cpus| i64::try_from(cpus.0).ok()),
        memory,
        // Where there is no limit of the memory the engine knows none of the swap.
        memory_swap: service
            .memswap_limit
            .filter(|swap| memory.is_some_and(|memory| memory != *swap)),
        memory_reservation: service
            .deploy
            .resources
            .reservations
            .memory
            .and_then(|bytes| i64::try_from(bytes).ok()),
        pids: limits.pids.filter(|count| *count > 0),
        restart: if one_off {
            Restart::No
        } else {
            restart(service)
        },
    }
}

/// Without a number all devices are meant, unless some are named.
fn device_request(request: &model::DeviceRequest) -> DeviceRequest {
    DeviceRequest {
        capabilities: request.capabilities.clone(),
        driver: request.driver.clone(),
        count: match request.count {
            None if request.device_ids.is_empty() => Some(-1),
            count => count,
        },
        ids: request.device_ids.clone(),
        options: request.options.clone(),
    }
}

fn blkio(declared: &model::Blkio) -> Blkio {
    Blkio {
        weight: declared.weight,
        weight_device: declared.weight_device.clone(),
        read_bps: declared.device_read_bps.clone(),
        write_bps: declared.device_write_bps.clone(),
        read_iops: declared.device_read_iops.clone(),
        write_iops: declared.device_write_iops.clone(),
    }
}

/// `deploy.restart_policy` goes before `restart`, as Docker Compose has it.
fn restart(service: &model::Service) -> Restart {
    if let Some(policy) = &service.deploy.restart_policy {
        return match policy.condition {
            RestartCondition::None => Restart::No,
            RestartCondition::Any => Restart::Always,
            RestartCondition::OnFailure => Restart::OnFailure(
                policy
                    .max_attempts
                    .map_or(0, |times| u32::try_from(times).unwrap_or(u32::MAX)),
            ),
        };
    }
    match service.restart {
        None | Some(model::Restart::No) => Restart::No,
        Some(model::Restart::Always) => Restart::Always,
        Some(model::Restart::UnlessStopped) => Restart::UnlessStopped,
        Some(model::Restart::OnFailure(times)) => Restart::OnFailure(times),
    }
}

fn healthcheck(check: &model::Healthcheck) -> Healthcheck {
    Healthcheck {
        test: match &check.test {
            HealthTest::Inherit => Vec::new(),
            HealthTest::Disabled => vec!["NONE".to_owned()],
            HealthTest::Command(command) => std::iter::once("CMD".to_owned())
                .chain(command.iter().cloned())
                .collect(),
            HealthTest::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
        },
        interval_ns: check.interval.map(nanos),
        timeout_ns: check.timeout.map(nanos),
        start_period_ns: check.start_period.map(nanos),
        start_interval_ns: check.start_interval.map(nanos),
        retries: check.retries.and_then(|times| i64::try_from(times).ok()),
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}
