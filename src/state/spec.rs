//! The resolved specification of one container, network or volume.
//!
//! Everything a backend needs in order to create the thing, with every default
//! filled in. Fields that the engine can change on a running container stand
//! apart in [`LiveSpec`], because the revision digest leaves them out.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use super::devices::Blkio;
use super::devices::DeviceRequest;
use super::hooks::PreStart;

/// What makes a container of one service; equal specs are equal revisions.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of the specification, each on its own"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Image reference the container is created by: an unmoving content tag
    /// for built images, the reference as written for pulled ones.
    pub image: String,
    /// Overrides the image's command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Overrides the image's entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Environment; a value of `None` removes the image's variable.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Option<String>>,
    /// Working directory inside the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// `user[:group]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's labels; ours are added by the backend.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Host name inside the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// NIS domain name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Run an init process as PID 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// Allocate a terminal.
    #[serde(skip_serializing_if = "is_false")]
    pub tty: bool,
    /// Keep standard input open.
    #[serde(skip_serializing_if = "is_false")]
    pub stdin_open: bool,
    /// Root file system is read-only.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Full privileges on the host.
    #[serde(skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// Capabilities added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Capabilities dropped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// Security options, e.g. `no-new-privileges:true`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_opt: Vec<String>,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    /// Devices as `host:container:permissions`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Size of /dev/shm in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<i64>,
    /// Resource limits of processes: name to (soft, hard).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// Kernel parameters of the container's namespaces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Extra lines of /etc/hosts as `name:address`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    /// Name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Resolver options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_opt: Vec<String>,
    /// How the container is networked.
    pub network: NetworkMode,
    /// PID namespace mode, e.g. `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// IPC namespace mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipc: Option<String>,
    /// User namespace mode, e.g. `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userns_mode: Option<String>,
    /// UTS namespace mode, e.g. `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uts: Option<String>,
    /// Cgroup namespace mode: `host` or `private`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Parent cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
    /// Rules of the device cgroup, e.g. `c 1:3 mr`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_cgroup_rules: Vec<String>,
    /// Devices by what they can do, like GPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_requests: Vec<DeviceRequest>,
    /// Block I/O.
    #[serde(skip_serializing_if = "Blkio::is_empty")]
    pub blkio: Blkio,
    /// Annotations of the container's bundle (API 1.43 and newer).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// MAC address on the network that it is made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// Containers whose volumes are mounted too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<VolumesFrom>,
    /// Container runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// CFS period in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<i64>,
    /// CFS quota in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<i64>,
    /// Period of the real-time scheduler in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_rt_period: Option<i64>,
    /// Share of a real-time period in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_rt_runtime: Option<i64>,
    /// CPUs that may be used, e.g. `0-2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
    /// Swappiness in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_swappiness: Option<i64>,
    /// Exempt from the out-of-memory killer.
    #[serde(skip_serializing_if = "is_false")]
    pub oom_kill_disable: bool,
    /// Options of the storage driver.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub storage_opt: BTreeMap<String, String>,
    /// `os/arch[/variant]` asked of the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// File systems mounted into the container, ordered by target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Ports that the container itself publishes on the host: only the
    /// exceptions that do not belong to the gateway.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<HostPort>,
    /// Ports exposed without publishing, as `port/protocol`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub expose: BTreeSet<String>,
    /// The engine's own health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Signal that stops the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds between the stop signal and SIGKILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_grace_secs: Option<i64>,
    /// Log driver and its options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// What runs to its end before it starts; a new one is a new revision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre_start: Vec<PreStart>,
    /// OOM score adjustment asked by the class of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i64>,
    /// What the engine can change while the container runs; not part of the
    /// revision, so its digest leaves it out.
    pub live: LiveSpec,
}

impl ContainerSpec {
    /// Images that it needs beside its own: what it mounts, and what runs before it.
    pub fn other_images(&self) -> impl Iterator<Item = &String> {
        let mounted = self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Image { reference, .. } => Some(reference),
            _ => None,
        });
        let before = self.pre_start.iter();
        mounted.chain(before.filter_map(|step| step.image.as_ref()))
    }
}

