//! An inspected container in our own words.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use bollard::models::ContainerInspectResponse;
use bollard::models::ContainerState;
use bollard::models::ContainerStateStatusEnum;
use bollard::models::EndpointSettings;
use bollard::models::HealthStatusEnum;
use bollard::models::HostConfig;
use bollard::models::PortMap;
use bollard::models::RestartPolicyNameEnum;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::state::names;
use crate::state::observed::Environment;
use crate::state::observed::Foreign;
use crate::state::observed::Health;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::Role;
use crate::state::spec::LiveSpec;
use crate::state::spec::Restart;

/// Labels of a container.
pub(super) type Labels = HashMap<String, String>;

/// A container of the stack.
pub(super) fn instance(stack: &str, found: ContainerInspectResponse) -> Instance {
    let config = found.config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let ours = labels.get(names::STACK).is_some_and(|name| name == stack);
    let role = role(&labels);
    let service = match (role, ours) {
        (Role::Service, true) => label(names::SERVICE),
        (Role::Service, false) => label(names::COMPOSE_SERVICE),
        _ => String::new(),
    };
    let slot = if ours {
        names::SLOT
    } else {
        names::COMPOSE_NUMBER
    };
    let state = found.state.unwrap_or_default();
    let network = found.network_settings.unwrap_or_default();
    let host = found.host_config.unwrap_or_default();
    let id = found.id.unwrap_or_default();
    Instance {
        name: plain_name(found.name.as_deref()),
        role,
        service,
        slot: label(slot).parse().unwrap_or_default(),
        revision: label(names::REVISION),
        alias: label(names::INSTANCE),
        image: config.image.unwrap_or_default(),
        image_id: found.image.unwrap_or_default(),
        health: health(&state),
        restarts: found
            .restart_count
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or_default(),
        started_at: millis(state.started_at.as_deref()),
        state: self::state(&state),
        names: names(role, &id, network.networks.as_ref()),
        networks: network.networks.unwrap_or_default().into_keys().collect(),
        live: live(&host),
        id,
        nameless: ours && label(names::NAME) == "gateway",
        compose_hash: if ours {
            String::new()
        } else {
            label(names::COMPOSE_HASH)
        },
        image_content: String::new(),
        ours,
        host_ports: host_ports(host.port_bindings.as_ref(), network.ports.as_ref()),
        listens: serde_json::from_str(&label(names::LISTENS)).unwrap_or_default(),
        volumes: found
            .mounts
            .unwrap_or_default()
            .into_iter()
            .filter(|mount| mount.typ.as_deref() == Some("volume"))
            .filter_map(|mount| mount.name)
            .collect(),
        fields: serde_json::from_str(&label(names::FIELDS)).unwrap_or_default(),
        environment: Some(environment(config.env.unwrap_or_default())),
        memory_in_use: None,
        // Its own words, which are in the store.
        program: None,
        refused: None,
    }
}

/// The names of a gateway by network, without the short id that the engine adds to them.
fn names(
    role: Role,
    id: &str,
    networks: Option<&HashMap<String, EndpointSettings>>,
) -> BTreeMap<String, BTreeSet<String>> {
    if role != Role::Gateway {
        return BTreeMap::new();
    }
    let own = id.get(..12).unwrap_or(id);
    networks
        .into_iter()
        .flatten()
        .filter_map(|(network, endpoint)| {
            let names = endpoint.aliases.iter().flatten();
            let names: BTreeSet<String> = names.filter(|name| *name != own).cloned().collect();
            (!names.is_empty()).then(|| (network.clone(), names))
        })
        .collect()
}

/// A running container outside the stack.
pub(super) fn foreign(found: ContainerInspectResponse) -> Foreign {
    let labels = found
        .config
        .and_then(|config| config.labels)
        .unwrap_or_default();
    let host = found.host_config.unwrap_or_default();
    let network = found.network_settings.unwrap_or_default();
    Foreign {
        name: plain_name(found.name.as_deref()),
        project: labels
            .get(names::STACK)
            .or_else(|| labels.get(names::COMPOSE_PROJECT))
            .cloned(),
        cpu_milli: cpu_milli(&host, labels.contains_key(names::STACK)),
        memory: positive(host.memory_reservation)
            .or(positive(host.memory))
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or_default(),
        host_ports: host_ports(host.port_bindings.as_ref(), network.ports.as_ref()),
    }
}

