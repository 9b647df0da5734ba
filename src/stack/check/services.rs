//! One service: what it refers to, and what it says twice.

use std::collections::BTreeMap;

use super::One;
use super::Whole;
use super::inner;
use super::key_span;
use crate::stack::keys::SERVICE;
use crate::stack::report::At;
use crate::stack::report::Report;
use crate::stack::report::did_you_mean;
use crate::stack::source::Span;
use crate::stack::yaml::Node;
use crate::stack::yaml::Value;

pub(super) fn check(stack: &Whole<'_>, service: One<'_>, at: &At<'_>, report: &mut Report) {
    has_image(service, at, report);
    build(stack, service, at, report);
    networks(stack, service, at, report);
    links(service, at, report);
    health(service, at, report);
    references(stack, service, at, report);
    scale(service, at, report);
    limits(service, at, report);
    mounts(service, at, report);
    watch(service, at, report);
    devices(service, at, report);
}

fn has_image(service: One<'_>, at: &At<'_>, report: &mut Report) {
    let has = |key: &str| service.node.get(key).is_some_and(|node| !node.is_null());
    let named = service
        .node
        .text_of("image")
        .is_some_and(|image| !image.is_empty());
    // An image that is no text was reported where it stands.
    let broken = has("image") && service.node.text_of("image").is_none();
    // So was a base that could not be found, and a misspelt key.
    let broken = broken || has("extends") || has_typo(service.node);
    if named || broken || has("build") || has("provider") || service.node.as_map().is_none() {
        return;
    }
    report
        .error(
            "no-image",
            service.entry.key,
            at,
            format!("{at} has neither `image` nor `build`"),
        )
        .hint("add `image: name:tag`, or `build: ./folder`");
}

fn has_typo(service: &Node) -> bool {
    service.as_map().into_iter().flatten().any(|(key, _)| {
        SERVICE.key(key).is_none() && did_you_mean(key, ["image", "build", "extends"]).is_some()
    })
}

fn build(stack: &Whole<'_>, service: One<'_>, at: &At<'_>, report: &mut Report) {
    let Some(build) = service.node.get("build") else {
        return;
    };
    let at = at.key("build");
    if let (Some(_), Some(span)) = (
        build.get("dockerfile_inline"),
        key_span(build, "dockerfile"),
    ) {
        report
            .error(
                "conflict",
                span,
                &at,
                format!("{at} has both `dockerfile` and `dockerfile_inline`"),
            )
            .related(
                key_span(build, "dockerfile_inline").unwrap_or_default(),
                "the other one",
            )
            .hint("keep one of them");
    }
    let contexts = build.get("additional_contexts").and_then(Node::as_map);
    for (name, entry) in contexts.into_iter().flatten() {
        let target = entry
            .node
            .as_text()
            .and_then(|text| text.strip_prefix("service:"));
        let Some(target) = target else {
            continue;
        };
        let other = inner(stack.tree, &["services", target])
            .or_else(|| stack.inactive.get(target).map(|entry| &entry.node));
        let reason = match other {
            None => "there is no such service",
            Some(other) if other.get("build").is_none() => "that service has no build",
            Some(_) => continue,
        };
        report
            .error(
                "unknown-service",
                entry.node.span,
                &at.key(name),
                format!("the build context `{name}` is the service `{target}`: {reason}"),
            )
            .hint("name a service with a `build` section");
    }
    let platforms = build
        .get("platforms")
        .and_then(Node::as_list)
        .unwrap_or_default();
    if let Some(platform) = service.node.get("platform")
        && let Some(text) = platform.as_text()
        && !text.is_empty()
        && !platforms.is_empty()
        && !platforms.iter().any(|known| known.as_text() == Some(text))
    {
        report
            .error(
                "conflict",
                platform.span,
                &at,
                format!("the platform {text} is none of the platforms that are built"),
            )
            .related(platforms[0].span, "built for these")
            .hint(format!("add {text} to build.platforms"));
    }
}

/// A link by the service's own name asks for what a shared network gives anyway.
fn links(service: One<'_>, at: &At<'_>, report: &mut Report) {
    let at = at.key("links");
    for (index, link) in service.list("links").iter().enumerate() {
        let Some((other, alias)) = link.as_text().and_then(|text| text.split_once(':')) else {
            continue;
        };
        if alias == other {
            continue;
        }
        let at = at.index(index);
        report
            .warning(
                "not-supported",
                link.span,
                &at,
                format!(
                    "{at} has no effect: a link leads to one container, and the replicas of {other} come and go"
                ),
            )
            .hint(format!(
                "call it {other}, or give {other} the name: networks: {{default: {{aliases: [{alias}]}}}}"
            ));
    }
}

