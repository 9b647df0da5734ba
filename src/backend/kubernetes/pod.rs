//! A replica as a pod: one container, as strict as its file lets it be.

use k8s_openapi::api::core::v1::Capabilities;
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::api::core::v1::ContainerPort;
use k8s_openapi::api::core::v1::EnvVar;
use k8s_openapi::api::core::v1::ExecAction;
use k8s_openapi::api::core::v1::HostAlias;
use k8s_openapi::api::core::v1::Lifecycle;
use k8s_openapi::api::core::v1::LifecycleHandler;
use k8s_openapi::api::core::v1::PodDNSConfig;
use k8s_openapi::api::core::v1::PodDNSConfigOption;
use k8s_openapi::api::core::v1::PodSecurityContext;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::api::core::v1::SeccompProfile;
use k8s_openapi::api::core::v1::SecurityContext;
use k8s_openapi::api::core::v1::SleepAction;
use k8s_openapi::api::core::v1::Sysctl;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Making;
use super::mesh;
use super::mounts::Mounted;
use super::names;
use super::names::dns;
use super::probe;
use super::scaling;
use super::support::Finding;
use super::traffic;
use crate::capacity::demand;
use crate::state::desired::ImageSource;
use crate::state::desired::ServiceSpec;
use crate::state::digest;
use crate::state::hooks::Inside;
use crate::state::hooks::PreStart;
use crate::state::spec::ContainerSpec;
use crate::state::spec::NetworkMode;

/// A replica that is told to end may get requests for a moment: those who send them hear
/// of it no sooner.
const LINGER_SECONDS: i64 = 5;
/// How long a replica may take to end, where the file does not say: the engine's default.
const GRACE_SECONDS: i64 = 10;
const MIB: i64 = 1 << 20;

/// Whether the strictest standard of pods has nothing against it.
pub(super) fn is_restricted(service: &ServiceSpec) -> bool {
    let spec = &service.container;
    let bound: Vec<&String> = spec
        .cap_add
        .iter()
        .filter(|one| one.trim_start_matches("CAP_") != "NET_BIND_SERVICE")
        .collect();
    !spec.privileged
        && bound.is_empty()
        && spec.network != NetworkMode::Host
        && spec.pid.is_none()
        && spec.ipc.as_deref() != Some("host")
        && !is_root(spec)
        && spec.sysctls.is_empty()
}

/// Whether the file itself asks for root. What an image asks for, the node finds out.
fn is_root(spec: &ContainerSpec) -> bool {
    let user = spec.user.as_deref().unwrap_or("1");
    let user = user.split(':').next().unwrap_or(user);
    user == "root" || user == "0"
}

