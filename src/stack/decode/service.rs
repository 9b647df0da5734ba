//! One service.

use std::path::PathBuf;

use super::Decoder;
use super::build::ulimits;
use super::entries;
use super::flag;
use super::hosts;
use super::int;
use super::is_set;
use super::list;
use super::number;
use super::pairs;
use super::places;
use super::signed_bytes;
use super::text;
use super::texts;
use super::variables;
use crate::stack::model::Attachment;
use crate::stack::model::BindOptions;
use crate::stack::model::Condition;
use crate::stack::model::Dependency;
use crate::stack::model::Device;
use crate::stack::model::ExposedPorts;
use crate::stack::model::Grant;
use crate::stack::model::HealthTest;
use crate::stack::model::Healthcheck;
use crate::stack::model::Hook;
use crate::stack::model::Logging;
use crate::stack::model::Mount;
use crate::stack::model::MountSource;
use crate::stack::model::NetworkMode;
use crate::stack::model::Port;
use crate::stack::model::PortMode;
use crate::stack::model::PreStart;
use crate::stack::model::Protocol;
use crate::stack::model::PullPolicy;
use crate::stack::model::Restart;
use crate::stack::model::SeLinux;
use crate::stack::model::Service;
use crate::stack::report::At;
use crate::stack::source::Span;
use crate::stack::units;
use crate::stack::yaml::Node;

