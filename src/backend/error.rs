//! What can go wrong at a backend, modelled once.

use super::Holder;

/// A failure of a backend call.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The target cannot be reached.
    #[error("cannot reach {target}")]
    Unreachable {
        /// What was dialled.
        target: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine speaks an API older than we need.
    #[error("the engine at {target} speaks API {found}; {needed} or newer is needed")]
    TooOld {
        /// What was dialled.
        target: String,
        /// What it speaks.
        found: String,
        /// What is needed.
        needed: String,
    },
    /// A thing that was named does not exist.
    #[error("{what} does not exist")]
    NotFound {
        /// E.g. `container shop-order-1-3f9a1c`.
        what: String,
    },
    /// The name is taken by something that is not ours.
    #[error("{what} exists and does not belong to this stack")]
    Conflict {
        /// E.g. `container shop-order-1-3f9a1c`.
        what: String,
    },
    /// An image is not there and cannot be had.
    #[error("image {reference} is not available: {reason}")]
    ImageMissing {
        /// Reference.
        reference: String,
        /// The registry's or engine's words.
        reason: String,
    },
    /// A build failed.
    #[error("the build of {tag} failed: {reason}")]
    Build {
        /// Tag that was being built.
        tag: String,
        /// The builder's words.
        reason: String,
        /// Its whole output.
        output: Vec<String>,
    },
    /// A host port is taken.
    #[error("port {port} of the host is taken: {reason}")]
    PortTaken {
        /// Port.
        port: String,
        /// The engine's words.
        reason: String,
    },
    /// The engine counts a container in a network where none is: a defect of the
    /// engine that its next restart mends.
    #[error(
        "network {name} stays: the engine counts a container in it and lists none; it goes once the engine was restarted"
    )]
    StuckNetwork {
        /// Engine name.
        name: String,
    },
    /// The registry did not take an image.
    #[error("the image {reference} was not pushed: {reason}")]
    NotPushed {
        /// Name as written.
        reference: String,
        /// The registry's words.
        reason: String,
    },
    /// The disk of the engine is full.
    #[error("no space is left on the engine's disk: {reason}")]
    DiskFull {
        /// The engine's words.
        reason: String,
    },
    /// Another run holds the lock.
    #[error("another run holds the lock of this stack: {} on {} (run {})", .0.who, .0.host, .0.run)]
    Locked(Holder),
    /// The lock was lost while the run was working.
    #[error("the lock of this stack was lost")]
    LockLost,
    /// The action belongs to another module.
    #[error("{0} is not an action of this backend")]
    Unsupported(String),
    /// The engine refused.
    #[error("the engine refused to {doing}: {message}")]
    Engine {
        /// E.g. `create container shop-order-1-3f9a1c`.
        doing: String,
        /// HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The cluster refused.
    #[error("the cluster refused to {doing}: {message}")]
    Cluster {
        /// E.g. `apply Deployment order`.
        doing: String,
        /// HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// Anything else, with the operation that failed.
    #[error("could not {doing}")]
    Other {
        /// The operation.
        doing: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
