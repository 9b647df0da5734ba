//! One service: what each of its containers is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::Attachment;
use super::Blkio;
use super::Build;
use super::Deploy;
use super::DeployMode;
use super::Grant;
use super::Healthcheck;
use super::Mount;
use super::NetworkMode;
use super::Port;
use super::Protocol;
use super::Route;
use super::ServiceShop;
use crate::stack::Place;

/// One service of the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "as many as the specification has"
)]
pub struct Service {
    /// Its key under `services`.
    pub name: String,
    /// Where that key stands.
    #[serde(skip)]
    pub place: Place,
    /// Where single keys of the service stand: `image`, `build`, `deploy`, …
    #[serde(skip)]
    pub places: BTreeMap<String, Place>,

    /// Docker Compose's configuration hash; empty where the stack was not resolved.
    #[serde(skip)]
    pub compose_hash: String,

    /// The image to run, or the name to give to the built one.
    pub image: Option<String>,
    /// How to build the image.
    pub build: Option<Build>,
    /// When to pull the image.
    pub pull_policy: Option<PullPolicy>,
    /// `os/arch[/variant]`.
    pub platform: Option<String>,

    /// Arguments; `None` keeps the image's, an empty list clears them.
    pub command: Option<Vec<String>>,
    /// Entry point; `None` keeps the image's, an empty list clears it.
    pub entrypoint: Option<Vec<String>>,
    /// Environment with `env_file`s merged in. `None` takes the variable of
    /// the image away.
    pub environment: BTreeMap<String, Option<String>>,
    /// The environment files that were read into `environment`.
    pub env_files: Vec<PathBuf>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Supplementary groups.
    pub group_add: Vec<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Domain name.
    pub domainname: Option<String>,
    /// A name that replaces the generated one; at most one replica then.
    pub container_name: Option<String>,
    /// Run the engine's init as PID 1.
    pub init: Option<bool>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Keep stdin open.
    pub stdin_open: bool,
    /// Container labels.
    pub labels: BTreeMap<String, String>,
    /// OCI annotations.
    pub annotations: BTreeMap<String, String>,
    /// Profiles that select the service; none means always.
    pub profiles: Vec<String>,
    /// `attach: false` keeps the logs of the service out of joint output.
    pub attach: Option<bool>,

    /// Published and internal ports, short forms and ranges expanded.
    pub ports: Vec<Port>,
    /// Ports that other services may reach.
    pub expose: Vec<ExposedPorts>,
    /// Networks to join by name; empty when `network_mode` is set.
    pub networks: BTreeMap<String, Attachment>,
    /// The network namespace, where it is not one of the stack's networks.
    pub network_mode: Option<NetworkMode>,
    /// DNS servers.
    pub dns: Vec<String>,
    /// DNS search domains.
    pub dns_search: Vec<String>,
    /// DNS options.
    pub dns_opt: Vec<String>,
    /// Extra lines of the hosts file: name to addresses.
    pub extra_hosts: BTreeMap<String, Vec<String>>,
    /// MAC address on the default network.
    pub mac_address: Option<String>,

    /// Mounts, short forms resolved.
    pub volumes: Vec<Mount>,
    /// `path[:options]` of in-memory file systems.
    pub tmpfs: Vec<String>,
    /// Services or containers whose volumes are mounted too.
    pub volumes_from: Vec<String>,
    /// Configs to place in the container.
    pub configs: Vec<Grant>,
    /// Secrets to place in the container.
    pub secrets: Vec<Grant>,

    /// Services that come first, with what to wait for.
    pub depends_on: BTreeMap<String, Dependency>,
    /// The engine's health check.
    pub healthcheck: Option<Healthcheck>,
    /// Replicas, resources and rollout. `mem_limit`, `cpus`, `scale` and the
    /// like are folded into it.
    pub deploy: Deploy,
    /// The engine's restart policy.
    pub restart: Option<Restart>,
    /// The signal that asks the container to stop.
    pub stop_signal: Option<String>,
    /// How long it may take to stop before it is killed.
    pub stop_grace_period: Option<Duration>,
    /// Containers that run to their end before one of the service starts.
    pub pre_start: Vec<PreStart>,
    /// Commands to run in the container after it has started.
    pub post_start: Vec<Hook>,
    /// Commands to run in the container before it is stopped.
    pub pre_stop: Vec<Hook>,

    /// Capabilities to add.
    pub cap_add: Vec<String>,
    /// Capabilities to drop.
    pub cap_drop: Vec<String>,
    /// All capabilities and devices of the host.
    pub privileged: bool,
    /// Mount the root file system read-only.
    pub read_only: bool,
    /// Security options.
    pub security_opt: Vec<String>,
    /// User namespace mode.
    pub userns_mode: Option<String>,
    /// IPC namespace mode.
    pub ipc: Option<String>,
    /// PID namespace mode.
    pub pid: Option<String>,
    /// UTS namespace mode.
    pub uts: Option<String>,
    /// Cgroup namespace mode.
    pub cgroup: Option<String>,
    /// Parent cgroup.
    pub cgroup_parent: Option<String>,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Rules of the device cgroup.
    pub device_cgroup_rules: Vec<String>,
    /// Container runtime.
    pub runtime: Option<String>,