impl Decoder<'_> {
    pub(super) fn service(&mut self, name: &str, key: Span, node: &Node, at: &At<'_>) -> Service {
        let build_key = node
            .as_map()
            .and_then(|map| map.get("build"))
            .map_or(key, |entry| entry.key);
        let deploy = self.deploy(node, at);
        Service {
            // Of the whole tree, once it is there.
            compose_hash: String::new(),
            name: name.to_owned(),
            place: self.place(key),
            places: places(self, node.as_map()),
            image: text(node, "image"),
            build: node
                .get("build")
                .filter(|build| build.as_map().is_some())
                .map(|build| self.build(build, build_key, &at.key("build"))),
            pull_policy: self.pull_policy(node, at),
            platform: text(node, "platform"),
            command: words(node, "command"),
            entrypoint: words(node, "entrypoint"),
            environment: variables(node, "environment"),
            env_files: list(node, "env_file")
                .iter()
                .filter_map(|file| text(file, "path").map(PathBuf::from))
                .collect(),
            working_dir: text(node, "working_dir"),
            user: text(node, "user"),
            group_add: texts(node, "group_add"),
            hostname: text(node, "hostname"),
            domainname: text(node, "domainname"),
            container_name: text(node, "container_name"),
            init: flag(node, "init"),
            tty: is_set(node, "tty"),
            stdin_open: is_set(node, "stdin_open"),
            labels: pairs(node, "labels"),
            annotations: pairs(node, "annotations"),
            profiles: texts(node, "profiles"),
            attach: flag(node, "attach"),
            ports: self.ports(node, at),
            expose: self.expose(node, at),
            networks: attachments(node),
            network_mode: network_mode(node),
            dns: texts(node, "dns"),
            dns_search: texts(node, "dns_search"),
            dns_opt: texts(node, "dns_opt"),
            extra_hosts: hosts(node, "extra_hosts"),
            mac_address: text(node, "mac_address"),
            volumes: self.mounts(node, at),
            tmpfs: texts(node, "tmpfs"),
            volumes_from: texts(node, "volumes_from"),
            configs: self.grants(node, "configs", "/"),
            secrets: self.grants(node, "secrets", "/run/secrets/"),
            depends_on: self.dependencies(node),
            healthcheck: self.healthcheck(node, at),
            memswap_limit: self.swap(node, deploy.resources.limits.memory, at),
            deploy,
            restart: self.restart(node, at),
            stop_signal: text(node, "stop_signal"),
            stop_grace_period: self.duration(node, "stop_grace_period", at),
            pre_start: self.pre_start(node, at),
            post_start: hooks(node, "post_start"),
            pre_stop: hooks(node, "pre_stop"),
            cap_add: texts(node, "cap_add"),
            cap_drop: texts(node, "cap_drop"),
            privileged: is_set(node, "privileged"),
            read_only: is_set(node, "read_only"),
            security_opt: texts(node, "security_opt"),
            userns_mode: text(node, "userns_mode"),
            ipc: text(node, "ipc"),
            pid: text(node, "pid"),
            uts: text(node, "uts"),
            cgroup: text(node, "cgroup"),
            cgroup_parent: text(node, "cgroup_parent"),
            devices: devices(node),
            device_cgroup_rules: texts(node, "device_cgroup_rules"),
            runtime: text(node, "runtime"),
            cpu_shares: int(node, "cpu_shares"),
            cpu_period: int(node, "cpu_period"),
            cpu_quota: int(node, "cpu_quota"),
            cpu_rt_period: int(node, "cpu_rt_period"),
            cpu_rt_runtime: int(node, "cpu_rt_runtime"),
            cpuset: text(node, "cpuset"),
            blkio_config: self.blkio(node, at),
            mem_swappiness: signed_bytes(node, "mem_swappiness"),
            oom_score_adj: int(node, "oom_score_adj"),
            oom_kill_disable: is_set(node, "oom_kill_disable"),
            shm_size: self.bytes(node, "shm_size", at),
            ulimits: ulimits(node),
            sysctls: pairs(node, "sysctls"),
            storage_opt: pairs(node, "storage_opt"),
            logging: node.get("logging").map(|logging| Logging {
                driver: text(logging, "driver"),
                options: pairs(logging, "options"),
            }),
            shop: self.service_shop(node.get("x-shop"), at),
        }
    }

    /// Memory and swap together: at least the memory, which has to be limited too. 0 says
    /// nothing.
    fn swap(&mut self, node: &Node, memory: Option<u64>, at: &At<'_>) -> Option<i64> {
        let swap = signed_bytes(node, "memswap_limit").filter(|swap| *swap != 0)?;
        let value = node.get("memswap_limit")?;
        let at = at.key("memswap_limit");
        let Ok(bytes) = u64::try_from(swap) else {
            return Some(-1);
        };
        match memory {
            Some(memory) if bytes >= memory => return Some(swap),
            Some(_) => self.unfit(
                value,
                &at,
                "as much as the memory limit: it counts memory and swap together",
                "write more than `mem_limit`, or -1",
            ),
            None => self.unfit(
                value,
                &at,
                "enough: it counts memory and swap together, and the memory has no limit",
                "add `mem_limit`",
            ),
        }
        None
    }

    fn pull_policy(&mut self, node: &Node, at: &At<'_>) -> Option<PullPolicy> {
        const DAY: u64 = 86_400;
        if let Some(after) = node.get("pull_refresh_after")
            && node.text_of("pull_policy") != Some("refresh")
        {
            let at = at.key("pull_refresh_after");
            let message = format!("{at} has no effect: only `pull_policy: refresh` asks for it");
            self.report
                .warning("no-effect", after.span, &at, message)
                .hint("write `pull_policy: refresh`, or every_12h in its place");
        }
        let value = node.get("pull_policy")?;
        let policy = value.as_text().filter(|policy| !policy.is_empty())?;
        let days = |days: u64| PullPolicy::Refresh(std::time::Duration::from_secs(days * DAY));
        let found = match policy {
            "always" => Some(PullPolicy::Always),
            "never" => Some(PullPolicy::Never),
            "missing" | "if_not_present" => Some(PullPolicy::Missing),
            "build" => Some(PullPolicy::Build),
            "refresh" => Some(self.refresh_after(node, at).unwrap_or(days(1))),
            "daily" => Some(days(1)),
            "weekly" => Some(days(7)),
            other => other
                .strip_prefix("every_")
                .and_then(units::parse_duration)
                .and_then(|nanos| u64::try_from(nanos).ok())
                .filter(|nanos| *nanos > 0)
                .map(|nanos| PullPolicy::Refresh(std::time::Duration::from_nanos(nanos))),
        };
        if found.is_none() {
            self.invalid(
                value,
                &at.key("pull_policy"),
                "a pull policy",
                "write always, missing, never, build, daily, weekly or every_12h",
            );
        }
        found
    }

    /// How old an image may be with the policy `refresh`.
    fn refresh_after(&mut self, node: &Node, at: &At<'_>) -> Option<PullPolicy> {
        let value = node.get("pull_refresh_after")?;
        let text = value.as_text().filter(|text| !text.is_empty())?;
        let nanos = units::parse_duration(text).and_then(|nanos| u64::try_from(nanos).ok());
        let Some(nanos) = nanos.filter(|nanos| *nanos > 0) else {
            let at = at.key("pull_refresh_after");
            self.unfit(value, &at, "a duration", "write 12h, or 2d");
            return None;
        };
        let after = std::time::Duration::from_nanos(nanos);
        Some(PullPolicy::Refresh(after))
    }

    fn restart(&mut self, node: &Node, at: &At<'_>) -> Option<Restart> {
        let value = node.get("restart")?;
        let policy = value.as_text().filter(|policy| !policy.is_empty())?;
        let found = match policy.split_once(':').unwrap_or((policy, "0")) {
            ("no", "0") => Some(Restart::No),
            ("always", "0") => Some(Restart::Always),
            ("unless-stopped", "0") => Some(Restart::UnlessStopped),
            ("on-failure", count) => count.parse().ok().map(Restart::OnFailure),
            _ => None,
        };
        if found.is_none() {
            self.unfit(
                value,
                &at.key("restart"),
                "a restart policy",
                "write no, always, on-failure, on-failure:3 or unless-stopped",
            );
        }
        found
    }

    fn ports(&mut self, node: &Node, at: &At<'_>) -> Vec<Port> {
        let at = at.key("ports");
        list(node, "ports")
            .iter()
            .enumerate()
            .filter_map(|(index, port)| self.port(port, &at.index(index)))
            .collect()
    }

    fn port(&mut self, node: &Node, at: &At<'_>) -> Option<Port> {
        let target = number(node, "target")?;
        let published = node.get("published").and_then(Node::scalar_text);
        let range = match published.as_deref() {
            None | Some("" | "0") => None,
            Some(text) => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                match (first.parse::<u16>(), last.parse::<u16>()) {
                    (Ok(first), Ok(last)) if first <= last => Some((first, last)),
                    _ => {
                        let value = node.get("published").unwrap_or(node);
                        self.unfit(
                            value,
                            &at.key("published"),
                            "a port or a range of ports",
                            "write \"8080\" or \"8080-8090\"",
                        );
                        None
                    }
                }
            }
        };
        let protocol = match node
            .text_of("protocol")
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            None | Some("tcp" | "") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            Some("sctp") => Protocol::Sctp,
            Some(_) => {
                let value = node.get("protocol").unwrap_or(node);
                self.unfit(
                    value,
                    &at.key("protocol"),
                    "a protocol",
                    "write tcp, udp or sctp",
                );
                return None;
            }
        };
        let mode = match node.text_of("mode") {
            Some("host") => PortMode::Host,
            None | Some("ingress" | "") => PortMode::Ingress,
            Some(_) => {
                let value = node.get("mode").unwrap_or(node);
                self.unfit(value, &at.key("mode"), "a mode", "write ingress or host");
                PortMode::Ingress
            }
        };
        let shop_at = at.key("x-shop");
        Some(Port {
            target,
            published: range.map(|(first, _)| first),
            published_end: range.map(|(_, last)| last),
            host_ip: node
                .text_of("host_ip")
                .and_then(|address| address.parse().ok()),
            protocol,
            mode,
            name: text(node, "name"),
            app_protocol: text(node, "app_protocol"),
            route: self.route(node.get("x-shop"), &shop_at),
            place: self.place(node.span),
        })
    }

    fn expose(&mut self, node: &Node, at: &At<'_>) -> Vec<ExposedPorts> {
        let at = at.key("expose");
        let mut all = Vec::new();
        for (index, entry) in list(node, "expose").iter().enumerate() {
            let text = entry.scalar_text().unwrap_or_default();
            let (range, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let protocol = match protocol.to_ascii_lowercase().as_str() {
                "tcp" => Some(Protocol::Tcp),
                "udp" => Some(Protocol::Udp),
                "sctp" => Some(Protocol::Sctp),
                _ => None,
            };
            match (first.parse(), last.parse(), protocol) {
                (Ok(first), Ok(last), Some(protocol)) if first <= last => {
                    all.push(ExposedPorts {
                        first,
                        last,
                        protocol,
                    });
                }
                _ => self.unfit(
                    entry,
                    &at.index(index),
                    "a port or a range of ports",
                    "write \"8080\", \"8080-8090\" or \"53/udp\"",
                ),
            }
        }
        all
    }

    fn mounts(&mut self, node: &Node, at: &At<'_>) -> Vec<Mount> {
        let at = at.key("volumes");
        list(node, "volumes")
            .iter()
            .enumerate()
            .filter_map(|(index, mount)| self.mount(mount, &at.index(index)))
            .collect()
    }

    fn mount(&mut self, node: &Node, at: &At<'_>) -> Option<Mount> {
        let path = text(node, "source");
        let source = match node.text_of("type")? {
            "bind" => MountSource::Bind {
                path: PathBuf::from(path?),
                options: bind_options(node.get("bind")),
            },
            "tmpfs" => {
                let options = node.get("tmpfs");
                MountSource::Tmpfs {
                    size: options
                        .and_then(|options| self.bytes(options, "size", at))
                        .filter(|size| *size > 0),
                    mode: options.and_then(|options| number(options, "mode")),
                }
            }
            "image" => MountSource::Image {
                image: path?,
                subpath: node
                    .get("image")
                    .and_then(|options| text(options, "subpath")),
            },
            kind @ ("npipe" | "cluster") => {
                let path = path?;
                let why = if kind == "npipe" {
                    "it is for Windows containers"
                } else {
                    "a Docker Engine alone has no cluster volumes"
                };
                self.report.warning(
                    "not-supported",
                    node.span,
                    at,
                    format!("{at} has no effect: it has the type `{kind}`, and {why}"),
                );
                if kind == "npipe" {
                    MountSource::Npipe { path }
                } else {
                    MountSource::Cluster { name: path }
                }
            }
            _ => {
                let options = node.get("volume");
                MountSource::Volume {
                    name: path,
                    nocopy: options.is_some_and(|options| is_set(options, "nocopy")),
                    subpath: options.and_then(|options| text(options, "subpath")),
                    labels: options
                        .map(|options| pairs(options, "labels"))
                        .unwrap_or_default(),
                }
            }
        };
        Some(Mount {
            target: text(node, "target")?,
            source,
            read_only: is_set(node, "read_only"),
            consistency: text(node, "consistency"),
            place: self.place(node.span),
        })
    }

    fn grants(&mut self, node: &Node, key: &str, folder: &str) -> Vec<Grant> {
        list(node, key)
            .iter()
            .filter_map(|grant| {
                let source = text(grant, "source")?;
                let target = text(grant, "target").unwrap_or_else(|| source.clone());
                Some(Grant {
                    target: if target.starts_with('/') {
                        target
                    } else {
                        format!("{folder}{target}")
                    },
                    source,
                    uid: text(grant, "uid"),
                    gid: text(grant, "gid"),
                    mode: grant
                        .text_of("mode")
                        .and_then(|mode| u32::from_str_radix(mode, 8).ok()),
                    place: self.place(grant.span),
                })
            })
            .collect()
    }

    fn pre_start(&mut self, node: &Node, at: &At<'_>) -> Vec<PreStart> {
        let at = at.key("pre_start");
        let mut all = Vec::new();
        for (index, step) in list(node, "pre_start").iter().enumerate() {
            let found = PreStart {
                command: words(step, "command"),
                image: text(step, "image"),
                user: text(step, "user"),
                privileged: is_set(step, "privileged"),
                working_dir: text(step, "working_dir"),
                environment: variables(step, "environment"),
                per_replica: is_set(step, "per_replica"),
            };
            if found.image.is_none() && found.command.as_ref().is_none_or(Vec::is_empty) {
                let at = at.index(index);
                let message =
                    format!("{at} has neither `command` nor `image`: nothing of its own would run");
                self.report
                    .unfit("missing-key", step.span, &at, message)
                    .hint("add `command: [./migrate]`");
            }
            all.push(found);
        }
        all
    }

    fn dependencies(&mut self, node: &Node) -> std::collections::BTreeMap<String, Dependency> {
        entries(node, "depends_on")
            .map(|(name, entry)| {
                let dependency = Dependency {
                    condition: match entry.node.text_of("condition") {
                        Some("service_healthy") => Condition::ServiceHealthy,
                        Some("service_completed_successfully") => {
                            Condition::ServiceCompletedSuccessfully
                        }
                        _ => Condition::ServiceStarted,
                    },
                    restart: is_set(&entry.node, "restart"),
                    required: flag(&entry.node, "required").unwrap_or(true),
                    place: self.place(entry.key),
                };
                (name.clone(), dependency)
            })
            .collect()
    }

    fn healthcheck(&mut self, node: &Node, at: &At<'_>) -> Option<Healthcheck> {
        let node = node.get("healthcheck")?;
        let at = at.key("healthcheck");
        let words = texts(node, "test");
        let test = match words.split_first() {
            _ if is_set(node, "disable") => HealthTest::Disabled,
            None => HealthTest::Inherit,
            Some((kind, rest)) => match kind.as_str() {
                "NONE" => HealthTest::Disabled,
                "CMD-SHELL" => HealthTest::Shell(rest.join(" ")),
                _ => HealthTest::Command(rest.to_vec()),
            },
        };
        Some(Healthcheck {
            test,
            interval: self.duration(node, "interval", &at),
            timeout: self.duration(node, "timeout", &at),
            retries: number(node, "retries"),
            start_period: self.duration(node, "start_period", &at),
            start_interval: self.duration(node, "start_interval", &at),
        })
    }
}