/// What the container is limited to; of other stacks of ours the reservation, which
/// is its CPU weight.
fn cpu_milli(host: &HostConfig, ours: bool) -> u64 {
    let milli = if let Some(nano) = positive(host.nano_cpus) {
        nano / 1_000_000
    } else if let (Some(quota), period) = (positive(host.cpu_quota), positive(host.cpu_period)) {
        quota.saturating_mul(1000) / period.unwrap_or(100_000)
    } else if ours {
        positive(host.cpu_shares)
            .unwrap_or_default()
            .saturating_mul(1000)
            / 1024
    } else {
        0
    };
    u64::try_from(milli).unwrap_or_default()
}

/// Live fields as the engine reports them; its zeros and minus ones mean none.
pub(super) fn live(host: &HostConfig) -> LiveSpec {
    let policy = host.restart_policy.clone().unwrap_or_default();
    LiveSpec {
        cpu_shares: positive(host.cpu_shares),
        nano_cpus: positive(host.nano_cpus),
        memory: positive(host.memory),
        memory_swap: swap(host),
        memory_reservation: positive(host.memory_reservation),
        pids: positive(host.pids_limit),
        restart: match policy.name {
            Some(RestartPolicyNameEnum::ALWAYS) => Restart::Always,
            Some(RestartPolicyNameEnum::UNLESS_STOPPED) => Restart::UnlessStopped,
            Some(RestartPolicyNameEnum::ON_FAILURE) => Restart::OnFailure(
                policy
                    .maximum_retry_count
                    .and_then(|count| u32::try_from(count).ok())
                    .unwrap_or_default(),
            ),
            _ => Restart::No,
        },
    }
}

/// Memory and swap together, where that is not what follows from the memory alone.
fn swap(host: &HostConfig) -> Option<i64> {
    let memory = positive(host.memory)?;
    let swap = host.memory_swap.filter(|swap| *swap != 0)?;
    (swap != memory).then_some(swap)
}

fn positive(value: Option<i64>) -> Option<i64> {
    value.filter(|number| *number > 0)
}

/// The name without its leading slash.
pub(super) fn plain_name(name: Option<&str>) -> String {
    name.unwrap_or_default().trim_start_matches('/').to_owned()
}

/// State of a container.
pub(super) fn state(state: &ContainerState) -> InstanceState {
    match state.status {
        Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING) => {
            InstanceState::Running
        }
        Some(ContainerStateStatusEnum::PAUSED) => InstanceState::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => InstanceState::Restarting,
        Some(ContainerStateStatusEnum::EXITED) => InstanceState::Exited {
            code: state.exit_code.unwrap_or_default(),
            oom: state.oom_killed.unwrap_or_default(),
        },
        Some(ContainerStateStatusEnum::DEAD | ContainerStateStatusEnum::REMOVING) => {
            InstanceState::Dead
        }
        Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY) | None => {
            InstanceState::Created
        }
    }
}

/// Health, where the container has a check.
pub(super) fn health(state: &ContainerState) -> Option<Health> {
    match state.health.as_ref()?.status? {
        HealthStatusEnum::STARTING => Some(Health::Starting),
        HealthStatusEnum::HEALTHY => Some(Health::Healthy),
        HealthStatusEnum::UNHEALTHY => Some(Health::Unhealthy),
        HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
    }
}

fn role(labels: &Labels) -> Role {
    match labels.get(names::ROLE).map(String::as_str) {
        Some("gateway") => Role::Gateway,
        Some("keeper") => Role::Keeper,
        Some("lock") => Role::Lock,
        Some("prober") => Role::Prober,
        Some("task") => Role::Task,
        Some("run") => Role::Run,
        Some("holder") => Role::Holder,
        _ => Role::Service,
    }
}

/// Milliseconds since the epoch; the engine writes year 1 for "never".
fn millis(text: Option<&str>) -> u64 {
    text.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok())
        .and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok())
        .unwrap_or_default()
}

