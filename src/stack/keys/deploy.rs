//! Keys of `services.*.deploy`.

use super::COUNT;
use super::DISTINCT_TEXTS;
use super::Key;
use super::LABELS;
use super::Object;
use super::Print;
use super::Shape;
use super::TEXTS;
use super::Unique;

pub(super) static DEPLOY: Object = Object {
    name: "deploy",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("mode", Shape::Text),
        Key::new("replicas", COUNT).print(Print::WhenSet),
        Key::new("labels", LABELS)
            .never("they belong to a service object, which a Docker Engine does not have")
            .instead("write them as `labels` of the service: its containers carry them"),
        Key::new("update_config", Shape::Object(&UPDATE)).print(Print::WhenSet),
        Key::new("rollback_config", Shape::Object(&UPDATE))
            .print(Print::WhenSet),
        Key::new("resources", Shape::Object(&RESOURCES)).print(Print::AsMap),
        Key::new("restart_policy", Shape::Object(&RESTART_POLICY)).print(Print::WhenSet),
        Key::new("placement", Shape::Object(&PLACEMENT))
            .print(Print::AsMap)
            .never("a Docker Engine is one node, so there is one place"),
        Key::new("endpoint_mode", Shape::Text)
            .never("it belongs to a service object, which a Docker Engine does not have; an HTTP service is called through the gateway, any other by the names of its replicas")
            .instead("write x-shop.route.internal: true or false"),
    ],
};

static UPDATE: Object = Object {
    name: "update_config",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("parallelism", COUNT).print(Print::WhenSet),
        Key::new("delay", Shape::Duration),
        Key::new("failure_action", Shape::Text),
        Key::new("monitor", Shape::Duration),
        Key::new("max_failure_ratio", Shape::Number),
        Key::new("order", Shape::Choice(&["start-first", "stop-first"])),
    ],
};

static RESOURCES: Object = Object {
    name: "resources",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("limits", Shape::Object(&LIMITS)).print(Print::WhenSet),
        Key::new("reservations", Shape::Object(&RESERVATIONS)).print(Print::WhenSet),
    ],
};

static LIMITS: Object = Object {
    name: "limits",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("cpus", Shape::Cpus),
        Key::new("memory", super::BYTES_AS_TEXT),
        Key::new("pids", super::ANY_INT),
    ],
};

static RESERVATIONS: Object = Object {
    name: "reservations",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("cpus", Shape::Cpus),
        Key::new("memory", super::BYTES_AS_TEXT),
        Key::new(
            "devices",
            Shape::List {
                of: &Shape::Object(&DEVICE_RESERVATION),
                unique: Unique::Free,
            },
        ),
        Key::new(
            "generic_resources",
            Shape::List {
                of: &Shape::Object(&GENERIC),
                unique: Unique::Free,
            },
        )
        .never("a Docker Engine alone does not count resources of the user's own"),
    ],
};

const DEVICE_KEYS: [Key; 5] = [
    Key::new("capabilities", DISTINCT_TEXTS),
    Key::new("driver", Shape::Text),
    Key::new("count", Shape::DeviceCount),
    Key::new("device_ids", DISTINCT_TEXTS),
    Key::new("options", LABELS),
];

/// One entry of `gpus`: GPUs are the capability.
pub(super) static DEVICE_REQUEST: Object = Object {
    name: "device request",
    extensions: true,
    finish: None,
    keys: &DEVICE_KEYS,
};

static DEVICE_RESERVATION: Object = Object {
    name: "device reservation",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("capabilities", DISTINCT_TEXTS).needed(),
        Key::new("driver", Shape::Text),
        Key::new("count", Shape::DeviceCount),
        Key::new("device_ids", DISTINCT_TEXTS),
        Key::new("options", LABELS),
    ],
};

static GENERIC: Object = Object {
    name: "generic resource",
    extensions: true,
    finish: None,
    keys: &[Key::new("discrete_resource_spec", Shape::Object(&DISCRETE)).print(Print::WhenSet)],
};

static DISCRETE: Object = Object {
    name: "discrete resource",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("kind", Shape::Text).print(Print::WhenSet),
        Key::new("value", super::ANY_INT).print(Print::WhenSet),
    ],
};

static RESTART_POLICY: Object = Object {
    name: "restart_policy",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("condition", Shape::Text),
        Key::new("delay", Shape::Duration)
            .print(Print::WhenSet)
            .never("a Docker Engine waits 100 ms before it restarts a container, and twice as long each time"),
        Key::new("max_attempts", COUNT).print(Print::WhenSet),
        Key::new("window", Shape::Duration)
            .print(Print::WhenSet)
            .never("for a Docker Engine a restart has succeeded when the container has run for 10 s"),
    ],
};

static PLACEMENT: Object = Object {
    name: "placement",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("constraints", TEXTS),
        Key::new(
            "preferences",
            Shape::List {
                of: &Shape::Object(&PREFERENCE),
                unique: Unique::Free,
            },
        ),
        Key::new("max_replicas_per_node", COUNT),
    ],
};

static PREFERENCE: Object = Object {
    name: "placement preference",
    extensions: true,
    finish: None,
    keys: &[Key::new("spread", Shape::Text)],
};
