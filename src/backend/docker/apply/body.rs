//! The body of a create call: a pure function of the instance, pinned by golden
//! files, because it is what the user's container turns out to be.

use std::collections::BTreeMap;
use std::collections::HashMap;

use bollard::models::ContainerCreateBody;
use bollard::models::DeviceMapping;
use bollard::models::DeviceRequest;
use bollard::models::HealthConfig;
use bollard::models::HostConfig;
use bollard::models::HostConfigLogConfig;
use bollard::models::MountBindOptions;
use bollard::models::MountBindOptionsPropagationEnum as Propagation;
use bollard::models::MountImageOptions;
use bollard::models::MountTmpfsOptions;
use bollard::models::MountType;
use bollard::models::MountVolumeOptions;
use bollard::models::PortBinding;
use bollard::models::PortMap;
use bollard::models::ResourcesBlkioWeightDevice;
use bollard::models::ResourcesUlimits;
use bollard::models::RestartPolicy;
use bollard::models::RestartPolicyNameEnum;
use bollard::models::ThrottleDevice;

use super::endpoints;
use crate::plan::action::InstanceSpec;
use crate::state::devices;
use crate::state::names;
use crate::state::since;
use crate::state::spec::ContainerSpec;
use crate::state::spec::Healthcheck;
use crate::state::spec::HostPort;
use crate::state::spec::LiveSpec;
use crate::state::spec::Mount;
use crate::state::spec::MountSource;
use crate::state::spec::Restart;

/// First API in which a bind can make its path on the host and be told more beside that.
const CREATE_MOUNTPOINT_SINCE: u32 = 42;
/// Where a file set stands whole when only one of its files is mounted and the
/// engine knows no subpaths: the mount keeps the volume in use.
const WHOLE_SETS: &str = "/run/.shopctl-files";

/// What the body needs to know besides the instance.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// Run that creates it.
    pub(super) run: String,
    /// Minor number of the API version.
    pub(super) minor: u32,
    /// Where the volumes of single mounted files stand on the engine's host, by
    /// volume name; only needed before API 1.45.
    pub(super) mountpoints: BTreeMap<String, String>,
}

impl Surroundings {
    /// Volumes whose place on the host is needed.
    pub(super) fn wanted_mountpoints(minor: u32, instance: &InstanceSpec) -> Vec<&str> {
        if minor >= since::SUBPATH {
            return Vec::new();
        }
        instance
            .spec
            .mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                MountSource::Files { set, file: Some(_) } => {
                    instance.files.get(set).map(String::as_str)
                }
                _ => None,
            })
            .collect()
    }
}

/// The body that creates an instance, attached to its first network; the others
/// are connected before the start, since API 1.41 takes one only.
pub(super) fn create_body(instance: &InstanceSpec, around: &Surroundings) -> ContainerCreateBody {
    let spec = &instance.spec;
    let mut labels: HashMap<String, String> = spec.labels.clone().into_iter().collect();
    labels.extend(instance.labels.clone());
    labels.insert(names::RUN.to_owned(), around.run.clone());
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: spec.command.clone(),
        entrypoint: spec.entrypoint.clone(),
        env: filled(environment(spec)),
        working_dir: spec.working_dir.clone(),
        user: spec.user.clone(),
        labels: Some(labels),
        hostname: spec.hostname.clone(),
        domainname: spec.domainname.clone(),
        tty: spec.tty.then_some(true),
        open_stdin: spec.stdin_open.then_some(true),
        // Its input ends with that of whoever runs it.
        stdin_once: (is_run(instance) && spec.stdin_open).then_some(true),
        exposed_ports: filled(exposed(spec)),
        healthcheck: spec
            .healthcheck
            .as_ref()
            .map(|check| health_config(check, around.minor)),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: spec.stop_grace_secs,
        networking_config: endpoints::first(instance, around.minor),
        host_config: Some(host_config(instance, around)),
        ..ContainerCreateBody::default()
    }
}

/// Whether a user runs it for one command.
fn is_run(instance: &InstanceSpec) -> bool {
    instance
        .labels
        .get(names::ROLE)
        .is_some_and(|role| role == "run")
}

/// A variable without a value removes the image's.
fn environment(spec: &ContainerSpec) -> Vec<String> {
    spec.environment
        .iter()
        .map(|(name, value)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        })
        .collect()
}

