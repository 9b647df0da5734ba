//! Names and labels of everything we create, in one place.
//!
//! Identity is in the labels, never in a name. Docker Compose's own labels stand
//! beside ours, so that `docker compose ps`, `logs`, `exec` and `down -p` work.

use sha2::Digest as _;
use sha2::Sha256;

/// Label: stack.
pub const STACK: &str = "dev.shopctl.stack";
/// Label: service.
pub const SERVICE: &str = "dev.shopctl.service";
/// Label: slot of the replica.
pub const SLOT: &str = "dev.shopctl.slot";
/// Label: revision digest.
pub const REVISION: &str = "dev.shopctl.revision";
/// Label: unique network alias.
pub const INSTANCE: &str = "dev.shopctl.instance";
/// Label: `service`, `gateway`, `keeper`, `lock`, `prober`, `task` or `run`.
pub const ROLE: &str = "dev.shopctl.role";
/// Label of images that were built: the stack they were built for. Containers inherit
/// labels of their image, so it is none of those by which a container is known.
pub const IMAGE: &str = "dev.shopctl.image";
/// Label: run that created it.
pub const RUN: &str = "dev.shopctl.run";
/// Label of a gateway: JSON map from published port id to the port inside.
pub const LISTENS: &str = "dev.shopctl.listens";
/// Label of a replica without its service's name in its networks: `gateway`, which has it.
pub const NAME: &str = "dev.shopctl.name";
/// Label: JSON map from field of the container's spec to a short digest, by
/// which a later plan names what changed; see [`super::digest::fields`].
pub const FIELDS: &str = "dev.shopctl.fields";

/// Label of Docker Compose: project.
pub const COMPOSE_PROJECT: &str = "com.docker.compose.project";
/// Label of Docker Compose: service.
pub const COMPOSE_SERVICE: &str = "com.docker.compose.service";
/// Label of Docker Compose: number of the container, from 1.
pub const COMPOSE_NUMBER: &str = "com.docker.compose.container-number";
/// Label of Docker Compose: one-off container.
pub const COMPOSE_ONEOFF: &str = "com.docker.compose.oneoff";
/// Label of Docker Compose: digest of the configuration.
pub const COMPOSE_HASH: &str = "com.docker.compose.config-hash";
/// Label of Docker Compose on networks.
pub const COMPOSE_NETWORK: &str = "com.docker.compose.network";
/// Label of Docker Compose on volumes.
pub const COMPOSE_VOLUME: &str = "com.docker.compose.volume";
/// Label of Docker Compose: folder of the first file.
pub const COMPOSE_WORKING_DIR: &str = "com.docker.compose.project.working_dir";
/// Label of Docker Compose: the files, separated by commas.
pub const COMPOSE_CONFIG_FILES: &str = "com.docker.compose.project.config_files";

/// `<stack>-<service>-<slot>-<6 hex of the revision>`.
pub fn instance(stack: &str, service: &str, slot: u32, revision: &str) -> String {
    format!("{stack}-{service}-{slot}-{}", short(revision, 6))
}

/// Unique network alias of a replica, `i-<12 hex>`; the same for the same
/// stack, service, slot and revision, so a plan made twice is the same plan.
pub fn alias(stack: &str, service: &str, slot: u32, revision: &str) -> String {
    let digest = hex(format!("{stack}\0{service}\0{slot}\0{revision}").as_bytes());
    format!("i-{}", short(&digest, 12))
}

/// Name of a group of replicas at the gateway: those of one revision and image.
pub fn group(revision: &str, image_id: Option<&str>) -> String {
    let digest = hex(format!("{revision}\0{}", image_id.unwrap_or_default()).as_bytes());
    short(&digest, 12).to_owned()
}

/// Container name of the `n`th gateway, from 1.
pub fn gateway(stack: &str, n: u32) -> String {
    format!("{stack}-gateway-{n}")
}

/// Id of the listener for requests from inside a network to a port there.
pub fn door(network: &str, port: u16) -> String {
    format!("net/{network}/{port}")
}

/// The network and the port of [`door`]; `None` for a published port's id.
pub fn parse_door(id: &str) -> Option<(&str, u16)> {
    let (network, port) = id.strip_prefix("net/")?.rsplit_once('/')?;
    Some((network, port.parse().ok()?))
}

/// The gateway's own name in a network, by which it knows its address there.
pub fn door_name(network: &str) -> String {
    format!("g-{}", short(&hex(network.as_bytes()), 12))
}

/// Container name of the keeper.
pub fn keeper(stack: &str) -> String {
    format!("{stack}-keeper")
}

/// Container name of the lock.
pub fn lock(stack: &str) -> String {
    format!("{stack}-lock")
}

/// Container name of the prober.
pub fn prober(stack: &str) -> String {
    format!("{stack}-prober")
}

/// Container name of a hook, `<stack>[-<service>]-<hook>-<6 hex>`; the stack's own hooks
/// have no service.
pub fn task(stack: &str, service: &str, hook: &str, digest: &str) -> String {
    let owner = if service.is_empty() {
        stack.to_owned()
    } else {
        format!("{stack}-{service}")
    };
    format!("{owner}-{}-{}", hook.replace('_', "-"), short(digest, 6))
}

/// Engine name of the store's volume.
pub fn store(stack: &str) -> String {
    format!("{stack}-shopctl")
}

/// Engine name of the volume of a file set.
pub fn files(stack: &str, set: &str, digest: &str) -> String {
    format!("{}{set}-{}", files_prefix(stack), short(digest, 12))
}

/// Container name of what holds a volume of a file set in memory.
pub fn holder(volume: &str) -> String {
    format!("{volume}-holder")
}

/// What the names of all volumes of file sets begin with.
pub fn files_prefix(stack: &str) -> String {
    format!("{stack}-files-")
}

/// SHA-256 as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn short(text: &str, length: usize) -> &str {
    text.get(..length).unwrap_or(text)
}