pub(super) fn words(node: &Node, key: &str) -> Option<Vec<String>> {
    let list = node.get(key)?.as_list()?;
    Some(list.iter().filter_map(Node::scalar_text).collect())
}

fn network_mode(node: &Node) -> Option<NetworkMode> {
    let mode = text(node, "network_mode")?;
    Some(match mode.as_str() {
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        "bridge" => NetworkMode::Bridge,
        other => match other.split_once(':') {
            Some(("service", name)) => NetworkMode::Service(name.to_owned()),
            Some(("container", name)) => NetworkMode::Container(name.to_owned()),
            _ => NetworkMode::Other(mode),
        },
    })
}

fn attachments(node: &Node) -> std::collections::BTreeMap<String, Attachment> {
    entries(node, "networks")
        .map(|(name, entry)| {
            let node = &entry.node;
            let attachment = Attachment {
                aliases: texts(node, "aliases"),
                ipv4_address: text(node, "ipv4_address"),
                ipv6_address: text(node, "ipv6_address"),
                link_local_ips: texts(node, "link_local_ips"),
                mac_address: text(node, "mac_address"),
                interface_name: text(node, "interface_name"),
                priority: int(node, "priority").unwrap_or(0),
                gw_priority: int(node, "gw_priority").unwrap_or(0),
                driver_opts: pairs(node, "driver_opts"),
            };
            (name.clone(), attachment)
        })
        .collect()
}

fn bind_options(node: Option<&Node>) -> BindOptions {
    let Some(node) = node else {
        return BindOptions::default();
    };
    BindOptions {
        create_host_path: flag(node, "create_host_path").unwrap_or(true),
        propagation: text(node, "propagation"),
        selinux: match node.text_of("selinux") {
            Some("z") => Some(SeLinux::Shared),
            Some("Z") => Some(SeLinux::Private),
            _ => None,
        },
        recursive: text(node, "recursive"),
    }
}

fn devices(node: &Node) -> Vec<Device> {
    list(node, "devices")
        .iter()
        .filter_map(|device| {
            let source = text(device, "source")?;
            Some(Device {
                target: text(device, "target").unwrap_or_else(|| source.clone()),
                permissions: text(device, "permissions").unwrap_or_else(|| "rwm".to_owned()),
                source,
            })
        })
        .collect()
}

fn hooks(node: &Node, key: &str) -> Vec<Hook> {
    list(node, key)
        .iter()
        .map(|hook| Hook {
            command: words(hook, "command").unwrap_or_default(),
            user: text(hook, "user"),
            privileged: is_set(hook, "privileged"),
            working_dir: text(hook, "working_dir"),
            environment: variables(hook, "environment"),
        })
        .collect()
}