fn exposed(spec: &ContainerSpec) -> Vec<String> {
    let mut ports = spec.expose.clone();
    ports.extend(spec.ports.iter().map(inside));
    ports.into_iter().collect()
}

fn inside(port: &HostPort) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

fn health_config(check: &Healthcheck, minor: u32) -> HealthConfig {
    HealthConfig {
        test: filled(check.test.clone()),
        interval: check.interval_ns,
        timeout: check.timeout_ns,
        retries: check.retries,
        start_period: check.start_period_ns,
        start_interval: check
            .start_interval_ns
            .filter(|_| minor >= since::START_INTERVAL),
    }
}

fn host_config(instance: &InstanceSpec, around: &Surroundings) -> HostConfig {
    let spec = &instance.spec;
    let LiveSpec {
        cpu_shares,
        nano_cpus,
        memory,
        memory_swap: _,
        memory_reservation,
        pids,
        restart,
    } = &spec.live;
    let mounts = Mounts::of(instance, around);
    HostConfig {
        cpu_shares: *cpu_shares,
        nano_cpus: *nano_cpus,
        memory: *memory,
        memory_swap: spec.live.swap(),
        memory_reservation: *memory_reservation,
        pids_limit: *pids,
        restart_policy: Some(restart_policy(restart)),
        auto_remove: is_run(instance).then_some(true),
        network_mode: Some(endpoints::mode(instance)),
        port_bindings: bindings(&spec.ports),
        binds: filled(mounts.binds),
        mounts: filled(mounts.typed),
        tmpfs: (!mounts.tmpfs.is_empty()).then_some(mounts.tmpfs),
        init: spec.init,
        readonly_rootfs: spec.read_only.then_some(true),
        privileged: spec.privileged.then_some(true),
        cap_add: filled(spec.cap_add.clone()),
        cap_drop: filled(spec.cap_drop.clone()),
        security_opt: filled(spec.security_opt.clone()),
        group_add: filled(spec.group_add.clone()),
        devices: filled(spec.devices.iter().map(|text| device(text)).collect()),
        shm_size: spec.shm_size,
        ulimits: filled(ulimits(spec)),
        sysctls: map(&spec.sysctls),
        extra_hosts: filled(spec.extra_hosts.clone()),
        dns: filled(spec.dns.clone()),
        dns_search: filled(spec.dns_search.clone()),
        dns_options: filled(spec.dns_opt.clone()),
        pid_mode: spec.pid.clone(),
        ipc_mode: spec.ipc.clone(),
        oom_score_adj: spec.oom_score_adj,
        userns_mode: spec.userns_mode.clone(),
        uts_mode: spec.uts.clone(),
        cgroupns_mode: spec.cgroup.as_deref().and_then(|mode| mode.parse().ok()),
        cgroup_parent: spec.cgroup_parent.clone(),
        device_cgroup_rules: filled(spec.device_cgroup_rules.clone()),
        device_requests: filled(spec.device_requests.iter().map(device_request).collect()),
        blkio_weight: spec.blkio.weight,
        blkio_weight_device: filled(spec.blkio.weight_device.iter().map(weight).collect()),
        blkio_device_read_bps: rates(&spec.blkio.read_bps),
        blkio_device_write_bps: rates(&spec.blkio.write_bps),
        blkio_device_read_iops: rates(&spec.blkio.read_iops),
        blkio_device_write_iops: rates(&spec.blkio.write_iops),
        annotations: map(&spec.annotations).filter(|_| around.minor >= since::ANNOTATIONS),
        volumes_from: filled(instance.volumes_from.clone()),
        runtime: spec.runtime.clone(),
        cpu_period: spec.cpu_period,
        cpu_quota: spec.cpu_quota,
        cpu_realtime_period: spec.cpu_rt_period,
        cpu_realtime_runtime: spec.cpu_rt_runtime,
        cpuset_cpus: spec.cpuset.clone(),
        memory_swappiness: spec.mem_swappiness,
        oom_kill_disable: spec.oom_kill_disable.then_some(true),
        storage_opt: map(&spec.storage_opt),
        log_config: spec.logging.as_ref().map(|logging| HostConfigLogConfig {
            typ: Some(logging.driver.clone().unwrap_or_default()),
            config: map(&logging.options),
        }),
        ..HostConfig::default()
    }
}