impl ContainerSpec {
    /// Services whose first container lends a container of this one its volumes, its
    /// processes or its shared memory: it cannot be made before that, nor stay after it.
    pub fn lenders(&self) -> impl Iterator<Item = &str> {
        let volumes = self
            .volumes_from
            .iter()
            .filter_map(|from| match &from.source {
                VolumesSource::Service(other) => Some(other.as_str()),
                VolumesSource::Container(_) => None,
            });
        let spaces = [&self.pid, &self.ipc].into_iter().flatten();
        volumes.chain(spaces.filter_map(|mode| mode.strip_prefix(OF_SERVICE)))
    }

    /// Names the containers whose processes and shared memory it has, as the engine knows
    /// them; `find` knows the first one of a service.
    pub fn share(&mut self, find: impl Fn(&str) -> Option<String>) {
        for mode in [&mut self.pid, &mut self.ipc].into_iter().flatten() {
            if let Some(name) = mode.strip_prefix(OF_SERVICE).and_then(&find) {
                *mode = format!("container:{name}");
            }
        }
    }
}

/// Before the name of a service in a mode of `pid` and `ipc`.
const OF_SERVICE: &str = "service:";

/// What the engine can change on a running container.
///
/// `None` means "not limited by us". Units: CPU shares are relative weights,
/// `nano_cpus` is 10⁻⁹ cores, memory is bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LiveSpec {
    /// Relative CPU weight, 2 to 262144.
    pub cpu_shares: Option<i64>,
    /// CPU quota in 10⁻⁹ cores.
    pub nano_cpus: Option<i64>,
    /// Hard memory limit in bytes.
    pub memory: Option<i64>,
    /// Memory and swap together in bytes, -1 without a limit. `None`: as much as
    /// [`memory`](Self::memory), so nothing is swapped out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<i64>,
    /// Soft memory limit in bytes.
    pub memory_reservation: Option<i64>,
    /// Maximum number of processes.
    pub pids: Option<i64>,
    /// Restart policy.
    pub restart: Restart,
}

impl LiveSpec {
    /// Memory and swap together, as the engine is told.
    pub fn swap(&self) -> Option<i64> {
        self.memory_swap.or(self.memory)
    }
}

/// Restart policy of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never restarted by the engine.
    #[default]
    No,
    /// Always, also after the engine restarts.
    Always,
    /// Always, unless it was stopped on purpose.
    UnlessStopped,
    /// On a non-zero exit, at most so many times (0: without end).
    OnFailure(u32),
}

/// How a container is networked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// Attached to networks of the stack: network key (as in the file) to endpoint.
    Networks(BTreeMap<String, Endpoint>),
    /// The host's network.
    Host,
    /// No network.
    None,
    /// The network of a container of another service.
    Service(String),
    /// The network of a container outside the stack.
    Container(String),
    /// Passed on to the engine as written, e.g. `bridge`.
    Other(String),
}

impl Default for NetworkMode {
    fn default() -> Self {
        Self::Networks(BTreeMap::new())
    }
}

/// One attachment to a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Names under which the container is found (the service's name and the
    /// user's aliases; the unique alias of the instance is added at creation).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Fixed IPv4 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    /// Fixed IPv6 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
    /// Link-local addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<String>,
    /// Fixed MAC address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// Options of the network's driver.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: BTreeMap<String, String>,
    /// Name of the interface in the container (API 1.49 and newer).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Order of joining, highest first.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i64,
    /// The highest one gives the default route (API 1.48 and newer).
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway_priority: i64,
}

impl NetworkMode {
    /// The networks in the order in which a container joins them: by priority, then
    /// by key. It is made with the first.
    pub fn in_order(&self) -> Vec<(&String, &Endpoint)> {
        let Self::Networks(networks) = self else {
            return Vec::new();
        };
        let mut all: Vec<_> = networks.iter().collect();
        all.sort_by_key(|(_, endpoint)| std::cmp::Reverse(endpoint.priority));
        all
    }
}

