//! Whether a command is about a cluster, and which.

use super::args::BackendArg;
use super::args::Command;
use super::settings::Settings;
use crate::backend::docker;
use crate::backend::kubernetes::client;

/// The registry that the stack of a command names, empty where it names none; `None` where
/// the command is about an engine. Images are built by an engine in any case.
pub(super) fn registry(command: &Command, settings: &Settings) -> Option<String> {
    if matches!(command, Command::Build(_) | Command::Config(_)) {
        return None;
    }
    if settings
        .backend
        .is_some_and(|it| it != BackendArg::Kubernetes)
    {
        return None;
    }
    // What is wrong with the file is said by the command itself.
    let Ok(loaded) = settings.stack() else {
        let asked = settings.backend == Some(BackendArg::Kubernetes);
        return asked.then(String::new);
    };
    let backend = settings.backend_of(&loaded.stack);
    let registry = loaded.stack.shop.registry.clone().unwrap_or_default();
    settings.keep(loaded);
    (backend == BackendArg::Kubernetes).then_some(registry)
}

/// How the cluster is reached, and what its images are called.
pub(super) fn settings(settings: &Settings, registry: &str) -> client::Settings {
    let cluster = &settings.cluster;
    // A context of the kubeconfig is none of the engine's.
    let of_engine = |name: &str| {
        let value = settings.load.environment.get(name);
        value.filter(|text| !text.is_empty()).cloned()
    };
    let engine = docker::Settings {
        host: of_engine("DOCKER_HOST"),
        context: of_engine("DOCKER_CONTEXT"),
        ..super::engine(settings)
    };
    client::Settings {
        kubeconfig: cluster.kubeconfig.clone(),
        context: cluster.context.clone(),
        registry: match cluster.registry.as_str() {
            "" => registry.to_owned(),
            asked => asked.to_owned(),
        },
        engine,
        lease: None,
    }
}