impl Making<'_> {
    /// The pods of a service.
    pub(super) fn pods(&mut self, service: &ServiceSpec) -> PodTemplateSpec {
        let spec = &service.container;
        let mounted = self.mounted(service);
        let lifecycle = self.lifecycle(service);
        let lingers = lifecycle
            .as_ref()
            .and_then(|one| one.pre_stop.as_ref()?.sleep.as_ref())
            .map_or(0, |sleep| sleep.seconds);
        let grace = spec.stop_grace_secs.unwrap_or(GRACE_SECONDS) + lingers;
        let container = self.container(service, &mounted, lifecycle);
        let mut annotations = spec.annotations.clone();
        let mut labels = names::of_pod(self.desired, service);
        mesh::mark(service, &mut labels, &mut annotations);
        let mut pod = PodSpec {
            init_containers: some(first(service, &container)),
            containers: vec![container],
            volumes: Some(mounted.volumes).filter(|all| !all.is_empty()),
            // No token: nothing of a shop talks to the cluster.
            automount_service_account_token: Some(false),
            // Variables that name other services would shadow those of the file.
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(grace),
            host_network: (spec.network == NetworkMode::Host).then_some(true),
            host_pid: (spec.pid.as_deref() == Some("host")).then_some(true),
            host_ipc: (spec.ipc.as_deref() == Some("host")).then_some(true),
            hostname: spec.hostname.as_deref().map(dns),
            host_aliases: self.aliases(service),
            dns_config: resolver(spec),
            node_selector: platform(spec),
            runtime_class_name: spec.runtime.clone(),
            security_context: Some(self.pod_security(service, mounted.group)),
            // Whatever the count: it may change without this template. A job is done once.
            topology_spread_constraints: (!service.one_off || service.replicas > 1)
                .then(|| vec![scaling::spread(self.desired, service)]),
            ..PodSpec::default()
        };
        self.unnamed(service, &mut pod);
        let revision = digest::of(&self.unpinned(&pod));
        annotations.insert(names::REVISION.to_owned(), revision[..12].to_owned());
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(labels),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            }),
            spec: Some(pod),
        }
    }

    fn container(
        &mut self,
        service: &ServiceSpec,
        mounted: &Mounted,
        lifecycle: Option<Lifecycle>,
    ) -> Container {
        let spec = &service.container;
        let probes = probe::of(service);
        let variables = spec.environment.iter().filter_map(variable);
        let variables: Vec<EnvVar> = variables.collect();
        let ports: Vec<ContainerPort> = traffic::ports(self.desired, service)
            .into_iter()
            .map(|(port, protocol)| ContainerPort {
                container_port: port.into(),
                // Part of the key by which ports are merged.
                protocol: Some(protocol),
                ..ContainerPort::default()
            })
            .collect();
        Container {
            name: dns(&service.name),
            image: Some(self.image(service)),
            command: spec.entrypoint.as_deref().map(literals),
            args: spec.command.as_deref().map(literals),
            env: some(variables),
            ports: some(ports),
            working_dir: spec.working_dir.clone(),
            stdin: spec.stdin_open.then_some(true),
            tty: spec.tty.then_some(true),
            resources: Some(resources(service)),
            readiness_probe: probes.readiness,
            startup_probe: probes.startup,
            liveness_probe: probes.liveness,
            lifecycle,
            volume_mounts: some(mounted.mounts.clone()),
            security_context: Some(security(service)),
            ..Container::default()
        }
    }

    /// The image as the nodes can get it.
    fn image(&mut self, service: &ServiceSpec) -> String {
        let tag = match &service.image {
            ImageSource::Build { tag: Some(tag) } => tag,
            ImageSource::Build { tag: None } | ImageSource::Unset => {
                let text = "its image has no name yet: run `shopctl build` first";
                // A deploy prepares and builds it first.
                self.findings.push(Finding {
                    elsewhere: true,
                    ..Finding::refused(&service.name, "build", text)
                });
                return format!("{}:unknown", dns(&service.name));
            }
            ImageSource::Pull { reference, .. } => return reference.clone(),
        };
        let registry = match self.how.registry.as_str() {
            "" => self.desired.registry.as_str(),
            asked => asked,
        };
        let registry = registry.trim_end_matches('/');
        if registry.is_empty() {
            let text = format!(
                "{tag} is on this engine alone: name a registry with x-shop.registry or SHOPCTL_REGISTRY"
            );
            self.findings
                .push(Finding::note(&service.name, "build", text));
            return tag.clone();
        }
        match self.how.digests.get(tag) {
            Some(digest) => format!("{registry}/{tag}@{digest}"),
            None => format!("{registry}/{tag}"),
        }
    }

    /// A pod by the names of its images alone, which tell their content already: their
    /// digests are not known before they were pushed.
    pub(super) fn unpinned(&self, pod: &PodSpec) -> PodSpec {
        let mut pod = pod.clone();
        let first = pod.init_containers.iter_mut().flatten();
        for container in first.chain(&mut pod.containers) {
            if let Some(image) = &mut container.image
                && let Some((name, digest)) = image.split_once('@')
                && self.how.digests.values().any(|known| known == digest)
            {
                *image = name.to_owned();
            }
        }
        pod
    }

    fn pod_security(&self, service: &ServiceSpec, files: Option<i64>) -> PodSecurityContext {
        let spec = &service.container;
        let mut ids = spec.user.as_deref().unwrap_or_default().split(':');
        let mut id = || ids.next().and_then(|id| id.parse().ok());
        let (user, group): (Option<i64>, Option<i64>) = (id(), id());
        let named = self.desired.volumes.keys().next().is_some();
        let groups = spec.group_add.iter().filter_map(|group| group.parse().ok());
        PodSecurityContext {
            // Where the file asks for more than the standard, the image may need root.
            run_as_non_root: is_restricted(service).then_some(true),
            run_as_user: user,
            run_as_group: group,
            // New volumes belong to root, and so do files of the pod.
            fs_group: files.or_else(|| user.filter(|user| named && *user > 0).and(group.or(user))),
            supplemental_groups: some(groups.collect()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            sysctls: some(
                spec.sysctls
                    .iter()
                    .map(|(name, value)| Sysctl {
                        name: name.clone(),
                        value: value.clone(),
                    })
                    .collect(),
            ),
            ..PodSecurityContext::default()
        }
    }

    /// One command after the start and one before the stop; without one, a replica that
    /// gets requests lingers.
    fn lifecycle(&mut self, service: &ServiceSpec) -> Option<Lifecycle> {
        let post_start = self.command(service, "post_start", &service.lifecycle.post_start);
        let pre_stop = self.command(service, "pre_stop", &service.lifecycle.pre_stop);
        let serves = !traffic::ports(self.desired, service).is_empty() && !service.one_off;
        let pre_stop = pre_stop.or_else(|| {
            serves.then(|| LifecycleHandler {
                sleep: Some(SleepAction {
                    seconds: LINGER_SECONDS,
                }),
                ..LifecycleHandler::default()
            })
        });
        (post_start.is_some() || pre_stop.is_some()).then(|| Lifecycle {
            post_start,
            pre_stop,
            ..Lifecycle::default()
        })
    }

    fn command(
        &mut self,
        service: &ServiceSpec,
        key: &'static str,
        commands: &[Inside],
    ) -> Option<LifecycleHandler> {
        let (first, more) = commands.split_first()?;
        let own = first.user.is_some()
            || first.privileged
            || first.working_dir.is_some()
            || !first.environment.is_empty();
        if !more.is_empty() || own {
            let text = "a pod takes one command there, which runs as its container does: put the others in a script";
            self.findings
                .push(Finding::refused(&service.name, key, text));
        }
        Some(LifecycleHandler {
            exec: Some(ExecAction {
                command: Some(first.command.clone()),
            }),
            ..LifecycleHandler::default()
        })
    }

    fn aliases(&mut self, service: &ServiceSpec) -> Option<Vec<HostAlias>> {
        let mut aliases: Vec<HostAlias> = Vec::new();
        for line in &service.container.extra_hosts {
            let Some((name, ip)) = line.split_once(':') else {
                continue;
            };
            if ip.parse::<std::net::IpAddr>().is_err() {
                let text = format!(
                    "{name} is to be {ip}, which is no address of a cluster; it is left out"
                );
                self.findings
                    .push(Finding::note(&service.name, "extra_hosts", text));
                continue;
            }
            aliases.push(HostAlias {
                ip: ip.to_owned(),
                hostnames: Some(vec![name.to_owned()]),
            });
        }
        some(aliases)
    }
}

