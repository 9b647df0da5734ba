//! Keys of `services.*`.

use super::super::forms;
use super::ANY_INT;
use super::BYTES;
use super::COUNT;
use super::DISTINCT_TEXTS;
use super::ENVIRONMENT;
use super::Key;
use super::LABELS;
use super::Merge;
use super::NAMED_TEXTS;
use super::Names;
use super::NoValue;
use super::OPTIONS;
use super::Object;
use super::Pairs;
use super::Print;
use super::Shape;
use super::TEXT_OR_TEXTS;
use super::Unique;
use super::WINDOWS;
use super::alone_null;
use super::build::BUILD;
use super::deploy::DEPLOY;
use super::deploy::DEVICE_REQUEST;
use super::shop;
use super::target_of;

pub(crate) static SERVICE: Object = Object {
    name: "service",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("profiles", NAMED_TEXTS),
        Key::new("annotations", LABELS),
        Key::new("attach", Shape::Flag)
            .print(Print::WhenSet)
            .never("a deploy shows what changes, not what containers say")
            .instead("shopctl logs -f SERVICE"),
        Key::new(
            "build",
            Shape::Short {
                object: &BUILD,
                parse: forms::build,
            },
        )
        .print(Print::WhenSet),
        Key::new("develop", Shape::Nullable(&Shape::Object(&DEVELOP)))
            .print(Print::WhenSet)
            .never("it is for a watched source tree, and shopctl deploys what is built"),
        Key::new("blkio_config", Shape::Object(&BLKIO)).print(Print::WhenSet),
        Key::new("cap_add", NAMED_TEXTS),
        Key::new("cap_drop", NAMED_TEXTS),
        Key::new("cgroup_parent", Shape::Text),
        Key::new("cgroup", Shape::Choice(&["host", "private"])),
        Key::new("cpu_count", COUNT).never(WINDOWS),
        Key::new("cpu_percent", Shape::Int { min: 0, max: 100 }).never(WINDOWS),
        Key::new("cpu_period", ANY_INT),
        Key::new("cpu_quota", ANY_INT),
        Key::new("cpu_rt_period", ANY_INT),
        Key::new("cpu_rt_runtime", ANY_INT),
        Key::new("cpus", Shape::Cpus),
        Key::new("cpuset", Shape::Text),
        Key::new("cpu_shares", ANY_INT),
        Key::new("command", Shape::Words)
            .print(Print::OrNull)
            .merge(Merge::Replace),
        Key::new("configs", CONFIG_GRANTS),
        Key::new("container_name", Shape::Text),
        Key::new("credential_spec", Shape::Object(&CREDENTIAL_SPEC))
            .print(Print::WhenSet)
            .never(WINDOWS),
        Key::new(
            "depends_on",
            Shape::Named {
                of: &Shape::Object(&DEPENDENCY),
                alone: forms::dependency,
            },
        ),
        Key::new("device_cgroup_rules", DISTINCT_TEXTS),
        Key::new(
            "devices",
            Shape::List {
                of: &Shape::Short {
                    object: &DEVICE,
                    parse: forms::device,
                },
                unique: Unique::By(target_of),
            },
        ),
        Key::new("deploy", Shape::Nullable(&Shape::Object(&DEPLOY))).print(Print::WhenSet),
        Key::new("dns", TEXT_OR_TEXTS),
        Key::new("dns_opt", NAMED_TEXTS),
        Key::new("dns_search", TEXT_OR_TEXTS),
        Key::new("domainname", Shape::Text),
        Key::new("entrypoint", Shape::Words)
            .print(Print::OrNull)
            .merge(Merge::Replace),
        Key::new("provider", Shape::Object(&PROVIDER))
            .print(Print::WhenSet)
            .never("a provider runs a program of its own in place of the service"),
        Key::new("environment", ENVIRONMENT),
        Key::new(
            "env_file",
            Shape::OneOrList {
                of: &Shape::Short {
                    object: &ENV_FILE,
                    parse: forms::env_file,
                },
                unique: Unique::By(path_of),
            },
        )
        .print(Print::Never),
        Key::new(
            "expose",
            Shape::List {
                of: &Shape::Port,
                unique: Unique::By(whole),
            },
        ),
        Key::new(
            "extends",
            Shape::Short {
                object: &EXTENDS,
                parse: forms::extends,
            },
        )
        .print(Print::Never),
        Key::new("external_links", DISTINCT_TEXTS)
            .never("a link leads to one container, and replicas come and go")
            .instead(
                "put both on one network that is `external`, and call the container by its name",
            ),
        Key::new("extra_hosts", Shape::Hosts),
        Key::new(
            "group_add",
            Shape::List {
                of: &Shape::TextOrNumber,
                unique: Unique::Refuse,
            },
        ),
        Key::new(
            "gpus",
            Shape::OneOrList {
                of: &Shape::Short {
                    object: &DEVICE_REQUEST,
                    parse: forms::all_gpus,
                },
                unique: Unique::Free,
            },
        ),
        Key::new("hostname", Shape::Text),
        Key::new("healthcheck", Shape::Object(&HEALTHCHECK)).print(Print::WhenSet),
        Key::new("image", Shape::Text),
        Key::new("init", Shape::Flag).print(Print::WhenSet),
        Key::new("ipc", Shape::Text),
        Key::new("isolation", Shape::Text).never(WINDOWS),
        Key::new("labels", LABELS),
        Key::new(
            "label_file",
            Shape::OneOrList {
                of: &Shape::Path,
                unique: Unique::Free,
            },
        )
        .print(Print::Never),
        Key::new("links", NAMED_TEXTS),
        Key::new("logging", Shape::Object(&LOGGING))
            .print(Print::WhenSet)
            .merge(Merge::Logging),
        Key::new("mem_limit", BYTES),
        Key::new("mem_reservation", BYTES),
        Key::new("memswap_limit", BYTES),
        Key::new("mem_swappiness", BYTES),
        Key::new("mac_address", Shape::Text),
        Key::new(
            "models",
            Shape::Named {
                of: &Shape::Nullable(&Shape::Object(&SERVICE_MODEL)),
                alone: alone_null,
            },
        )
        .never("shopctl runs no models"),
        Key::new("network_mode", Shape::Text),
        Key::new(
            "networks",
            Shape::Named {
                of: &Shape::Nullable(&Shape::Object(&ATTACHMENT)),
                alone: alone_null,
            },
        ),
        Key::new("oom_kill_disable", Shape::Flag),
        Key::new(
            "oom_score_adj",
            Shape::Int {
                min: -1000,
                max: 1000,
            },
        ),
        Key::new("pid", Shape::Nullable(&Shape::Text)),
        Key::new("pids_limit", ANY_INT),
        Key::new("platform", Shape::Text),
        Key::new("ports", Shape::Ports),
        Key::new("privileged", Shape::Flag),
        Key::new("pull_policy", Shape::Text),
        Key::new("pull_refresh_after", Shape::Text),
        Key::new("read_only", Shape::Flag),
        Key::new("restart", Shape::Text),
        Key::new("runtime", Shape::Text),
        Key::new("scale", COUNT).print(Print::WhenSet),
        Key::new("secrets", GRANTS),
        Key::new("security_opt", DISTINCT_TEXTS),
        Key::new("shm_size", BYTES),
        Key::new("stdin_open", Shape::Flag),
        Key::new("stop_grace_period", Shape::Duration),
        Key::new("stop_signal", Shape::Text),
        Key::new(
            "storage_opt",
            Shape::Pairs(Pairs {
                list: false,
                flags: true,
                numbers: true,
                null: NoValue::Empty,
            }),
        ),
        Key::new("sysctls", LABELS),
        Key::new("tmpfs", TEXT_OR_TEXTS),
        Key::new("tty", Shape::Flag),
        Key::new("ulimits", ULIMITS),
        Key::new("use_api_socket", Shape::Flag)
            .never("a container with the engine's socket owns the machine; mount it if it must"),
        Key::new("user", Shape::Text),
        Key::new("userns_mode", Shape::Text),
        Key::new("uts", Shape::Text),
        Key::new(
            "volumes",
            Shape::List {
                of: &Shape::Short {
                    object: &MOUNT,
                    parse: forms::mount,
                },
                unique: Unique::By(target_of),
            },
        ),
        Key::new("volumes_from", DISTINCT_TEXTS),
        Key::new("working_dir", Shape::Text),
        Key::new(
            "pre_start",
            Shape::List {
                of: &Shape::Object(&PRE_START),
                unique: Unique::Free,
            },
        ),
        Key::new(
            "post_start",
            Shape::List {
                of: &Shape::Object(&HOOK),
                unique: Unique::Free,
            },
        ),
        Key::new(
            "pre_stop",
            Shape::List {
                of: &Shape::Object(&HOOK),
                unique: Unique::Free,
            },
        ),
        Key::new("x-shop", Shape::Object(&shop::SERVICE)).print(Print::Never),
    ],
};