/// Ports asked for, and those the engine chose.
fn host_ports(asked: Option<&PortMap>, given: Option<&PortMap>) -> BTreeSet<String> {
    let mut ports = BTreeSet::new();
    for (inside, bindings) in asked.into_iter().chain(given).flatten() {
        let protocol = inside
            .split_once('/')
            .map_or("tcp", |(_, protocol)| protocol);
        for binding in bindings.iter().flatten() {
            let port = binding.host_port.as_deref().unwrap_or_default();
            if port.is_empty() || port == "0" {
                continue;
            }
            let ip = match binding.host_ip.as_deref() {
                None | Some("" | "::") => "0.0.0.0",
                Some(ip) => ip,
            };
            ports.insert(format!("{ip}:{port}/{protocol}"));
        }
    }
    ports
}

fn environment(entries: Vec<String>) -> Environment {
    let pairs: BTreeMap<String, String> = entries
        .into_iter()
        .map(|entry| match entry.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (entry, String::new()),
        })
        .collect();
    Environment(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: serde_json::Value) -> Instance {
        instance("shop", serde_json::from_value(json).unwrap())
    }

    #[test]
    fn a_replica_of_ours_is_read_whole() {
        let found = parse(serde_json::json!({
            "Id": "abc", "Name": "/shop-order-1-3f9a1c", "Image": "sha256:1", "RestartCount": 2,
            "State": {"Status": "exited", "ExitCode": 137, "OOMKilled": true,
                      "StartedAt": "2026-01-01T00:00:10.5Z"},
            "Config": {"Image": "shop-order:1", "Env": ["A=1=2", "B"], "Labels": {
                "dev.shopctl.stack": "shop", "dev.shopctl.service": "order",
                "dev.shopctl.slot": "1", "dev.shopctl.revision": "3f9a1c",
                "dev.shopctl.instance": "i-1", "dev.shopctl.fields": "{\"image\":\"x\"}"}},
            "HostConfig": {"CpuShares": 256, "NanoCpus": 0, "Memory": 67_108_864, "PidsLimit": -1,
                "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
                "PortBindings": {"53/udp": [{"HostIp": "", "HostPort": "53"}]}},
            "NetworkSettings": {"Networks": {"shop_default": {}},
                "Ports": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "49153"}], "90/tcp": null}},
            "Mounts": [{"Type": "volume", "Name": "shop_data"}, {"Type": "bind", "Source": "/x"}],
        }));
        insta::assert_yaml_snapshot!(found);
        let environment = found.environment.unwrap().0;
        assert_eq!(environment["A"], "1=2");
    }

    #[test]
    fn a_container_of_compose_keeps_its_service_and_number() {
        let found = parse(serde_json::json!({
            "Name": "/shop-web-2", "State": {"Status": "running", "Health": {"Status": "starting"},
            "StartedAt": "0001-01-01T00:00:00Z"},
            "Config": {"Labels": {"com.docker.compose.project": "shop",
                "com.docker.compose.service": "web", "com.docker.compose.container-number": "2"}},
        }));
        assert_eq!(
            (found.service.as_str(), found.slot, found.ours),
            ("web", 2, false)
        );
        assert_eq!(found.health, Some(Health::Starting));
        assert_eq!(found.started_at, 0);
    }

    #[test]
    fn swap_is_told_where_it_does_not_follow_from_the_memory() {
        let swap = |memory: i64, swap: i64| {
            let host = HostConfig {
                memory: Some(memory),
                memory_swap: Some(swap),
                ..HostConfig::default()
            };
            live(&host).memory_swap
        };
        assert_eq!(
            [
                swap(8, 8),
                swap(8, 16),
                swap(8, -1),
                swap(8, 0),
                swap(0, -1)
            ],
            [None, Some(16), Some(-1), None, None]
        );
    }

    #[test]
    fn foreign_containers_count_reservation_before_limit() {
        let found: ContainerInspectResponse = serde_json::from_value(serde_json::json!({
            "Name": "/db", "Config": {"Labels": {"com.docker.compose.project": "other"}},
            "HostConfig": {"CpuQuota": 50_000, "CpuPeriod": 100_000, "CpuShares": 512,
                "Memory": 200, "MemoryReservation": 100},
        }))
        .unwrap();
        let found = foreign(found);
        assert_eq!((found.cpu_milli, found.memory), (500, 100));
        assert_eq!(found.project.as_deref(), Some("other"));
    }
}
