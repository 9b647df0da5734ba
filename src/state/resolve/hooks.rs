//! Hooks of a service and of the stack.

use super::service::millis;
use crate::stack::Stack;
use crate::stack::model;
use crate::state::hooks::Hook;
use crate::state::hooks::Hooks;
use crate::state::hooks::StackHooks;

/// The hooks of one service.
pub(super) fn of_service(service: &model::Service) -> Hooks {
    let declared = service.shop.as_ref().and_then(|shop| shop.hooks.as_ref());
    declared.map(hooks).unwrap_or_default()
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