fn networks(stack: &Whole<'_>, service: One<'_>, at: &At<'_>, report: &mut Report) {
    let mode = service
        .node
        .text_of("network_mode")
        .is_some_and(|mode| !mode.is_empty());
    let count = service.map("networks").count();
    if mode && count > 0 {
        report
            .error(
                "conflict",
                service.key("network_mode"),
                at,
                format!("{at} has both `network_mode` and `networks`"),
            )
            .related(service.key("networks"), "the other one")
            .hint("keep one of them");
        return;
    }
    for (name, entry) in service.map("networks") {
        exists(
            stack,
            ("network", "networks", name),
            entry.key,
            &at.key("networks"),
            report,
        );
    }
}

/// Reports a name that the stack does not define.
fn exists(
    stack: &Whole<'_>,
    (kind, section, name): (&str, &str, &str),
    span: Span,
    at: &At<'_>,
    report: &mut Report,
) {
    let known = stack.tree.get(section).and_then(Node::as_map);
    if known.is_some_and(|map| map.contains_key(name)) {
        return;
    }
    let meant = did_you_mean(
        name,
        known.into_iter().flatten().map(|(name, _)| name.as_str()),
    );
    let finding = report.error(
        "undefined",
        span,
        at,
        format!("the {kind} `{name}` is not defined"),
    );
    finding.hint(match (meant, section) {
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, "secrets" | "configs") => {
            format!("add `{section}: {{{name}: {{file: ./{name}}}}}` at the top level")
        }
        (None, _) => format!("add `{section}: {{{name}: {{}}}}` at the top level"),
    });
}

fn references(stack: &Whole<'_>, service: One<'_>, at: &At<'_>, report: &mut Report) {
    for (index, mount) in service.list("volumes").iter().enumerate() {
        if mount.text_of("type") == Some("volume")
            && let Some(source) = mount.get("source")
            && let Some(name) = source.as_text()
            && !name.is_empty()
        {
            let list = at.key("volumes");
            exists(
                stack,
                ("volume", "volumes", name),
                source.span,
                &list.index(index),
                report,
            );
        }
    }
    let build_secrets = service
        .node
        .get("build")
        .and_then(|build| build.get("secrets"))
        .and_then(Node::as_list)
        .unwrap_or_default();
    for (kind, section, grants) in [
        ("secret", "secrets", service.list("secrets")),
        ("secret", "secrets", build_secrets),
        ("config", "configs", service.list("configs")),
    ] {
        for grant in grants {
            let source = grant.get("source");
            let name = source.and_then(Node::as_text).unwrap_or_default();
            let span = source.map_or(grant.span, |node| node.span);
            exists(stack, (kind, section, name), span, &at.key(section), report);
        }
    }
    for (name, entry) in service.map("models") {
        exists(
            stack,
            ("model", "models", name),
            entry.key,
            &at.key("models"),
            report,
        );
    }
}

fn health(service: One<'_>, at: &At<'_>, report: &mut Report) {
    let Some(test) = inner(service.node, &["healthcheck", "test"]) else {
        return;
    };
    let first = test.as_list().and_then(<[Node]>::first);
    if let Some(first) = first
        && !matches!(first.as_text(), Some("CMD" | "CMD-SHELL" | "NONE"))
    {
        report
            .error(
                "value",
                first.span,
                &at.key("healthcheck"),
                "a health check begins with CMD, CMD-SHELL or NONE",
            )
            .hint("write [\"CMD\", \"program\", \"argument\"]");
    }
}

fn scale(service: One<'_>, at: &At<'_>, report: &mut Report) {
    let scale = service.node.get("scale");
    let replicas = inner(service.node, &["deploy", "replicas"]);
    if let (Some(one), Some(other)) = (scale, replicas)
        && one.value != other.value
    {
        report
            .error(
                "conflict",
                one.span,
                at,
                format!("{at}: `scale` and `deploy.replicas` differ"),
            )
            .related(other.span, "the other number")
            .hint("remove `scale`");
    }
    let count = scale.or(replicas);
    if let (Some(count), Some(name)) = (count, service.node.get("container_name"))
        && matches!(count.value, Value::Int(number) if number > 1)
    {
        report
            .error(
                "conflict",
                name.span,
                at,
                format!("{at}: one container name cannot be given to several replicas"),
            )
            .related(count.span, "the number of replicas")
            .hint("remove `container_name`");
    }
}