static HEALTHCHECK: Object = Object {
    name: "healthcheck",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("test", Shape::HealthTest).merge(Merge::Replace),
        Key::new("timeout", Shape::Duration).print(Print::WhenSet),
        Key::new("interval", Shape::Duration).print(Print::WhenSet),
        Key::new("retries", COUNT).print(Print::WhenSet),
        Key::new("start_period", Shape::Duration).print(Print::WhenSet),
        Key::new("start_interval", Shape::Duration).print(Print::WhenSet),
        Key::new("disable", Shape::Flag),
    ],
};

static DEPENDENCY: Object = Object {
    name: "dependency",
    extensions: true,
    finish: None,
    keys: &[
        Key::new(
            "condition",
            Shape::Choice(&[
                "service_started",
                "service_healthy",
                "service_completed_successfully",
            ]),
        )
        .needed(),
        Key::new("restart", Shape::Flag),
        Key::new("required", Shape::Flag).print(Print::WhenSet),
    ],
};

static ENV_FILE: Object = Object {
    name: "environment file",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("path", Shape::Path).needed(),
        Key::new("required", Shape::Flag).print(Print::WhenSet),
        Key::new("format", Shape::Text),
    ],
};

static EXTENDS: Object = Object {
    name: "extends",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("file", Shape::Text),
        Key::new("service", Shape::Text),
    ],
};

