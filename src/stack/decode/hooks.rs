//! `x-shop.hooks`.

use super::Decoder;
use super::service::words;
use super::text;
use super::variables;
use crate::stack::model::Hooks;
use crate::stack::model::ShopHook;
use crate::stack::report::At;
use crate::stack::report::did_you_mean;
use crate::stack::yaml::Node;

impl Decoder<'_> {
    /// The `hooks` of an `x-shop`.
    pub(super) fn hooks(&mut self, shop: &Node, at: &At<'_>) -> Option<Hooks> {
        let node = shop.get("hooks").filter(|node| node.as_map().is_some())?;
        let at = at.key("hooks");
        Some(Hooks {
            service: text(node, "service"),
            pre_deploy: self.hook(node, "pre_deploy", &at),
            post_deploy: self.hook(node, "post_deploy", &at),
            on_rollback: self.hook(node, "on_rollback", &at),
            place: self.place(node.span),
        })
    }

    /// The same of the whole stack, whose service has to exist.
    pub(super) fn stack_hooks(
        &mut self,
        shop: &Node,
        services: &[&str],
        at: &At<'_>,
    ) -> Option<Hooks> {
        let hooks = self.hooks(shop, at)?;
        let named = shop.get("hooks")?.get("service")?;
        let wanted = named.as_text()?;
        if !services.contains(&wanted) {
            let at = at.key("hooks");
            let message = format!("{at} run in `{wanted}`, and there is no such service");
            let finding = self
                .report
                .error("unknown-service", named.span, &at, message);
            finding.hint(match did_you_mean(wanted, services.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("add the service `{wanted}`, or name another one"),
            });
        }
        Some(hooks)
    }

    fn hook(&mut self, hooks: &Node, key: &str, at: &At<'_>) -> Option<ShopHook> {
        let node = hooks.get(key).filter(|node| node.as_map().is_some())?;
        let at = at.key(key);
        let command = words(node, "command")?;
        if command.is_empty() {
            let empty = node.get("command")?;
            let message = format!("{at} has an empty command");
            self.report
                .error("value", empty.span, &at, message)
                .hint("write [/app, migrate], or remove the hook");
            return None;
        }
        let timeout = self.duration(node, "timeout", &at);
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            let zero = node.get("timeout")?;
            self.invalid(zero, &at.key("timeout"), "longer than 0", "write 60s");
        }
        Some(ShopHook {
            command,
            timeout: timeout.unwrap_or(ShopHook::TIMEOUT),
            environment: variables(node, "environment"),
            place: self.place(node.span),
        })
    }
}
