//! Hooks of a service and of the stack.

use std::time::Duration;

use super::service::READY_DEADLINE;
use super::service::millis;
use crate::stack::Stack;
use crate::stack::model;
use crate::state::hooks::Hook;
use crate::state::hooks::Hooks;
use crate::state::hooks::Inside;
use crate::state::hooks::Lifecycle;
use crate::state::hooks::PreStart;
use crate::state::hooks::StackHooks;

/// How long the engine waits for a container to stop where the file does not say.
const GRACE: Duration = Duration::from_secs(10);

/// The hooks of one service.
pub(super) fn of_service(service: &model::Service) -> Hooks {
    let declared = service.shop.as_ref().and_then(|shop| shop.hooks.as_ref());
    declared.map(hooks).unwrap_or_default()
}

/// The commands inside the replicas of a service. After the start they may take as long
/// as a replica may take to get ready, before the stop as long as a stop.
pub(super) fn inside(
    service: &model::Service,
    ready_ms: Option<u64>,
    grace: Option<Duration>,
) -> Lifecycle {
    let all = |hooks: &[model::Hook]| hooks.iter().map(command).collect();
    Lifecycle {
        post_start: all(&service.post_start),
        pre_stop: all(&service.pre_stop),
        start_limit_ms: ready_ms.unwrap_or_else(|| millis(READY_DEADLINE)),
        stop_limit_ms: millis(grace.unwrap_or(GRACE)),
    }
}

fn command(hook: &model::Hook) -> Inside {
    Inside {
        command: hook.command.clone(),
        user: hook.user.clone(),
        privileged: hook.privileged,
        working_dir: hook.working_dir.clone(),
        environment: hook.environment.clone(),
    }
}

/// What runs before a replica of a service starts.
pub(super) fn before(service: &model::Service) -> Vec<PreStart> {
    let all = service.pre_start.iter();
    all.map(|step| PreStart {
        command: step.command.clone(),
        image: step.image.clone(),
        user: step.user.clone(),
        privileged: step.privileged,
        working_dir: step.working_dir.clone(),
        environment: step.environment.clone(),
        per_replica: step.per_replica,
    })
    .collect()
}

/// The stack's own hooks.
pub(super) fn of_stack(stack: &Stack) -> Option<StackHooks> {
    let declared = stack.shop.hooks.as_ref()?;
    Some(StackHooks {
        service: declared.service.clone()?,
        hooks: hooks(declared),
    })
}

fn hooks(declared: &model::Hooks) -> Hooks {
    Hooks {
        pre_deploy: declared.pre_deploy.as_ref().map(hook),
        post_deploy: declared.post_deploy.as_ref().map(hook),
        on_rollback: declared.on_rollback.as_ref().map(hook),
    }
}

fn hook(declared: &model::ShopHook) -> Hook {
    Hook {
        command: declared.command.clone(),
        timeout_ms: millis(declared.timeout),
        environment: declared.environment.clone(),
    }
}