fn device_request(request: &devices::DeviceRequest) -> DeviceRequest {
    DeviceRequest {
        driver: request.driver.clone(),
        count: request.count,
        device_ids: filled(request.ids.clone()),
        capabilities: Some(vec![request.capabilities.clone()]),
        options: map(&request.options),
    }
}

fn weight((path, weight): &(String, u16)) -> ResourcesBlkioWeightDevice {
    ResourcesBlkioWeightDevice {
        path: Some(path.clone()),
        weight: Some(usize::from(*weight)),
    }
}

fn rates(rates: &[(String, i64)]) -> Option<Vec<ThrottleDevice>> {
    let rate = |(path, rate): &(String, i64)| ThrottleDevice {
        path: Some(path.clone()),
        rate: Some(*rate),
    };
    filled(rates.iter().map(rate).collect())
}

/// A restart policy as the engine writes it.
pub(super) fn restart_policy(restart: &Restart) -> RestartPolicy {
    let (name, times) = match restart {
        Restart::No => (RestartPolicyNameEnum::NO, None),
        Restart::Always => (RestartPolicyNameEnum::ALWAYS, None),
        Restart::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        Restart::OnFailure(times) => (RestartPolicyNameEnum::ON_FAILURE, Some(i64::from(*times))),
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: times,
    }
}

fn bindings(ports: &[HostPort]) -> Option<PortMap> {
    let mut map = PortMap::new();
    for port in ports {
        map.entry(inside(port))
            .or_default()
            .get_or_insert_default()
            .push(binding(&port.host_ip, port.host_port));
    }
    (!map.is_empty()).then_some(map)
}

/// One published port; without a number the engine chooses.
pub(super) fn binding(ip: &str, port: Option<u16>) -> PortBinding {
    PortBinding {
        host_ip: (!ip.is_empty()).then(|| ip.to_owned()),
        host_port: Some(port.map(|port| port.to_string()).unwrap_or_default()),
    }
}

fn device(text: &str) -> DeviceMapping {
    let mut parts = text.splitn(3, ':').map(ToOwned::to_owned);
    let host = parts.next().unwrap_or_default();
    let inside = parts.next().unwrap_or_else(|| host.clone());
    DeviceMapping {
        path_on_host: Some(host),
        path_in_container: Some(inside),
        cgroup_permissions: Some(parts.next().unwrap_or_else(|| "rwm".to_owned())),
    }
}

fn ulimits(spec: &ContainerSpec) -> Vec<ResourcesUlimits> {
    spec.ulimits
        .iter()
        .map(|(name, (soft, hard))| ResourcesUlimits {
            name: Some(name.clone()),
            soft: Some(*soft),
            hard: Some(*hard),
        })
        .collect()
}

/// Mounts in the three forms that the engine has for them.
#[derive(Default)]
struct Mounts {
    binds: Vec<String>,
    typed: Vec<bollard::models::Mount>,
    tmpfs: HashMap<String, String>,
}

impl Mounts {
    fn of(instance: &InstanceSpec, around: &Surroundings) -> Self {
        let mut all = Self::default();
        for mount in &instance.spec.mounts {
            all.add(instance, around, mount);
        }
        all
    }

    fn add(&mut self, instance: &InstanceSpec, around: &Surroundings, mount: &Mount) {
        match &mount.source {
            MountSource::Bind { .. } => self.bind(around.minor, mount),
            MountSource::Volume {
                key,
                nocopy,
                subpath,
            } => self.typed.push(bollard::models::Mount {
                source: Some(instance.volumes.get(key).unwrap_or(key).clone()),
                volume_options: (*nocopy || subpath.is_some()).then(|| MountVolumeOptions {
                    no_copy: nocopy.then_some(true),
                    subpath: subpath.clone(),
                    ..MountVolumeOptions::default()
                }),
                ..of_type(MountType::VOLUME, mount)
            }),
            MountSource::Image { reference, subpath } => self.typed.push(bollard::models::Mount {
                source: Some(reference.clone()),
                image_options: subpath.as_ref().map(|subpath| MountImageOptions {
                    subpath: Some(subpath.clone()),
                }),
                ..of_type(MountType::IMAGE, mount)
            }),
            MountSource::Anonymous => self.typed.push(of_type(MountType::VOLUME, mount)),
            MountSource::Tmpfs {
                options: Some(options),
                ..
            } => {
                self.tmpfs.insert(mount.target.clone(), options.clone());
            }
            MountSource::Tmpfs { size, mode, .. } => self.typed.push(bollard::models::Mount {
                tmpfs_options: Some(MountTmpfsOptions {
                    size_bytes: *size,
                    mode: mode.map(i64::from),
                    options: None,
                }),
                ..of_type(MountType::TMPFS, mount)
            }),
            MountSource::Files { set, file } => {
                let volume = instance.files.get(set).unwrap_or(set);
                self.files(around, mount, set, volume, file.as_deref());
            }
        }
    }

