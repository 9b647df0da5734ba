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
use super::Unique;
use super::service::ULIMITS;
use super::service::secret_target;

const RIGHTS: &str = "the builder of a Docker Engine gives no command more rights than the others";
const ATTESTATION: &str = "the images of a Docker Engine carry no attestations";
const OWNER: &str = "a builder lends the value alone";
const MOUNT: &str =
    "write it into the Dockerfile: RUN --mount=type=secret,id=ID,uid=UID,gid=GID,mode=MODE";

pub(super) static BUILD: Object = Object {
    name: "build",
    extensions: true,
    finish: Some(forms::finish_build),
    keys: &[
        Key::new("context", Shape::Location),
        Key::new("dockerfile", Shape::Text),
        Key::new("dockerfile_inline", Shape::Text),
        Key::new("entitlements", TEXTS).never(RIGHTS),
        Key::new("args", ENVIRONMENT),
        Key::new("provenance", Shape::FlagOrText).never(ATTESTATION),
        Key::new("sbom", Shape::FlagOrText).never(ATTESTATION),
        Key::new("ssh", ENVIRONMENT).print(super::Print::AsList),
        Key::new("labels", LABELS),
        Key::new("cache_from", TEXTS),
        Key::new("cache_to", TEXTS)
            .never("the builder of a Docker Engine writes its cache nowhere else"),
        Key::new("no_cache", Shape::Flag),
        Key::new("no_cache_filter", TEXT_OR_TEXTS)
            .never("the builder of a Docker Engine takes its cache for all stages or for none")
            .instead("write `no_cache: true`"),
        Key::new("additional_contexts", LABELS),
        Key::new("pull", Shape::Flag),
        Key::new("extra_hosts", Shape::Hosts),
        Key::new("isolation", Shape::Text).never(super::WINDOWS),
        Key::new("network", Shape::Text),
        Key::new("target", Shape::Text),
        Key::new("secrets", SECRETS),
        Key::new("shm_size", BYTES),
        Key::new("tags", NAMED_TEXTS),
        Key::new("ulimits", ULIMITS)
            .not_yet("commands of a build have the limits of the engine in this version"),
        Key::new("platforms", TEXTS),
        Key::new("privileged", Shape::Flag).never(RIGHTS),
    ],
};

const SECRETS: Shape = Shape::List {
    of: &Shape::Short {
        object: &SECRET,
        parse: forms::grant,
    },
    unique: Unique::By(secret_target),
};

static SECRET: Object = Object {
    name: "secret of a build",
    extensions: true,
    finish: None,
    keys: &[
        Key::new("source", Shape::Text),
        Key::new("target", Shape::Text),
        Key::new("uid", Shape::Text).never(OWNER).instead(MOUNT),
        Key::new("gid", Shape::Text).never(OWNER).instead(MOUNT),
        Key::new("mode", Shape::Mode)
            .print(super::Print::WhenSet)
            .never(OWNER)
            .instead(MOUNT),
    ],
};
