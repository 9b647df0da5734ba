//! Top-level keys, networks, volumes, secrets, configs and includes.

use super::super::forms;
use super::Key;
use super::LABELS;
use super::Merge;
use super::Names;
use super::OPTIONS;
use super::Object;
use super::Print;
use super::SERVICE;
use super::Shape;
use super::TEXT_OPTIONS;
use super::TEXTS;
use super::Unique;
use super::shop;

pub(crate) static STACK: Object = Object {
    name: "stack",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("version", Shape::Text).print(Print::Never),
        Key::new("name", Shape::Text),
        Key::new(
            "include",
            Shape::List {
                of: &Shape::Short {
                    object: &INCLUDE,
                    parse: forms::include,
                },
                unique: Unique::Free,
            },
        )
        .print(Print::Never),
        Key::new(
            "services",
            Shape::Map {
                of: &Shape::Object(&SERVICE),
                names: Names::Identifier,
            },
        )
        .print(Print::AsMap),
        Key::new(
            "networks",
            Shape::Map {
                of: &Shape::Nullable(&Shape::Object(&NETWORK)),
                names: Names::Any,
            },
        ),
        Key::new(
            "volumes",
            Shape::Map {
                of: &Shape::Nullable(&Shape::Object(&VOLUME)),
                names: Names::Identifier,
            },
        ),
        Key::new(
            "secrets",
            Shape::Map {
                of: &Shape::Object(&SECRET),
                names: Names::Identifier,
            },
        ),
        Key::new(
            "configs",
            Shape::Map {
                of: &Shape::Object(&CONFIG),
                names: Names::Identifier,
            },
        ),
        Key::new(
            "models",
            Shape::Map {
                of: &Shape::Object(&MODEL),
                names: Names::Any,
            },
        )
        .print(Print::Never)
        .never("shopctl runs no models"),
        Key::new("x-shop", Shape::Object(&shop::STACK)),
    ],
};

static INCLUDE: Object = Object {
    name: "include",
    extensions: false,
    finish: None,
    keys: &[
        Key::new(
            "path",
            Shape::OneOrList {
                of: &Shape::Text,
                unique: Unique::Free,
            },
        ),
        Key::new(
            "env_file",
            Shape::OneOrList {
                of: &Shape::Text,
                unique: Unique::Free,
            },
        ),
        Key::new("project_directory", Shape::Text),
    ],
};

static NETWORK: Object = Object {
    name: "network",
    extensions: true,
    finish: Some(forms::finish_name),
    keys: &[
        Key::new("name", Shape::Text),
        Key::new("driver", Shape::Text),
        Key::new("driver_opts", OPTIONS),
        Key::new("ipam", Shape::Object(&IPAM)).print(Print::AsMap),
        Key::new("external", Shape::External),
        Key::new("internal", Shape::Flag),
        Key::new("attachable", Shape::Flag),
        Key::new("labels", LABELS),
        Key::new("enable_ipv4", Shape::Flag).print(Print::WhenSet),
        Key::new("enable_ipv6", Shape::Flag).print(Print::WhenSet),
    ],
};

static IPAM: Object = Object {
    name: "ipam",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("driver", Shape::Text),
        Key::new(
            "config",
            Shape::List {
                of: &Shape::Object(&POOL),
                unique: Unique::Free,
            },
        )
        .merge(Merge::Pools),
        Key::new("options", TEXT_OPTIONS),
    ],
};

static POOL: Object = Object {
    name: "address pool",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("subnet", Shape::Text),
        Key::new("gateway", Shape::Text),
        Key::new("ip_range", Shape::Text),
        Key::new("aux_addresses", TEXT_OPTIONS),
    ],
};

static VOLUME: Object = Object {
    name: "volume",
    extensions: true,
    finish: Some(forms::finish_volume),
    keys: &[
        Key::new("name", Shape::Text),
        Key::new("driver", Shape::Text),
        Key::new("driver_opts", OPTIONS),
        Key::new("external", Shape::External),
        Key::new("labels", LABELS),
    ],
};

const NO_OBJECT: &str =
    "a Docker Engine alone keeps no secrets and configs; they are files in a volume of the stack";
const NO_DRIVER: &str = "a Docker Engine alone has no drivers of secrets";
const NO_TEMPLATE: &str =
    "contents are passed on as they are; only variables of the stack file are filled in";
const CONTENT: &str = "name a `file` or an `environment` variable that holds it";

static SECRET: Object = Object {
    name: "secret",
    extensions: true,
    finish: Some(forms::finish_name),
    keys: &[
        Key::new("name", Shape::Text),
        Key::new("file", Shape::Path),
        Key::new("environment", Shape::Text),
        Key::new("external", Shape::External),
        Key::new("labels", LABELS).never(NO_OBJECT),
        Key::new("driver", Shape::Text)
            .never(NO_DRIVER)
            .instead(CONTENT),
        Key::new("driver_opts", OPTIONS)
            .never(NO_DRIVER)
            .instead(CONTENT),
        Key::new("template_driver", Shape::Text).never(NO_TEMPLATE),
    ],
};

static CONFIG: Object = Object {
    name: "config",
    extensions: true,
    finish: Some(forms::finish_name),
    keys: &[
        Key::new("name", Shape::Text),
        Key::new("file", Shape::Path),
        Key::new("environment", Shape::Text),
        Key::new("content", Shape::Text),
        Key::new("external", Shape::External),
        Key::new("labels", LABELS).never(NO_OBJECT),
        Key::new("template_driver", Shape::Text).never(NO_TEMPLATE),
    ],
};

static MODEL: Object = Object {
    name: "model",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("name", Shape::Text),
        Key::new("model", Shape::Text).needed(),
        Key::new("context_size", super::ANY_INT),
        Key::new("runtime_flags", TEXTS),
    ],
};

/// Names of the sections whose entries an `include` brings in.
pub(crate) const SECTIONS: [&str; 6] = [
    "services", "networks", "volumes", "secrets", "configs", "models",
];