    /// A path of the host. The old form alone makes it there and knows `SELinux`, the
    /// typed one alone knows what becomes of mounts below.
    fn bind(&mut self, minor: u32, mount: &Mount) {
        let MountSource::Bind {
            path,
            create,
            propagation,
            selinux,
            recursive,
        } = &mount.source
        else {
            return;
        };
        if recursive.is_none() && (*create || selinux.is_some()) {
            let words = propagation.iter().chain(selinux);
            let text = bind(path, &mount.target, mount.read_only, words);
            self.binds.push(text);
            return;
        }
        let is = |how: &str| (recursive.as_deref() == Some(how)).then_some(true);
        let knows = |since: u32| minor >= since;
        let options = MountBindOptions {
            propagation: propagation.as_deref().and_then(self::propagation),
            non_recursive: is("disabled"),
            create_mountpoint: create
                .then_some(true)
                .filter(|_| knows(CREATE_MOUNTPOINT_SINCE)),
            read_only_non_recursive: is("writable").filter(|_| knows(since::RECURSIVE_READ_ONLY)),
            read_only_force_recursive: is("readonly").filter(|_| knows(since::RECURSIVE_READ_ONLY)),
        };
        self.typed.push(bollard::models::Mount {
            source: Some(path.clone()),
            bind_options: (options != MountBindOptions::default()).then_some(options),
            ..of_type(MountType::BIND, mount)
        });
    }

    /// A file set, or one file of it.
    fn files(
        &mut self,
        around: &Surroundings,
        mount: &Mount,
        set: &str,
        volume: &str,
        file: Option<&str>,
    ) {
        let mut options = MountVolumeOptions {
            no_copy: Some(true),
            ..MountVolumeOptions::default()
        };
        let mut target = mount.target.clone();
        match (file, around.mountpoints.get(volume)) {
            (Some(file), Some(place)) if around.minor < since::SUBPATH => {
                self.binds
                    .push(bind(&format!("{place}/{file}"), &mount.target, true, None));
                target = format!("{WHOLE_SETS}/{set}");
                if self
                    .typed
                    .iter()
                    .any(|one| one.target.as_deref() == Some(target.as_str()))
                {
                    return;
                }
            }
            (Some(file), _) => options.subpath = Some(file.to_owned()),
            (None, _) => {}
        }
        self.typed.push(bollard::models::Mount {
            target: Some(target),
            source: Some(volume.to_owned()),
            read_only: Some(true),
            volume_options: Some(options),
            ..of_type(MountType::VOLUME, mount)
        });
    }
}

fn of_type(kind: MountType, mount: &Mount) -> bollard::models::Mount {
    bollard::models::Mount {
        target: Some(mount.target.clone()),
        typ: Some(kind),
        read_only: mount.read_only.then_some(true),
        ..bollard::models::Mount::default()
    }
}

fn bind<'o>(
    source: &str,
    target: &str,
    read_only: bool,
    words: impl IntoIterator<Item = &'o String>,
) -> String {
    let mut options: Vec<&str> = Vec::new();
    if read_only {
        options.push("ro");
    }
    options.extend(words.into_iter().map(String::as_str));
    if options.is_empty() {
        format!("{source}:{target}")
    } else {
        format!("{source}:{target}:{}", options.join(","))
    }
}

fn propagation(text: &str) -> Option<Propagation> {
    match text {
        "private" => Some(Propagation::PRIVATE),
        "rprivate" => Some(Propagation::RPRIVATE),
        "shared" => Some(Propagation::SHARED),
        "rshared" => Some(Propagation::RSHARED),
        "slave" => Some(Propagation::SLAVE),
        "rslave" => Some(Propagation::RSLAVE),
        _ => None,
    }
}

/// Empty lists are left out, so that the image's own stay.
fn filled<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn map(entries: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!entries.is_empty()).then(|| entries.clone().into_iter().collect())
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