static DEVICE: Object = Object {
    name: "device",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("source", Shape::Text).needed(),
        Key::new("target", Shape::Text),
        Key::new("permissions", Shape::Text),
    ],
};

static LOGGING: Object = Object {
    name: "logging",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("driver", Shape::Text),
        Key::new(
            "options",
            Shape::Pairs(Pairs {
                list: false,
                flags: false,
                numbers: true,
                null: NoValue::Empty,
            }),
        ),
    ],
};

static GRANT: Object = Object {
    name: "secret or config of a service",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("source", Shape::Text),
        Key::new("target", Shape::Text),
        Key::new("uid", Shape::Text),
        Key::new("gid", Shape::Text),
        Key::new("mode", Shape::Mode).print(Print::WhenSet),
    ],
};

const GRANTS: Shape = Shape::List {
    of: &Shape::Short {
        object: &GRANT,
        parse: forms::grant,
    },
    unique: Unique::By(secret_target),
};

const CONFIG_GRANTS: Shape = Shape::List {
    of: &Shape::Short {
        object: &GRANT,
        parse: forms::grant,
    },
    unique: Unique::By(config_target),
};

pub(super) const ULIMITS: Shape = Shape::Map {
    of: &Shape::Short {
        object: &ULIMIT,
        parse: forms::ulimit,
    },
    names: Names::Lower,
};