/// The old keys and the ones of `deploy` must say the same.
fn limits(service: One<'_>, at: &At<'_>, report: &mut Report) {
    for (old, part, key) in [
        ("cpus", "limits", "cpus"),
        ("mem_limit", "limits", "memory"),
        ("mem_reservation", "reservations", "memory"),
        ("pids_limit", "limits", "pids"),
    ] {
        let Some(one) = service.node.get(old).filter(|node| !is_zero(node)) else {
            continue;
        };
        let Some(section) = inner(service.node, &["deploy", "resources", part]) else {
            continue;
        };
        let other = section.get(key);
        // An amount that could not be parsed was reported.
        if !is_amount(one) || other.is_some_and(|other| !is_amount(other)) {
            continue;
        }
        if other.is_some_and(|other| same_amount(one, other)) {
            continue;
        }
        let message = match other {
            Some(_) => format!("{at}: `{old}` and `deploy.resources.{part}.{key}` differ"),
            None => format!("{at}: `{old}` is missing in `deploy.resources.{part}`"),
        };
        report
            .error("conflict", one.span, at, message)
            .related(
                other
                    .map(|node| node.span)
                    .or_else(|| key_span(service.node, "deploy"))
                    .unwrap_or_default(),
                "the other place",
            )
            .hint(format!(
                "move it to `deploy.resources.{part}.{key}`, and remove `{old}`"
            ));
    }
}

fn is_amount(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => text.parse::<i64>().is_ok(),
        Value::Int(_) | Value::Float(_) => true,
        _ => false,
    }
}

fn is_zero(node: &Node) -> bool {
    matches!(node.scalar_text().as_deref(), Some("0" | "0.0"))
}

#[expect(clippy::cast_precision_loss, reason = "CPU counts are small")]
fn same_amount(one: &Node, other: &Node) -> bool {
    let number = |node: &Node| match &node.value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    };
    match (number(one), number(other)) {
        (Some(one), Some(other)) => (one - other).abs() < 1e-7,
        _ => one.value == other.value,
    }
}

/// Two mounts on one path.
fn mounts(service: One<'_>, at: &At<'_>, report: &mut Report) {
    let tmpfs = service.list("tmpfs").iter().filter_map(|node| {
        let path = node.as_text()?.split(':').next()?;
        Some((path, node.span))
    });
    let volumes = service.list("volumes").iter().filter_map(|node| {
        let target = node.get("target")?;
        Some((target.as_text()?, target.span))
    });
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    for (path, span) in tmpfs.chain(volumes) {
        match seen.get(path) {
            Some(first) => {
                report
                    .error(
                        "conflict",
                        span,
                        &at.key("volumes"),
                        format!("{at}: two mounts on {path}"),
                    )
                    .related(*first, "the other one")
                    .hint("remove one of them");
            }
            None => {
                seen.insert(path, span);
            }
        }
    }
}

fn watch(service: One<'_>, at: &At<'_>, report: &mut Report) {
    let watches = inner(service.node, &["develop", "watch"]).and_then(Node::as_list);
    for watch in watches.unwrap_or_default() {
        let action = watch.text_of("action").unwrap_or_default();
        if watch.get("target").is_none() && action.contains("sync") {
            report
                .error(
                    "missing-key",
                    watch.span,
                    &at.key("develop"),
                    format!("{at}: the watch action `{action}` needs a `target`"),
                )
                .hint("add `target: /path/in/the/container`");
        }
        if let Some(path) = watch.get("path")
            && path.as_text() == Some("")
        {
            report
                .error("value", path.span, &at.key("develop"), "the path is empty")
                .hint("write `path: ./src`");
        }
    }
}

fn devices(service: One<'_>, at: &At<'_>, report: &mut Report) {
    let reserved = inner(
        service.node,
        &["deploy", "resources", "reservations", "devices"],
    )
    .and_then(Node::as_list)
    .unwrap_or_default();
    for request in service.list("gpus").iter().chain(reserved) {
        if request.get("count").is_some() && request.get("device_ids").is_some() {
            report
                .error(
                    "conflict",
                    request.span,
                    at,
                    format!("{at}: a device request has both `count` and `device_ids`"),
                )
                .hint("keep one of them");
        }
    }
}
