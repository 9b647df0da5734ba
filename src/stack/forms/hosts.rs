//! `extra_hosts`: canonical as a mapping of names to lists of addresses.

use crate::stack::canonical::Context;
use crate::stack::report::At;
use crate::stack::yaml::Entry;
use crate::stack::yaml::Map;
use crate::stack::yaml::Node;
use crate::stack::yaml::Value;

/// A mapping `name: address`, `name: [address, …]`, or a list of
/// `name=address` and the older `name:address`.
pub(crate) fn hosts(node: &mut Node, at: &At<'_>, cx: &mut Context<'_>) {
    let tag = node.tag;
    let span = node.span;
    let mut all = Map::new();
    match std::mem::replace(&mut node.value, Value::Null) {
        Value::Map(map) => {
            for (name, mut entry) in map {
                let addresses = match std::mem::replace(&mut entry.node.value, Value::Null) {
                    Value::List(list) => list,
                    value @ Value::Text(_) => vec![Node::new(value, entry.node.span)],
                    other => {
                        entry.node.value = other;
                        cx.wrong(&entry.node, &at.key(&name), "text with an address");
                        continue;
                    }
                };
                for address in addresses {
                    let key = entry.key;
                    add(&mut all, &name, key, &address, at, cx);
                }
            }
        }
        Value::List(list) => {
            for (index, line) in list.into_iter().enumerate() {
                let at = at.index(index);
                let Some(text) = line.as_text() else {
                    cx.wrong(&line, &at, "text like name=address");
                    continue;
                };
                match text.split_once('=').or_else(|| text.split_once(':')) {
                    Some((name, addresses)) => {
                        for address in addresses.split(',') {
                            let address = Node::text(address, line.span);
                            add(&mut all, name, line.span, &address, &at, cx);
                        }
                    }
                    None => cx.invalid(&line, &at, "a host with its address", "db=10.0.0.5"),
                }
            }
        }
        other => {
            node.value = other;
            cx.wrong(node, at, "a mapping or a list of name=address");
            return;
        }
    }
    *node = Node::new(Value::Map(all), span);
    node.tag = tag;
}

fn add(
    all: &mut Map,
    name: &str,
    key: crate::stack::source::Span,
    address: &Node,
    at: &At<'_>,
    cx: &mut Context<'_>,
) {
    let Some(text) = address.as_text() else {
        cx.wrong(address, &at.key(name), "text with an address");
        return;
    };
    if name.is_empty() || name.contains([':', '=']) {
        cx.report
            .error("value", key, at, format!("`{name}` is no host name"))
            .hint("write name=address");
        return;
    }
    let plain = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let entry = all.entry(name.to_owned()).or_insert_with(|| Entry {
        key,
        node: Node::new(Value::List(Vec::new()), address.span),
    });
    if let Value::List(list) = &mut entry.node.value {
        list.push(Node::text(plain, address.span));
    }
}