static ULIMIT: Object = Object {
    name: "ulimit",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("single", ANY_INT),
        Key::new("soft", ANY_INT),
        Key::new("hard", ANY_INT),
    ],
};

static ATTACHMENT: Object = Object {
    name: "network of a service",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("aliases", NAMED_TEXTS),
        Key::new("driver_opts", OPTIONS),
        Key::new("gw_priority", ANY_INT),
        Key::new("interface_name", Shape::Text),
        Key::new("ipv4_address", Shape::Text),
        Key::new("ipv6_address", Shape::Text),
        Key::new("link_local_ips", NAMED_TEXTS),
        Key::new("mac_address", Shape::Text),
        Key::new("priority", ANY_INT),
    ],
};

static MOUNT: Object = Object {
    name: "volume of a service",
    extensions: true,
    finish: Some(forms::finish_mount),
    keys: &[
        Key::new(
            "type",
            Shape::Choice(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]),
        )
        .needed(),
        Key::new("source", Shape::Text),
        Key::new("target", Shape::Text),
        Key::new("read_only", Shape::Flag),
        Key::new("consistency", Shape::Text).never("a Docker Engine on Linux has one consistency"),
        Key::new("bind", Shape::Object(&BIND)).print(Print::WhenSet),
        Key::new("volume", Shape::Object(&VOLUME_OPTIONS)).print(Print::WhenSet),
        Key::new("tmpfs", Shape::Object(&TMPFS_OPTIONS)).print(Print::WhenSet),
        Key::new("image", Shape::Object(&IMAGE_OPTIONS)).print(Print::WhenSet),
    ],
};

static BIND: Object = Object {
    name: "bind",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("selinux", Shape::Choice(&["z", "Z"])),
        Key::new("propagation", Shape::Text),
        Key::new("create_host_path", Shape::Flag).print(Print::WhenSet),
        Key::new(
            "recursive",
            Shape::Choice(&["enabled", "disabled", "writable", "readonly"]),
        ),
    ],
};

static VOLUME_OPTIONS: Object = Object {
    name: "volume options",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("labels", LABELS)
            .never(
                "only a volume without a name would carry them, and that goes with its container",
            )
            .instead("give the volume a name, and write its labels under the top-level `volumes`"),
        Key::new("nocopy", Shape::Flag),
        Key::new("subpath", Shape::Text),
    ],
};

static TMPFS_OPTIONS: Object = Object {
    name: "tmpfs options",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("size", super::SIZE),
        Key::new("mode", Shape::TmpfsMode),
    ],
};

static IMAGE_OPTIONS: Object = Object {
    name: "image options",
    extensions: true,
    finish: None,
    keys: &[Key::new("subpath", Shape::Text)],
};

pub(crate) static PORT: Object = Object {
    name: "port",
    extensions: true,
    finish: Some(forms::finish_port),
    keys: &[
        Key::new("name", Shape::Text),
        Key::new("mode", Shape::Text),
        Key::new("host_ip", Shape::Text),
        Key::new("target", Shape::Int { min: 1, max: 65535 }),
        Key::new("published", Shape::Port),
        Key::new("protocol", Shape::Text),
        Key::new("app_protocol", Shape::Text),
        Key::new("x-shop", Shape::Object(&shop::PORT)).print(Print::Never),
    ],
};

static HOOK: Object = Object {
    name: "hook",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("command", Shape::Words)
            .print(Print::OrNull)
            .needed(),
        Key::new("user", Shape::Text),
        Key::new("privileged", Shape::Flag),
        Key::new("working_dir", Shape::Text),
        Key::new("environment", ENVIRONMENT),
    ],
};

