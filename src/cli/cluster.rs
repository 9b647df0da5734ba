//! Whether a command is about a cluster, and which.

use super::args::BackendArg;
use super::args::Command;
use super::settings::Settings;
use crate::backend::kubernetes::client;
use crate::stack;
use crate::stack::Stack;

/// The stack of a command that is about a cluster, as far as it can be loaded; `None` where
/// the command is about an engine. Images are built by an engine in any case.
pub(super) fn meant(command: &Command, settings: &Settings) -> Option<Option<Stack>> {
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
    (backend == BackendArg::Kubernetes).then_some(stack)
}

/// How the cluster is reached, and what its images are called.
pub(super) fn settings(settings: &Settings, stack: Option<&Stack>) -> client::Settings {
    let cluster = &settings.cluster;
    let mut engine = super::engine(settings);
    // A context of the kubeconfig is none of the engine's.
    engine.context = None;
    client::Settings {
        kubeconfig: cluster.kubeconfig.clone(),
        context: cluster.context.clone(),
        registry: if cluster.registry.is_empty() {
            stack
                .and_then(|it| it.shop.registry.clone())
                .unwrap_or_default()
        } else {
            cluster.registry.clone()
        },
        engine,
        lease: None,
    }
}
