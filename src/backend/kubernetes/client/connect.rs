//! Which cluster is meant, and the words for what goes wrong there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use kube::Client;
use kube::Config;
use kube::config::KubeConfigOptions;
use kube::config::Kubeconfig;
use tokio::sync::OnceCell;

use super::Cluster;
use super::Inner;
use super::kinds::Server;
use crate::backend::BackendError;
use crate::backend::docker;

/// A server that takes no connection for so long is not there.
const CONNECT: Duration = Duration::from_secs(10);

/// Which cluster is meant: what the flags and the environment say.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Files of `KUBECONFIG`, else the one in the home; the first that says something wins.
    pub kubeconfig: Vec<PathBuf>,
    /// Context of the kubeconfig; its current one when `None`.
    pub context: Option<String>,
    /// Registry and path before the names of images that are built.
    pub registry: String,
    /// The engine that builds.
    pub engine: docker::Settings,
    /// How long a lock outlives its holder; half a minute where it is not said.
    pub lease: Option<Duration>,
}

impl Cluster {
    /// Connects, and asks the server what it is and serves.
    ///
    /// # Errors
    ///
    /// [`BackendError::Unreachable`] where there is no such context, or nobody answers.
    pub async fn connect(settings: &Settings) -> Result<Self, BackendError> {
        let (config, context) = config(settings).await?;
        let target = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| unreachable(&target, error))?;
        let server = Server::ask(&client)
            .await
            .map_err(|error| failed("ask the server for its version", &target, error))?;
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                context,
                target,
                server,
                registry: settings.registry.clone(),
                engine: settings.engine.clone(),
                pushed: Mutex::default(),
                lease: settings.lease,
                docker: OnceCell::new(),
                lock_seen: Mutex::default(),
                namespace: Mutex::default(),
            }),
        })
    }

    /// An error of the server in our words.
    pub(super) fn failed(&self, doing: impl Into<String>, error: kube::Error) -> BackendError {
        failed(doing, &self.inner.target, error)
    }
}

/// The kubeconfig's, or inside a pod the pod's.
async fn config(settings: &Settings) -> Result<(Config, String), BackendError> {
    let mut merged: Option<Kubeconfig> = None;
    for path in settings.kubeconfig.iter().filter(|path| path.exists()) {
        let target = path.display().to_string();
        let read = Kubeconfig::read_from(path).map_err(|error| unreachable(&target, error))?;
        merged = Some(match merged {
            Some(first) => first
                .merge(read)
                .map_err(|error| unreachable(&target, error))?,
            None => read,
        });
    }
    let named = settings.context.clone();
    let Some(kubeconfig) = merged else {
        let config = Config::incluster().map_err(|_| no_kubeconfig(settings))?;
        return Ok((bounded(config), "in-cluster".to_owned()));
    };
    let context = named.or_else(|| kubeconfig.current_context.clone());
    let target = format!("context {}", context.as_deref().unwrap_or("(none)"));
    let options = KubeConfigOptions {
        context: context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| unreachable(&target, error))?;
    Ok((bounded(config), context.unwrap_or_default()))
}

fn bounded(mut config: Config) -> Config {
    config.connect_timeout = Some(CONNECT);
    // Its own way to call again takes minutes; see [`super::retry`].
    config.default_retry = false;
    config
}

fn no_kubeconfig(settings: &Settings) -> BackendError {
    let files: Vec<String> = settings
        .kubeconfig
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let found = format!("no kubeconfig: {} is not there", files.join(", "));
    unreachable("a cluster", std::io::Error::other(found))
}

fn unreachable(
    target: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> BackendError {
    BackendError::Unreachable {
        target: target.to_owned(),
        source: source.into(),
    }
}

/// An error of the server in our words.
pub(super) fn failed(doing: impl Into<String>, target: &str, error: kube::Error) -> BackendError {
    let doing = doing.into();
    match error {
        kube::Error::Api(status) => BackendError::Cluster {
            doing,
            status: status.code,
            message: status.message,
        },
        kube::Error::Service(source) => BackendError::Unreachable {
            target: target.to_owned(),
            source,
        },
        kube::Error::HyperError(source) => unreachable(target, source),
        kube::Error::Auth(source) => unreachable(target, source),
        other => BackendError::Other {
            doing,
            source: other.into(),
        },
    }
}

/// Whether the server says that there is no such thing.
pub(super) fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