static PRE_START: Object = Object {
    name: "pre_start hook",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("command", Shape::Words).print(Print::OrNull),
        Key::new("image", Shape::Text),
        Key::new("user", Shape::Text),
        Key::new("privileged", Shape::Flag),
        Key::new("working_dir", Shape::Text),
        Key::new("environment", ENVIRONMENT),
        Key::new("per_replica", Shape::Flag),
    ],
};

static BLKIO: Object = Object {
    name: "blkio_config",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("weight", COUNT),
        Key::new(
            "weight_device",
            Shape::List {
                of: &Shape::Object(&BLKIO_WEIGHT),
                unique: Unique::Free,
            },
        ),
        Key::new("device_read_bps", BLKIO_RATES),
        Key::new("device_read_iops", BLKIO_RATES),
        Key::new("device_write_bps", BLKIO_RATES),
        Key::new("device_write_iops", BLKIO_RATES),
    ],
};

const BLKIO_RATES: Shape = Shape::List {
    of: &Shape::Object(&BLKIO_RATE),
    unique: Unique::Free,
};

static BLKIO_WEIGHT: Object = Object {
    name: "blkio weight",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("path", Shape::Text)
            .print(Print::WhenSet)
            .printed_as("Path"),
        Key::new("weight", COUNT)
            .print(Print::WhenSet)
            .printed_as("Weight"),
    ],
};

static BLKIO_RATE: Object = Object {
    name: "blkio rate",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("path", Shape::Text)
            .print(Print::WhenSet)
            .printed_as("Path"),
        Key::new("rate", BYTES)
            .print(Print::WhenSet)
            .printed_as("Rate"),
    ],
};

static CREDENTIAL_SPEC: Object = Object {
    name: "credential_spec",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("config", Shape::Text),
        Key::new("file", Shape::Text),
        Key::new("registry", Shape::Text),
    ],
};

static PROVIDER: Object = Object {
    name: "provider",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("type", Shape::Text).needed(),
        Key::new(
            "options",
            Shape::Map {
                of: &Shape::OneOrList {
                    of: &Shape::Scalar,
                    unique: Unique::Free,
                },
                names: Names::Any,
            },
        ),
    ],
};

static SERVICE_MODEL: Object = Object {
    name: "model of a service",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("endpoint_var", Shape::Text),
        Key::new("model_var", Shape::Text),
    ],
};

static DEVELOP: Object = Object {
    name: "develop",
    extensions: true,
    finish: None,
    keys: &[Key::new(
        "watch",
        Shape::List {
            of: &Shape::Object(&WATCH),
            unique: Unique::Free,
        },
    )],
};

static WATCH: Object = Object {
    name: "watch",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("path", Shape::Path).print(Print::WhenSet).needed(),
        Key::new(
            "action",
            Shape::Choice(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]),
        )
        .print(Print::WhenSet)
        .needed(),
        Key::new("target", Shape::Text),
        Key::new("exec", Shape::Object(&HOOK)).print(Print::AsMap),
        Key::new(
            "include",
            Shape::OneOrList {
                of: &Shape::Text,
                unique: Unique::Free,
            },
        ),
        Key::new(
            "ignore",
            Shape::OneOrList {
                of: &Shape::Text,
                unique: Unique::Free,
            },
        ),
        Key::new("initial_sync", Shape::Flag),
    ],
};

fn path_of(node: &super::Node) -> String {
    node.text_of("path").unwrap_or_default().to_owned()
}

fn whole(node: &super::Node) -> String {
    node.scalar_text().unwrap_or_default()
}

pub(super) fn secret_target(node: &super::Node) -> String {
    grant_target("/run/secrets", node)
}

fn config_target(node: &super::Node) -> String {
    grant_target("", node)
}

fn grant_target(folder: &str, node: &super::Node) -> String {
    match node.text_of("target") {
        Some(target) => target.to_owned(),
        None => format!("{folder}/{}", node.text_of("source").unwrap_or_default()),
    }
}
