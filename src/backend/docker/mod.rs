//! A Docker Engine, local or remote, API 1.41 and newer.
//!
//! The only module that names bollard. It looks and it does single actions; it
//! decides nothing. Unit tests cover the pure parts (bodies, parsing, decoding);
//! `tests/engine_backend.rs` runs the rest against a real engine.

mod apply;
mod archive;
mod build;
mod connect;
mod credentials;
mod dial;
mod endpoint;
mod events;
mod exec;
mod fault;
mod frames;
pub mod image;
mod images;
mod instance;
mod lease;
mod logs;
mod nearby;
mod observe;
mod ports;
mod raw;
mod run;
mod session;
mod solve;
mod store;
mod stream;
mod usage;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::sync::OnceCell;

pub use endpoint::Settings;

use crate::state::observed::Engine;

/// A connected Docker Engine; clones share the connection.
#[derive(Clone)]
pub struct Docker {
    inner: Arc<Inner>,
}

struct Inner {
    /// bollard over our own transport.
    api: bollard::Docker,
    /// The same transport, for streams that bollard does not cover.
    client: connect::HttpClient,
    /// The same without any connection that is kept.
    knock: connect::HttpClient,
    /// What stands for the host in a URI.
    authority: String,
    /// `http://<authority>/v1.41`.
    base: String,
    /// What was dialled, for messages.
    target: String,
    /// Minor number of the negotiated API version.
    minor: u32,
    /// Reached through a Unix socket, so files of this host may be the engine's.
    local: bool,
    /// Requests of one kind in flight at a time.
    parallel: usize,
    /// Folder of the Docker configuration, for credentials.
    config_dir: Option<PathBuf>,
    /// Builds never use `BuildKit`.
    classic_builder: bool,
    /// Filled by the first look.
    engine: OnceCell<Engine>,
    /// Volumes that containers were made with.
    fills: apply::Fills,
    /// Records as they were read or written last.
    records: Mutex<Option<store::Known>>,
}

impl Docker {
    fn api(&self) -> &bollard::Docker {
        &self.inner.api
    }

    /// What was dialled, for messages.
    pub fn target(&self) -> &str {
        &self.inner.target
    }

    /// The negotiated API version, e.g. `1.41`.
    pub fn api_version(&self) -> String {
        format!("1.{}", self.inner.minor)
    }
}

impl std::fmt::Debug for Docker {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Docker({})", self.inner.target)
    }
}
