//! Whether a command is about a cluster, and which.

use super::args::BackendArg;
use super::args::Command;
use super::settings::Settings;
use crate::backend::kubernetes::client;
use crate::stack;

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
    let stack = stack::load(&settings.load).ok().map(|loaded| loaded.stack);
    let backend = match &stack {
        Some(stack) => settings.backend_of(stack),
        None => settings.backend.unwrap_or(BackendArg::Docker),
    };
    let registry = stack.and_then(|it| it.shop.registry).unwrap_or_default();
    (backend == BackendArg::Kubernetes).then_some(registry)
}

/// How the cluster is reached, and what its images are called.
pub(super) fn settings(settings: &Settings, registry: &str) -> client::Settings {
    let cluster = &settings.cluster;
    let mut engine = super::engine(settings);
    // A context of the kubeconfig is none of the engine's.
    engine.context = None;
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
