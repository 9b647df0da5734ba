//! Where commands find their backend: the engine in production, a world in
//! memory in tests.

use std::future::Future;

use super::settings::EngineSettings;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::docker;
use crate::backend::docker::Docker;

/// Gives a command its backend, once it is known which one is meant.
pub trait World: Send + Sync {
    /// What it gives.
    type Backend: Backend + Clone + 'static;

    /// Connects.
    fn connect(
        &self,
        settings: &EngineSettings,
    ) -> impl Future<Output = Result<Self::Backend, BackendError>> + Send;

    /// Checks of `doctor` that need to know more than a backend tells.
    fn local_socket(&self, settings: &EngineSettings) -> Option<std::path::PathBuf>;
}

/// A Docker Engine, local or remote.
#[derive(Debug, Clone, Copy, Default)]
pub struct DockerWorld;

impl World for DockerWorld {
    type Backend = Docker;

    async fn connect(&self, settings: &EngineSettings) -> Result<Docker, BackendError> {
        Docker::connect(&docker::Settings {
            host: settings.host.clone(),
            context: settings.context.clone(),
            config_dir: settings.config_dir.clone(),
            tls_verify: settings.tls_verify,
            cert_path: settings.cert_path.clone(),
            classic_builder: settings.classic_builder,
        })
        .await
    }

    fn local_socket(&self, settings: &EngineSettings) -> Option<std::path::PathBuf> {
        match (&settings.host, &settings.context) {
            (Some(host), _) => host.strip_prefix("unix://").map(Into::into),
            (None, None) => Some("/var/run/docker.sock".into()),
            (None, Some(_)) => None,
        }
    }
}

impl<B: Backend + Clone + 'static> World for B {
    type Backend = B;

    async fn connect(&self, _settings: &EngineSettings) -> Result<B, BackendError> {
        Ok(self.clone())
    }

    fn local_socket(&self, _settings: &EngineSettings) -> Option<std::path::PathBuf> {
        None
    }
}