    /// Relative CPU weight.
    pub cpu_shares: Option<i64>,
    /// CFS period in microseconds.
    pub cpu_period: Option<i64>,
    /// CFS quota in microseconds.
    pub cpu_quota: Option<i64>,
    /// CPUs that may be used, like `0-2`.
    pub cpuset: Option<String>,
    /// Period of the real-time scheduler in microseconds.
    pub cpu_rt_period: Option<i64>,
    /// Share of a real-time period in microseconds.
    pub cpu_rt_runtime: Option<i64>,
    /// Block I/O.
    pub blkio_config: Blkio,
    /// Memory and swap together in bytes, `-1` for unlimited swap.
    pub memswap_limit: Option<i64>,
    /// Swappiness in percent.
    pub mem_swappiness: Option<i64>,
    /// Score adjustment of the out-of-memory killer.
    pub oom_score_adj: Option<i64>,
    /// Exempt from the out-of-memory killer.
    pub oom_kill_disable: bool,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// Ulimits by name.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Options of the storage driver.
    pub storage_opt: BTreeMap<String, String>,
    /// Log driver and options.
    pub logging: Option<Logging>,

    /// The service's `x-shop`, when it has one.
    pub shop: Option<ServiceShop>,
}

impl Service {
    /// How many replicas the file asks for: one, where it says nothing, and where it asks
    /// for one on each node.
    pub fn replicas(&self) -> u32 {
        match self.deploy.mode {
            DeployMode::Global | DeployMode::GlobalJob => 1,
            DeployMode::Replicated | DeployMode::ReplicatedJob => self.deploy.replicas.unwrap_or(1),
        }
    }

    /// The route of a port: its own, else the service's, when that names this
    /// target port or no port.
    pub fn route_of<'a>(&'a self, port: &'a Port) -> Option<&'a Route> {
        port.route.as_ref().or_else(|| {
            let route = self.shop.as_ref()?.route.as_ref()?;
            (port.protocol == Protocol::Tcp && route.port.is_none_or(|own| own == port.target))
                .then_some(route)
        })
    }

    /// Whether the port speaks HTTP: by `app_protocol`, a route, or the
    /// readiness check on this very port. Nothing else is taken as a hint.
    pub fn is_http(&self, port: &Port) -> bool {
        let ready = self.shop.as_ref().and_then(|shop| shop.ready.as_ref());
        port.protocol == Protocol::Tcp
            && (port.app_protocol.as_deref() == Some("http")
                || self.route_of(port).is_some()
                || ready.is_some_and(|ready| ready.is_http() && ready.port() == port.target))
    }

    /// Whether the file says that the service ends by itself.
    pub fn is_job(&self) -> bool {
        matches!(
            self.deploy.mode,
            super::DeployMode::ReplicatedJob | super::DeployMode::GlobalJob
        )
    }

    /// Whether its containers have no interface that could be set up: the host's, another
    /// container's, or none.
    pub fn has_no_network_of_its_own(&self) -> bool {
        matches!(
            self.network_mode,
            Some(
                NetworkMode::None
                    | NetworkMode::Host
                    | NetworkMode::Service(_)
                    | NetworkMode::Container(_)
            )
        )
    }

    /// Where `key` of this service stands, or else the service itself.
    pub fn place_of(&self, key: &str) -> &Place {
        self.places.get(key).unwrap_or(&self.place)
    }
}

/// A container that runs to its end before one of its service starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PreStart {
    /// Arguments; `None` leaves it to the image.
    pub command: Option<Vec<String>>,
    /// Its image; that of the service where absent.
    pub image: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// All capabilities and devices of the host.
    pub privileged: bool,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Variables beside those of the service; one without a value is unset.
    pub environment: BTreeMap<String, Option<String>>,
    /// Once for each replica, not once for all.
    pub per_replica: bool,
}

/// What to wait for before a dependent starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// The state to wait for.
    pub condition: Condition,
    /// Restart the dependent when the dependency is replaced.
    pub restart: bool,
    /// A missing or failed dependency is an error; otherwise a warning.
    pub required: bool,
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
}

/// The state of a dependency that opens the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its containers run.
    ServiceStarted,
    /// Its containers are healthy or ready.
    ServiceHealthy,
    /// Its containers ended with exit code 0.
    ServiceCompletedSuccessfully,
}

/// When to pull an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// At each deploy.
    Always,
    /// Never: it has to be there.
    Never,
    /// When it is absent; also written `if_not_present`.
    Missing,
    /// Build instead of pulling.
    Build,
    /// When the last pull is older than this: `daily`, `weekly`, `every_12h`.
    Refresh(Duration),
}

/// The engine's restart policy of `restart`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    No,
    /// Always, also after the engine has started.
    Always,
    /// After a non-zero exit, at most so often (0: without end).
    OnFailure(u32),
    /// Always, until stopped by hand.
    UnlessStopped,
}

/// A range of ports that a service exposes to its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ExposedPorts {
    /// First port.
    pub first: u16,
    /// Last port, the same as `first` for one port.
    pub last: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// A device of the host given to the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Path on the host, or a CDI device name.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Cgroup permissions, `rwm` by default.
    pub permissions: String,
}

/// One limit of `ulimits`; -1 is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ulimit {
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// Log driver and its options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Logging {
    /// Driver; the engine's default when absent.
    pub driver: Option<String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// A command that runs inside the container at a turn of its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// The command.
    pub command: Vec<String>,
    /// The user it runs as.
    pub user: Option<String>,
    /// All capabilities.
    pub privileged: bool,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Additional environment.
    pub environment: BTreeMap<String, Option<String>>,
}