/// A container whose volumes are mounted too, all of them where they are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Whose.
    pub source: VolumesSource,
    /// Mounted read-only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// Whose volumes are mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumesSource {
    /// Those of the first container of another service.
    Service(String),
    /// Those of a container outside the stack.
    Container(String),
}

/// A file system mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it appears in the container.
    pub target: String,
    /// What is mounted.
    pub source: MountSource,
    /// Mounted read-only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountSource {
    /// A path of the host.
    Bind {
        /// Absolute path on the engine's host.
        path: String,
        /// Created when missing (short syntax).
        create: bool,
        /// Propagation, e.g. `rslave`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        propagation: Option<String>,
        /// `SELinux` label: `z` for all containers, `Z` for this one alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        selinux: Option<String>,
        /// What becomes of mounts below: `disabled`, `writable` or `readonly`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recursive: Option<String>,
    },
    /// A named volume of the stack, by its key in the file.
    Volume {
        /// Key under the top-level `volumes`.
        key: String,
        /// Do not copy the image's content into an empty volume.
        #[serde(default, skip_serializing_if = "is_false")]
        nocopy: bool,
        /// Only this folder of it (API 1.45 and newer).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<String>,
    },
    /// The content of an image (API 1.48 and newer).
    Image {
        /// Its reference; it has to be on the engine.
        reference: String,
        /// Only this folder of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<String>,
    },
    /// An anonymous volume.
    Anonymous,
    /// Memory.
    Tmpfs {
        /// Size limit in bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<i64>,
        /// File mode of the root directory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
        /// Raw options of the short syntax, e.g. `noexec,size=64m`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        options: Option<String>,
    },
    /// Files that are seeded before the first start: secrets and configs,
    /// kept in a volume named by the digest of their content.
    Files {
        /// Name of the seeded set, unique in the stack and free of secrets.
        set: String,
        /// Path of the one file inside the set, when a single file is mounted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
}

/// A port that the container itself publishes on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// Address of the host; empty for all.
    pub host_ip: String,
    /// Port of the host; `None` lets the engine choose.
    pub host_port: Option<u16>,
    /// Port inside the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// The engine's health check; durations in nanoseconds as the engine has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`; empty inherits the image's.
    pub test: Vec<String>,
    /// Time between checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ns: Option<i64>,
    /// Time one check may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ns: Option<i64>,
    /// Time in which failures do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period_ns: Option<i64>,
    /// Time between checks in the start period (API 1.44 and newer).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_interval_ns: Option<i64>,
    /// Consecutive failures that make the container unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<i64>,
}

/// Log driver and its options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// Driver name.
    pub driver: Option<String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
}

/// A network of the stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSpec {
    /// Name on the engine.
    pub name: String,
    /// Must exist; never created or removed by us.
    pub external: bool,
    /// Driver; the engine's default when absent.
    pub driver: Option<String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// No route to the outside.
    pub internal: bool,
    /// Containers outside the stack may attach by hand.
    pub attachable: bool,
    /// IPv4 enabled (API 1.48 and newer).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<bool>,
    /// IPv6 enabled.
    pub ipv6: Option<bool>,
    /// Subnets as (subnet, gateway, ip range).
    pub subnets: Vec<(Option<String>, Option<String>, Option<String>)>,
    /// Addresses that no container gets, by subnet and name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reserved: BTreeMap<String, BTreeMap<String, String>>,
    /// Driver of the address management; the engine's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipam_driver: Option<String>,
    /// Its options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ipam_options: BTreeMap<String, String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
}

/// A named volume of the stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSpec {
    /// Name on the engine.
    pub name: String,
    /// Must exist; never created or removed by us.
    pub external: bool,
    /// Driver; the engine's default when absent.
    pub driver: Option<String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
