//! What a stack file says that means something else on a cluster, or nothing: key by key.

use crate::capacity::allocate;
use crate::state::desired::DesiredState;
use crate::state::desired::ServiceSpec;
use crate::state::devices::Blkio;
use crate::state::spec::ContainerSpec;
use crate::state::spec::Endpoint;
use crate::state::spec::NetworkMode;

use super::names::dns;

/// One key that a cluster does not take as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Service, empty for the stack.
    pub service: String,
    /// Key of the stack file.
    pub key: &'static str,
    /// What becomes of it.
    pub text: String,
    /// It cannot work there.
    pub refused: bool,
    /// It holds only where something else than shopctl applies the objects.
    pub elsewhere: bool,
}

impl Finding {
    pub(super) fn note(service: &str, key: &'static str, text: impl Into<String>) -> Self {
        Self {
            service: service.to_owned(),
            key,
            text: text.into(),
            refused: false,
            elsewhere: false,
        }
    }

    /// Of what shopctl itself does when it deploys.
    pub(super) fn elsewhere(service: &str, key: &'static str, text: impl Into<String>) -> Self {
        Self {
            elsewhere: true,
            ..Self::note(service, key, text)
        }
    }

    pub(super) fn refused(service: &str, key: &'static str, text: impl Into<String>) -> Self {
        Self {
            refused: true,
            ..Self::note(service, key, text)
        }
    }
}

const OF_NODE: &str = "belongs to the nodes of a cluster; it is left out";
const NO_WORD: &str = "a cluster has no word for it; it is left out";

/// What can be said before any object is made.
pub(super) fn of_stack(desired: &DesiredState) -> Vec<Finding> {
    let mut all: Vec<Finding> = desired.services.values().flat_map(of_service).collect();
    if desired.hooks.is_some() {
        all.push(Finding::elsewhere("", "x-shop.hooks", IN_DEPLOYS));
    }
    all
}

const IN_ORDER: &str = "the order is kept when shopctl deploys; whatever else applies these objects starts all at once";

const IN_DEPLOYS: &str = "run when shopctl deploys; whatever else applies these objects runs none";

/// What can be said of one service.
pub(super) fn of_service(service: &ServiceSpec) -> Vec<Finding> {
    let name = service.name.as_str();
    let spec = allocate::container(service);
    let mut all = Vec::new();
    let mut waits = false;
    let mut note = |key, text: &str| all.push(Finding::note(name, key, text));
    if dns(name) != name {
        let text = format!(
            "is called {} there: names of a cluster have no other characters",
            dns(name)
        );
        note("services", &text);
    }
    if !service.needs.is_empty() {
        waits = true;
    }
    let mut first = spec.pre_start.iter();
    if service.replicas > 1 && first.any(|one| !one.per_replica) {
        note("pre_start", "runs before each pod there, not once for all");
    }
    if spec.pre_start.iter().any(|one| one.privileged) {
        note("pre_start", "runs with the rights of its service there");
    }
    let numeric = |id: &str| id.parse::<i64>().is_ok();
    let user = spec.user.as_deref().unwrap_or_default();
    if !user.is_empty() && !user.split(':').all(|id| numeric(id) || id == "root") {
        note(
            "user",
            "names of users are known to the image alone; pods run as its user: write its number",
        );
    }
    if !spec.group_add.iter().all(|id| numeric(id)) {
        note(
            "group_add",
            "names of groups are known to the image alone; write their numbers",
        );
    }
    if spec
        .security_opt
        .iter()
        .any(|one| !one.starts_with("no-new-privileges"))
    {
        note(
            "security_opt",
            "pods have the runtime's own profiles; it is left out",
        );
    }
    if let NetworkMode::Networks(endpoints) = &spec.network {
        let own = |endpoint: &Endpoint| endpoint.aliases.iter().any(|alias| alias != name);
        if endpoints.values().any(own) {
            note(
                "networks.aliases",
                "a service has one name there; others are left out",
            );
        }
    }
    if service.container_name.is_some() {
        note(
            "container_name",
            "pods are named by the cluster; it is left out",
        );
    }
    if !spec.ports.is_empty() {
        note(
            "ports",
            "what a container publishes itself is reached through its service",
        );
    }
    for (key, said, text) in plain(&spec) {
        if said {
            note(key, text);
        }
    }
    if !service.hooks.is_empty() {
        all.push(Finding::elsewhere(name, "x-shop.hooks", IN_DEPLOYS));
    }
    if waits {
        all.push(Finding::elsewhere(name, "depends_on", IN_ORDER));
    }
    if let Some(other) = spec.lenders().next() {
        let text = format!("pods share nothing with others: {name} uses what is {other}'s alone");
        all.push(Finding::refused(name, "volumes_from, pid, ipc", text));
    }
    match &spec.network {
        NetworkMode::Service(other) => all.push(Finding::refused(
            name,
            "network_mode",
            format!("two services cannot share a network: make {name} reach {other} by its name"),
        )),
        NetworkMode::Container(_) | NetworkMode::Other(_) => all.push(Finding::refused(
            name,
            "network_mode",
            "only host and none have a meaning on a cluster",
        )),
        _ => {}
    }
    all
}

