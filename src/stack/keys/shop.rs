//! Keys of `x-shop`: on the stack, on a service, and on a port.

use super::COUNT;
use super::ENVIRONMENT;
use super::Key;
use super::Merge;
use super::Names;
use super::Object;
use super::Shape;
use super::TEXTS;
use super::Unique;

const PORT_NUMBER: Shape = Shape::Int { min: 1, max: 65535 };

/// A boolean today; its mapping is for the settings of the gateway to come.
const GATEWAY: Shape = Shape::FlagOrMap;

const MESH: &str =
    "an engine has no mesh: calls between services are neither encrypted nor authorised";

const VOLUMES: Shape = Shape::Map {
    of: &Shape::Object(&ACCESS),
    names: Names::Identifier,
};

pub(super) static STACK: Object = Object {
    name: "x-shop of the stack",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("backend", Shape::Choice(&["docker", "swarm", "kubernetes"])),
        Key::new("registry", Shape::Text),
        Key::new("capacity", Shape::Choice(&["declared", "strict"])),
        Key::new("gateway", GATEWAY),
        Key::new("secrets", Shape::Choice(&["volume", "memory"])),
        Key::new("volumes", VOLUMES),
        Key::new("lint", Shape::Object(&LINT)),
        Key::new("hooks", Shape::Object(&STACK_HOOKS)),
        Key::new("mesh", Shape::Choice(&["istio", "linkerd", "consul"])).on_clusters(MESH),
        Key::new("reserve", Shape::Any)
            .not_yet("no capacity is kept free for what is to come in this version"),
    ],
};

static LINT: Object = Object {
    name: "x-shop.lint",
    extensions: false,
    finish: None,
    keys: &[Key::new("silence", TEXTS)],
};

pub(super) static SERVICE: Object = Object {
    name: "x-shop of a service",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("build", Shape::Object(&PREPARE)),
        Key::new("class", Shape::Choice(&["latency", "batch", "stateful"])),
        Key::new("ready", Shape::Object(&READY)),
        Key::new("route", Shape::Object(&ROUTE)),
        Key::new("gateway", GATEWAY),
        Key::new("slo", Shape::Object(&SLO)),
        Key::new("autoscale", Shape::Object(&AUTOSCALE))
            .on_clusters("no count follows the load or the clock on an engine in this version")
            .instead("shopctl scale SERVICE=3"),
        Key::new("volumes", VOLUMES),
        Key::new("hooks", Shape::Object(&HOOKS)),
        Key::new("rollout", Shape::Object(&ROLLOUT)),
        Key::new(
            "mesh",
            Shape::Choice(&["istio", "linkerd", "consul", "none"]),
        )
        .on_clusters(MESH),
    ],
};

pub(super) static PORT: Object = Object {
    name: "x-shop of a port",
    extensions: false,
    finish: None,
    keys: &[Key::new("route", Shape::Object(&ROUTE))],
};

static STACK_HOOKS: Object = Object {
    name: "x-shop.hooks of the stack",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("service", Shape::Text).needed(),
        Key::new("pre_deploy", Shape::Object(&HOOK)),
        Key::new("post_deploy", Shape::Object(&HOOK)),
        Key::new("on_rollback", Shape::Object(&HOOK)),
    ],
};

static HOOKS: Object = Object {
    name: "x-shop.hooks",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("pre_deploy", Shape::Object(&HOOK)),
        Key::new("post_deploy", Shape::Object(&HOOK)),
        Key::new("on_rollback", Shape::Object(&HOOK)),
    ],
};

static HOOK: Object = Object {
    name: "hook",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("command", Shape::Words)
            .merge(Merge::Replace)
            .needed(),
        Key::new("timeout", Shape::Duration),
        Key::new("environment", ENVIRONMENT),
    ],
};

static PREPARE: Object = Object {
    name: "x-shop.build",
    extensions: false,
    finish: None,
    keys: &[
        Key::new(
            "prepare",
            Shape::List {
                of: &Shape::Words,
                unique: Unique::Free,
            },
        ),
        Key::new("inputs", TEXTS),
    ],
};

static READY: Object = Object {
    name: "x-shop.ready",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("http", Shape::Text),
        Key::new("tcp", PORT_NUMBER),
        Key::new("port", PORT_NUMBER),
        Key::new("timeout", Shape::Duration),
    ],
};

static ROUTE: Object = Object {
    name: "x-shop.route",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("path", Shape::Text),
        Key::new("host", Shape::Text),
        Key::new("port", PORT_NUMBER),
        Key::new("internal", Shape::Flag),
    ],
};

static ROLLOUT: Object = Object {
    name: "x-shop.rollout",
    extensions: false,
    finish: None,
    keys: &[
        Key::new(
            "strategy",
            Shape::Choice(&["rolling", "canary", "blue-green"]),
        ),
        Key::new(
            "steps",
            Shape::List {
                of: &Shape::Object(&STEP),
                unique: Unique::Free,
            },
        ),
        Key::new("pause", Shape::Duration),
        Key::new("hold", Shape::Duration),
        Key::new("header", Shape::Text),
        Key::new("cookie", Shape::Text),
        Key::new("preview", Shape::Text),
        Key::new(
            "min_requests",
            Shape::Int {
                min: 1,
                max: u32::MAX as i64,
            },
        ),
        Key::new("max_errors", Shape::Share),
        Key::new(
            "max_slowdown",
            Shape::Int {
                min: 100,
                max: 10_000,
            },
        ),
    ],
};

static STEP: Object = Object {
    name: "step of a canary",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("weight", Shape::Share).needed(),
        Key::new("pause", Shape::Duration),
    ],
};

static SLO: Object = Object {
    name: "x-shop.slo",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("latency_p50", Shape::Duration),
        Key::new("latency_p95", Shape::Duration),
        Key::new("latency_p99", Shape::Duration),
        Key::new("error_rate", Shape::Share),
    ],
};

static AUTOSCALE: Object = Object {
    name: "x-shop.autoscale",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("min", COUNT),
        Key::new("max", COUNT),
        Key::new(
            "rps_per_replica",
            Shape::Int {
                min: 1,
                max: u32::MAX as i64,
            },
        ),
        Key::new("cpu", Shape::Share),
        Key::new(
            "schedules",
            Shape::List {
                of: &Shape::Object(&SCHEDULE),
                unique: Unique::Free,
            },
        ),
    ],
};

static SCHEDULE: Object = Object {
    name: "schedule",
    extensions: false,
    finish: None,
    keys: &[
        Key::new("at", Shape::Text).needed(),
        Key::new("for", Shape::Duration).needed(),
        Key::new("replicas", COUNT).needed(),
        Key::new("lead", Shape::Duration),
    ],
};

static ACCESS: Object = Object {
    name: "x-shop.volumes",
    extensions: false,
    finish: None,
    keys: &[Key::new("access", Shape::Choice(&["shared", "single"])).needed()],
};
