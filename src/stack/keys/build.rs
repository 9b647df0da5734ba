//! Keys of `services.*.build`.

use super::super::forms;
use super::BYTES;
use super::ENVIRONMENT;
use super::Key;
use super::LABELS;
use super::NAMED_TEXTS;
use super::Object;
use super::Shape;
use super::TEXT_OR_TEXTS;
use super::TEXTS;
use super::service::GRANTS;
use super::service::ULIMITS;

pub(super) static BUILD: Object = Object {
    name: "build",
    extensions: true,
    finish: Some(forms::finish_build),
    keys: &[
        Key::new("context", Shape::Location),
        Key::new("dockerfile", Shape::Text),
        Key::new("dockerfile_inline", Shape::Text),
        Key::new("entitlements", TEXTS).later(),
        Key::new("args", ENVIRONMENT),
        Key::new("provenance", Shape::FlagOrText).later(),
        Key::new("sbom", Shape::FlagOrText).later(),
        Key::new("ssh", ENVIRONMENT)
            .print(super::Print::AsList)
            .later(),
        Key::new("labels", LABELS),
        Key::new("cache_from", TEXTS),
        Key::new("cache_to", TEXTS).later(),
        Key::new("no_cache", Shape::Flag),
        Key::new("no_cache_filter", TEXT_OR_TEXTS).later(),
        Key::new("additional_contexts", LABELS).later(),
        Key::new("pull", Shape::Flag),
        Key::new("extra_hosts", Shape::Hosts),
        Key::new("isolation", Shape::Text).never("it is for Windows containers"),
        Key::new("network", Shape::Text),
        Key::new("target", Shape::Text),
        Key::new("secrets", GRANTS),
        Key::new("shm_size", BYTES),
        Key::new("tags", NAMED_TEXTS),
        Key::new("ulimits", ULIMITS),
        Key::new("platforms", TEXTS),
        Key::new("privileged", Shape::Flag).later(),
    ],
};