/// Commands that run before each pod: the service's container with other words.
fn first(service: &ServiceSpec, container: &Container) -> Vec<Container> {
    let one = |(number, before): (usize, &PreStart)| {
        let mut first = Container {
            name: format!("pre-start-{number}"),
            readiness_probe: None,
            startup_probe: None,
            liveness_probe: None,
            lifecycle: None,
            ports: None,
            ..container.clone()
        };
        // Its image's entrypoint takes part, as with a service.
        first.command = None;
        first.image = before.image.clone().or(first.image);
        if let Some(security) = &mut first.security_context {
            let mut ids = before.user.as_deref().unwrap_or_default().split(':');
            let mut id = || ids.next().and_then(|id| id.parse().ok());
            (security.run_as_user, security.run_as_group) = (id(), id());
        }
        first.args = before.command.as_deref().map(literals).or(first.args);
        first.working_dir = before.working_dir.clone().or(first.working_dir);
        let own = before.environment.iter().filter_map(variable);
        let mut variables = first.env.take().unwrap_or_default();
        variables.retain(|known| !before.environment.contains_key(&known.name));
        variables.extend(own);
        first.env = some(variables);
        first
    };
    (1..).zip(&service.container.pre_start).map(one).collect()
}

/// A text as it stands: a cluster puts variables in place of `$(NAME)`, and `$` for `$$`.
pub(super) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn literals(words: &[String]) -> Vec<String> {
    words.iter().map(|word| literal(word)).collect()
}

