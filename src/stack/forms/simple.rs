//! Short forms of one line each, and the paths inside long forms.

use crate::stack::canonical::Context;
use crate::stack::path;
use crate::stack::report::At;
use crate::stack::yaml::Entry;
use crate::stack::yaml::Node;
use crate::stack::yaml::Value;

/// The text of a short form, or a report of what else it is.
fn text_or_report<'n>(
    node: &'n Node,
    at: &At<'_>,
    cx: &mut Context<'_>,
    wanted: &str,
) -> Option<&'n str> {
    let text = node.as_text();
    if text.is_none() {
        cx.wrong(node, at, wanted);
    }
    text
}

/// A mapping with one key.
fn only(key: &str, text: &str, node: &Node) -> Node {
    Node::map(node.span, [(key, Node::text(text, node.span))])
}

/// `build: ./folder`
pub(crate) fn build(node: &Node, at: &At<'_>, cx: &mut Context<'_>) -> Option<Node> {
    let text = text_or_report(node, at, cx, "text with a folder, or a mapping")?;
    Some(only("context", text, node))
}

/// Paths of `additional_contexts` and of `ssh`.
pub(crate) fn finish_build(node: &mut Node, _at: &At<'_>, cx: &mut Context<'_>) {
    for (key, may_be_remote) in [("additional_contexts", true), ("ssh", false)] {
        let places = node
            .as_map_mut()
            .and_then(|map| map.get_mut(key))
            .and_then(|entry| entry.node.as_map_mut());
        for entry in places.into_iter().flat_map(|map| map.values_mut()) {
            if let Value::Text(text) = &mut entry.node.value
                && !text.is_empty()
                && !(may_be_remote && path::is_remote(text))
            {
                *text = cx.absolute(text);
            }
        }
    }
}

/// `depends_on: [db]`
pub(crate) fn dependency(name: &Node) -> Node {
    let span = name.span;
    Node::map(
        span,
        [
            ("condition", Node::text("service_started", span)),
            ("required", Node::new(Value::Bool(true), span)),
        ],
    )
}

/// `devices: ["/dev/a:/dev/b:rw"]`
pub(crate) fn device(node: &Node, at: &At<'_>, cx: &mut Context<'_>) -> Option<Node> {
    let text = text_or_report(node, at, cx, "text like /dev/a:/dev/b:rwm, or a mapping")?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, target] => (source, target, "rwm"),
        [source, target, permissions] => (source, target, permissions),
        _ => {
            cx.invalid(node, at, "a device", "/dev/host:/dev/container:rwm");
            return None;
        }
    };
    let target = if target.is_empty() { source } else { target };
    Some(Node::map(
        node.span,
        [
            ("source", Node::text(source, node.span)),
            ("target", Node::text(target, node.span)),
            ("permissions", Node::text(permissions, node.span)),
        ],
    ))
}

/// `env_file: [app.env]`
pub(crate) fn env_file(node: &Node, at: &At<'_>, cx: &mut Context<'_>) -> Option<Node> {
    let text = text_or_report(node, at, cx, "text with a path, or a mapping")?;
    Some(only("path", text, node))
}

/// `extends: base`
pub(crate) fn extends(node: &Node, at: &At<'_>, cx: &mut Context<'_>) -> Option<Node> {
    let text = text_or_report(node, at, cx, "text with a service, or a mapping")?;
    Some(only("service", text, node))
}

/// `include: [other.yaml]`
pub(crate) fn include(node: &Node, at: &At<'_>, cx: &mut Context<'_>) -> Option<Node> {
    let text = text_or_report(node, at, cx, "text with a path, or a mapping")?;
    Some(only("path", text, node))
}

/// `gpus: all`
pub(crate) fn all_gpus(node: &Node, at: &At<'_>, cx: &mut Context<'_>) -> Option<Node> {
    let text = text_or_report(node, at, cx, "text `all`, or a list of mappings")?;
    if text != "all" {
        cx.invalid(node, at, "`all`", "gpus: all");
        return None;
    }
    Some(only("count", text, node))
}

/// `secrets: [password]`
pub(crate) fn grant(node: &Node, at: &At<'_>, cx: &mut Context<'_>) -> Option<Node> {
    let text = text_or_report(node, at, cx, "text with a name, or a mapping")?;
    Some(only("source", text, node))
}

/// `nofile: 1024`
pub(crate) fn ulimit(node: &Node, at: &At<'_>, cx: &mut Context<'_>) -> Option<Node> {
    if !matches!(node.value, Value::Int(_) | Value::Text(_)) {
        cx.wrong(node, at, "a whole number, or a mapping of soft and hard");
        return None;
    }
    Some(Node::map(node.span, [("single", node.clone())]))
}

/// `external: true`, and the old `external: {name: …}`, which gives its name to
/// the `name` beside it in [`finish_name`].
pub(crate) fn external(node: &mut Node, at: &At<'_>, cx: &mut Context<'_>) {
    match &node.value {
        Value::Bool(_) => {}
        Value::Map(map) => {
            let known = map.keys().all(|key| key == "name" || key.starts_with("x-"));
            if !known {
                cx.wrong(node, at, "a boolean");
            }
        }
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "on" => node.value = Value::Bool(true),
            "false" | "no" | "n" | "off" => node.value = Value::Bool(false),
            _ if cx.raw => {}
            _ => cx.invalid(node, at, "a boolean", "external: true"),
        },
        _ => cx.wrong(node, at, "a boolean"),
    }
}

/// Takes the name out of `external: {name: …}`.
pub(crate) fn finish_name(node: &mut Node, at: &At<'_>, cx: &mut Context<'_>) {
    let Some(map) = node.as_map_mut() else {
        return;
    };
    let Some(external) = map.get_mut("external") else {
        return;
    };
    if external.node.as_map().is_none() {
        return;
    }
    let (key, span) = (external.key, external.node.span);
    let old = std::mem::replace(&mut external.node, Node::new(Value::Bool(true), span));
    cx.report
        .warning(
            "deprecated",
            key,
            at,
            "`external: {name: …}` is the old form",
        )
        .hint("write `external: true` and `name: …` beside it");
    let Some(given) = old.as_map().and_then(|map| map.get("name")) else {
        return;
    };
    match map.get("name") {
        Some(name) if name.node.value != given.node.value => {
            let other = name.node.span;
            cx.report
                .error(
                    "conflict",
                    given.node.span,
                    at,
                    "`external.name` and `name` differ",
                )
                .related(other, "the other name")
                .hint("keep `name` alone");
        }
        Some(_) => {}
        None => {
            let entry: Entry = given.clone();
            map.insert("name".to_owned(), entry);
        }
    }
}

/// The old `external`, and a bind mount in the options of the local driver.
pub(crate) fn finish_volume(node: &mut Node, at: &At<'_>, cx: &mut Context<'_>) {
    finish_name(node, at, cx);
    if node.text_of("driver") != Some("local") {
        return;
    }
    let options = node
        .as_map_mut()
        .and_then(|map| map.get_mut("driver_opts"))
        .and_then(|entry| entry.node.as_map_mut());
    if let Some(options) = options
        && options.get("o").and_then(|entry| entry.node.as_text()) == Some("bind")
        && let Some(device) = options.get_mut("device")
        && let Value::Text(text) = &mut device.node.value
    {
        *text = cx.absolute(if text.is_empty() { "." } else { text });
    }
}
