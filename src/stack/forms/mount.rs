//! `volumes: ["./data:/data:ro"]`.

use crate::stack::canonical::Context;
use crate::stack::path;
use crate::stack::report::At;
use crate::stack::yaml::Node;
use crate::stack::yaml::Value;

/// The short form `[source:]target[:options]`.
pub(crate) fn mount(node: &Node, at: &At<'_>, cx: &mut Context<'_>) -> Option<Node> {
    let Some(text) = node.as_text() else {
        cx.wrong(node, at, "text like ./data:/data, or a mapping");
        return None;
    };
    let span = node.span;
    let parts = sections(text);
    if let [only] = parts.as_slice()
        && only.contains(':')
    {
        cx.report
            .warning(
                "drive-letter",
                span,
                at,
                format!("{at}: `{only}` is read as a path on a Windows drive"),
            )
            .hint("give the volume a name of two letters or more");
    }
    let (source, target, options) = match parts.as_slice() {
        _ if text.is_empty() || parts.iter().any(|part| part.is_empty()) => {
            cx.invalid(node, at, "a volume", "./data:/data or data:/data:ro");
            return None;
        }
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => {
            cx.invalid(node, at, "a volume", "./data:/data or data:/data:ro");
            return None;
        }
    };
    let is_bind = is_file_path(source);
    let kind = if is_bind { "bind" } else { "volume" };
    let mut mount = vec![("type", Node::text(kind, span))];
    if !source.is_empty() {
        mount.push(("source", Node::text(source, span)));
    }
    mount.push(("target", Node::text(target, span)));
    let mut details: Vec<(&str, Node)> = Vec::new();
    if is_bind {
        details.push(("create_host_path", Node::new(Value::Bool(true), span)));
    }
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => mount.push(("read_only", Node::new(Value::Bool(true), span))),
            "rw" => {}
            "nocopy" if !is_bind => {
                details.push(("nocopy", Node::new(Value::Bool(true), span)));
            }
            "z" | "Z" if is_bind => details.push(("selinux", Node::text(option, span))),
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" if is_bind => {
                details.push(("propagation", Node::text(option, span)));
            }
            _ => {
                cx.report
                    .warning(
                        "mount-option",
                        span,
                        at,
                        format!("{at}: the option `{option}` means nothing for a {kind}"),
                    )
                    .hint("known are ro, rw, nocopy (volumes), z, Z, and [r]private, [r]shared, [r]slave (binds)");
            }
        }
    }
    mount.push((kind, Node::map(span, details)));
    Some(Node::map(span, mount))
}

/// Splits at colons, except behind a Windows drive and inside `${…}`.
fn sections(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    let mut depth = 0_usize;
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'$' if bytes.get(index + 1) == Some(&b'{') => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b':' if depth == 0 => {
                let is_drive = index == begin + 1 && bytes[begin].is_ascii_alphabetic();
                if !is_drive {
                    parts.push(&text[begin..index]);
                    begin = index + 1;
                }
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

fn is_file_path(source: &str) -> bool {
    let bytes = source.as_bytes();
    source.starts_with(['.', '/', '~'])
        || source.starts_with("\\\\")
        || (bytes.len() > 1 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':')
}

/// Paths of a mount in long form.
pub(crate) fn finish_mount(node: &mut Node, at: &At<'_>, cx: &mut Context<'_>) {
    let is_bind = node.text_of("type") == Some("bind");
    let span = node.span;
    let Some(map) = node.as_map_mut() else {
        return;
    };
    if let Some(target) = map.get_mut("target") {
        if let Value::Text(text) = &mut target.node.value {
            *text = path::clean_target(text);
        }
    } else if map.contains_key("type") {
        cx.report
            .error("missing-key", span, at, format!("{at} has no `target`"))
            .hint("add `target: /path/in/the/container`");
    }
    if !is_bind {
        return;
    }
    match map.get_mut("source").map(|entry| &mut entry.node.value) {
        Some(Value::Text(text)) if !text.is_empty() => *text = cx.absolute(text),
        _ => {
            cx.report
                .error(
                    "missing-key",
                    span,
                    at,
                    format!("{at} is a bind mount and has no `source`"),
                )
                .hint("add `source: ./folder`");
        }
    }
}