/// Keys that are left out, whether they are said, and why.
fn plain(spec: &ContainerSpec) -> [(&'static str, bool, &'static str); 25] {
    let unset = spec.environment.values().any(Option::is_none);
    [
        (
            "environment",
            unset,
            "a variable of the image cannot be taken away; it is left as it is",
        ),
        (
            "gpus",
            !spec.device_requests.is_empty(),
            "devices are asked for by the names of their plugins, such as nvidia.com/gpu; it is left out",
        ),
        ("blkio_config", spec.blkio != Blkio::default(), OF_NODE),
        ("mac_address", spec.mac_address.is_some(), OF_NODE),
        ("cpu_rt_runtime", spec.cpu_rt_runtime.is_some(), OF_NODE),
        ("memswap_limit", spec.live.memory_swap.is_some(), OF_NODE),
        ("domainname", spec.domainname.is_some(), NO_WORD),
        (
            "init",
            spec.init == Some(true),
            "a cluster brings no init; the image's own program is the first process",
        ),
        ("devices", !spec.devices.is_empty(), OF_NODE),
        (
            "device_cgroup_rules",
            !spec.device_cgroup_rules.is_empty(),
            OF_NODE,
        ),
        ("ulimits", !spec.ulimits.is_empty(), OF_NODE),
        ("pids_limit", spec.live.pids.is_some(), OF_NODE),
        ("cpuset", spec.cpuset.is_some(), OF_NODE),
        ("cpu_period", spec.cpu_period.is_some(), OF_NODE),
        ("cpu_quota", spec.cpu_quota.is_some(), OF_NODE),
        ("mem_swappiness", spec.mem_swappiness.is_some(), OF_NODE),
        ("oom_kill_disable", spec.oom_kill_disable, OF_NODE),
        ("storage_opt", !spec.storage_opt.is_empty(), OF_NODE),
        ("cgroup", spec.cgroup.is_some(), OF_NODE),
        ("cgroup_parent", spec.cgroup_parent.is_some(), OF_NODE),
        ("uts", spec.uts.is_some(), NO_WORD),
        ("userns_mode", spec.userns_mode.is_some(), NO_WORD),
        (
            "logging",
            spec.logging.is_some(),
            "logs are kept by the nodes; it is left out",
        ),
        (
            "stop_signal",
            spec.stop_signal
                .as_deref()
                .is_some_and(|it| it != "SIGTERM" && it != "15"),
            "pods are stopped by the signal of their image; set STOPSIGNAL there",
        ),
        (
            "dns_opt",
            !spec.dns_opt.is_empty() && spec.dns.is_empty(),
            "is used together with dns only",
        ),
    ]
}