fn variable((name, value): (&String, &Option<String>)) -> Option<EnvVar> {
    Some(EnvVar {
        name: name.clone(),
        value: Some(literal(value.as_ref()?)),
        ..EnvVar::default()
    })
}

/// What a replica asks for is what it is counted with; what it is limited to, the file says.
fn resources(service: &ServiceSpec) -> ResourceRequirements {
    let demand = demand::of_one(&service.demand);
    let requests = [
        ("cpu", format!("{}m", demand.cpu_milli)),
        (
            "memory",
            bytes(i64::try_from(demand.memory).unwrap_or(i64::MAX)),
        ),
    ];
    let live = &service.container.live;
    let cpu = live.nano_cpus.map(|nano| format!("{}m", nano / 1_000_000));
    let limits = [("cpu", cpu), ("memory", live.memory.map(bytes))];
    let quantity = |(name, amount): (&str, String)| (name.to_owned(), Quantity(amount));
    let limits = limits
        .into_iter()
        .filter_map(|(name, amount)| Some(quantity((name, amount?))));
    ResourceRequirements {
        requests: Some(requests.into_iter().map(quantity).collect()),
        limits: Some(limits.collect())
            .filter(|all: &std::collections::BTreeMap<_, _>| !all.is_empty()),
        ..ResourceRequirements::default()
    }
}

fn bytes(count: i64) -> String {
    if count % MIB == 0 {
        format!("{}Mi", count / MIB)
    } else {
        count.to_string()
    }
}

fn security(service: &ServiceSpec) -> SecurityContext {
    let spec = &service.container;
    let plain = |names: &[String]| {
        let names = names.iter();
        some(
            names
                .map(|name| name.trim_start_matches("CAP_").to_owned())
                .collect(),
        )
    };
    let drop = if is_restricted(service) {
        Some(vec!["ALL".to_owned()])
    } else {
        plain(&spec.cap_drop)
    };
    SecurityContext {
        privileged: spec.privileged.then_some(true),
        allow_privilege_escalation: (!spec.privileged).then_some(false),
        read_only_root_filesystem: spec.read_only.then_some(true),
        capabilities: (!spec.privileged).then(|| Capabilities {
            add: plain(&spec.cap_add),
            drop,
        }),
        ..SecurityContext::default()
    }
}

fn resolver(spec: &ContainerSpec) -> Option<PodDNSConfig> {
    if spec.dns.is_empty() && spec.dns_search.is_empty() {
        return None;
    }
    let option = |text: &String| {
        let (name, value) = text
            .split_once(':')
            .map_or((text.as_str(), None), |(name, value)| {
                (name, Some(value.to_owned()))
            });
        PodDNSConfigOption {
            name: Some(name.to_owned()),
            value,
        }
    };
    Some(PodDNSConfig {
        nameservers: some(spec.dns.clone()),
        searches: some(spec.dns_search.clone()),
        options: some(spec.dns_opt.iter().map(option).collect()),
    })
}

fn platform(spec: &ContainerSpec) -> Option<names::Labels> {
    let mut parts = spec.platform.as_deref()?.split('/');
    let labels = ["kubernetes.io/os", "kubernetes.io/arch"];
    Some(
        labels
            .into_iter()
            .filter_map(|label| Some((label.to_owned(), parts.next()?.to_owned())))
            .collect(),
    )
}

/// Nothing, where a list is empty: an object says only what there is to say.
pub(super) fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
