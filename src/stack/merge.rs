//! The override rules of the specification, over canonical trees. Pure.
//!
//! Mappings merge by key, lists are appended and then thinned by identity,
//! scalars are replaced; the table of keys names the exceptions. `!reset`
//! removes what was there, `!override` replaces it.

use super::canonical;
use super::canonical::keep_last;
use super::forms::port_identity;
use super::keys::Key;
use super::keys::Merge;
use super::keys::Object;
use super::keys::Shape;
use super::keys::Unique;
use super::report::At;
use super::report::Report;
use super::yaml::Node;
use super::yaml::Tag;
use super::yaml::Value;

/// Merges a later tree into an earlier one.
pub(crate) fn merge(
    base: Node,
    over: Node,
    shape: &Shape,
    at: &At<'_>,
    report: &mut Report,
) -> Node {
    merge_key(base, over, shape, Merge::ByShape, at, report)
}

fn merge_key(
    base: Node,
    over: Node,
    shape: &Shape,
    rule: Merge,
    at: &At<'_>,
    report: &mut Report,
) -> Node {
    if over.tag == Some(Tag::Override) {
        return cleared(over);
    }
    if rule == Merge::Replace {
        return cleared(over);
    }
    if over.is_null() {
        return base;
    }
    if base.is_null() {
        return cleared(over);
    }
    if rule == Merge::Logging && !same_driver(&base, &over) {
        return cleared(over);
    }
    match (shape, &base.value, &over.value) {
        (Shape::Nullable(inner), _, _) => merge_key(base, over, inner, rule, at, report),
        (
            Shape::Object(known) | Shape::Short { object: known, .. },
            Value::Map(_),
            Value::Map(_),
        ) => {
            if known.name == "ulimit" {
                return cleared(over);
            }
            maps(base, over, at, report, |name| Inner::of_object(known, name))
        }
        (Shape::Map { of, .. } | Shape::Named { of, .. }, Value::Map(_), Value::Map(_)) => {
            maps(base, over, at, report, |_| Inner::shape(of))
        }
        (Shape::Pairs(_), Value::Map(_), Value::Map(_)) => {
            // Replaced by key, since a variable without a value says something.
            maps(base, over, at, report, |_| Inner {
                shape: &Shape::Text,
                rule: Merge::Replace,
            })
        }
        (Shape::Hosts, Value::Map(_), Value::Map(_)) => hosts(base, over),
        (Shape::List { .. }, Value::List(_), Value::List(_)) if rule == Merge::Pools => {
            pools(base, over, at, report)
        }
        (
            Shape::List { unique, .. } | Shape::OneOrList { unique, .. },
            Value::List(_),
            Value::List(_),
        ) => {
            let identity = match unique {
                Unique::By(identity) => Some(*identity),
                Unique::Free | Unique::Refuse => None,
            };
            let merged = append(base, over, identity);
            if matches!(unique, Unique::Refuse) {
                canonical::refuse_twice(merged.as_list().unwrap_or_default(), at, report);
            }
            merged
        }
        (Shape::Ports, Value::List(_), Value::List(_)) => append(base, over, Some(port_identity)),
        (Shape::Any, Value::Map(_), Value::Map(_)) => maps(base, over, at, report, |_| Inner::ANY),
        (Shape::Any, Value::List(_), Value::List(_)) => append(base, over, None),
        (_, Value::Map(_) | Value::List(_), other)
            if std::mem::discriminant(other) != std::mem::discriminant(&base.value) =>
        {
            report
                .error(
                    "merge",
                    over.span,
                    at,
                    format!(
                        "{at} is {} here and {} in the earlier file",
                        over.kind(),
                        base.kind()
                    ),
                )
                .related(base.span, "the earlier one")
                .hint("use the same form in both, or tag it `!override`");
            base
        }
        _ => cleared(over),
    }
}

/// What is known about the value of one key of two mappings.
struct Inner<'s> {
    shape: &'s Shape,
    rule: Merge,
}

impl<'s> Inner<'s> {
    const ANY: Inner<'static> = Inner {
        shape: &Shape::Any,
        rule: Merge::ByShape,
    };

    fn shape(shape: &'s Shape) -> Self {
        Self {
            shape,
            rule: Merge::ByShape,
        }
    }

    fn of_object(known: &'static Object, name: &str) -> Inner<'static> {
        known
            .key(name)
            .map_or(Inner::ANY, |key: &'static Key| Inner {
                shape: &key.shape,
                rule: key.merge,
            })
    }
}

fn maps<'s>(
    mut base: Node,
    over: Node,
    at: &At<'_>,
    report: &mut Report,
    inner: impl Fn(&str) -> Inner<'s>,
) -> Node {
    let (Value::Map(into), Value::Map(from)) = (&mut base.value, over.value) else {
        return base;
    };
    for (name, mut entry) in from {
        let before = into.remove(&name);
        if entry.node.tag == Some(Tag::Reset) {
            continue;
        }
        entry.node = match before {
            Some(before) => {
                let Inner { shape, rule } = inner(&name);
                merge_key(before.node, entry.node, shape, rule, &at.key(&name), report)
            }
            None => cleared(entry.node),
        };
        into.insert(name, entry);
    }
    base
}

fn append(mut base: Node, over: Node, identity: Option<fn(&Node) -> String>) -> Node {
    if let (Value::List(into), Value::List(from)) = (&mut base.value, over.value) {
        into.extend(
            from.into_iter()
                .filter(|entry| entry.tag != Some(Tag::Reset))
                .map(cleared),
        );
        if let Some(identity) = identity {
            keep_last(into, identity);
        }
    }
    base
}

fn hosts(mut base: Node, over: Node) -> Node {
    if let (Value::Map(into), Value::Map(from)) = (&mut base.value, over.value) {
        for (name, entry) in from {
            match into.get_mut(&name).map(|entry| &mut entry.node.value) {
                Some(Value::List(addresses)) => {
                    let Value::List(more) = entry.node.value else {
                        continue;
                    };
                    for address in more {
                        if !addresses.iter().any(|known| known.value == address.value) {
                            addresses.push(address);
                        }
                    }
                }
                _ => {
                    into.insert(name, entry);
                }
            }
        }
    }
    base
}

fn same_driver(base: &Node, over: &Node) -> bool {
    match (base.text_of("driver"), over.text_of("driver")) {
        (Some(base), Some(over)) => base == over,
        _ => true,
    }
}

/// Address pools with the same subnet merge; others are added.
fn pools(mut base: Node, over: Node, at: &At<'_>, report: &mut Report) -> Node {
    if let (Value::List(into), Value::List(from)) = (&mut base.value, over.value) {
        for pool in from {
            let subnet = pool.text_of("subnet").map(str::to_owned);
            let same = into
                .iter()
                .position(|known| known.text_of("subnet") == subnet.as_deref());
            match same {
                Some(index) => {
                    let known = into.remove(index);
                    let merged = maps(known, pool, at, report, |_| Inner::ANY);
                    into.insert(index, merged);
                }
                None => into.push(pool),
            }
        }
    }
    base
}

/// Removes `!reset` values, and the tags that have done their work.
pub(crate) fn cleared(mut node: Node) -> Node {
    node.tag = None;
    match &mut node.value {
        Value::Map(map) => {
            for (name, mut entry) in std::mem::take(map) {
                if entry.node.tag != Some(Tag::Reset) {
                    entry.node = cleared(entry.node);
                    map.insert(name, entry);
                }
            }
        }
        Value::List(list) => {
            list.retain(|entry| entry.tag != Some(Tag::Reset));
            for entry in list.iter_mut() {
                let inner = std::mem::replace(entry, Node::new(Value::Null, entry.span));
                *entry = cleared(inner);
            }
        }
        _ => {}
    }
    node
}

/// Whether two trees say the same, wherever they were written.
pub(crate) fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Map(one), Value::Map(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|((name, a), (other, b))| name == other && same(&a.node, &b.node))
        }
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same(a, b))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::canonical::Context;
    use crate::stack::canonical::object;
    use crate::stack::keys::STACK;
    use crate::stack::source::Sources;
    use crate::stack::yaml;

    /// The services of two files merged, as `key: value` lines.
    fn merged(base: &str, over: &str) -> String {
        let mut sources = Sources::default();
        let mut report = Report::default();
        let mut trees = Vec::new();
        for text in [base, over] {
            let text = format!("services: {{a: {text}}}");
            let file = sources.add("file", &text);
            let mut tree = yaml::read(&text, file, &mut report).remove(0);
            let mut cx = Context {
                report: &mut report,
                base: std::path::Path::new("/base"),
                home: None,
                raw: false,
            };
            object(&mut tree, &STACK, &At::ROOT, &mut cx);
            trees.push(tree);
        }
        let over = trees.remove(1);
        let base = cleared(trees.remove(0));
        let node = merge(base, over, &Shape::Object(&STACK), &At::ROOT, &mut report);
        let problems = report.finish(&sources);
        assert!(problems.list.is_empty(), "{problems}");
        let mut lines = Vec::new();
        show(&node, "", &mut lines);
        lines.join("\n").replace("services.a.", "")
    }

    fn show(node: &Node, path: &str, lines: &mut Vec<String>) {
        match &node.value {
            Value::Map(map) => {
                for (name, entry) in map {
                    let dot = if path.is_empty() { "" } else { "." };
                    show(&entry.node, &format!("{path}{dot}{name}"), lines);
                }
            }
            Value::List(list) => {
                for (index, entry) in list.iter().enumerate() {
                    show(entry, &format!("{path}[{index}]"), lines);
                }
            }
            Value::Null => lines.push(format!("{path}: null")),
            _ => lines.push(format!(
                "{path}: {}",
                node.scalar_text().unwrap_or_default()
            )),
        }
    }

    #[test]
    fn scalars_are_replaced_and_nothing_overrides_nothing() {
        assert_eq!(
            merged("{image: x, user: u}", "{image: y, deploy: null}"),
            "deploy: null\nimage: y\nuser: u"
        );
    }

    #[test]
    fn lists_are_appended_and_thinned() {
        assert_eq!(
            merged(
                "{cap_add: [A, B], dns: 1.1.1.1}",
                "{cap_add: [B, C], dns: [2.2.2.2]}"
            ),
            "cap_add[0]: A\ncap_add[1]: B\ncap_add[2]: C\ndns[0]: 1.1.1.1\ndns[1]: 2.2.2.2"
        );
    }

    #[test]
    fn environment_merges_by_name_in_both_forms() {
        assert_eq!(
            merged(
                "{environment: [A=1, B=2]}",
                "{environment: {B: 3, A: null}}"
            ),
            "environment.A: null\nenvironment.B: 3"
        );
    }

    #[test]
    fn commands_are_replaced() {
        assert_eq!(merged("{command: [a, b]}", "{command: c}"), "command[0]: c");
    }

    #[test]
    fn volumes_merge_by_target_and_ports_by_place() {
        assert_eq!(
            merged(
                "{tmpfs: /t, volumes: ['one:/a', 'two:/b']}",
                "{volumes: ['new:/a:ro']}"
            ),
            "tmpfs[0]: /t\nvolumes[0].read_only: true\nvolumes[0].source: new\nvolumes[0].target: /a\n\
             volumes[0].type: volume\nvolumes[1].source: two\nvolumes[1].target: /b\nvolumes[1].type: volume"
        );
        assert_eq!(
            merged(
                "{ports: ['80:80']}",
                "{ports: [{target: 80, published: 80, name: web}]}"
            ),
            "ports[0].name: web\nports[0].published: 80\nports[0].target: 80"
        );
    }

    #[test]
    fn log_options_merge_only_with_the_same_driver() {
        assert_eq!(
            merged(
                "{logging: {driver: a, options: {x: 1}}}",
                "{logging: {driver: a, options: {y: 2}}}"
            ),
            "logging.driver: a\nlogging.options.x: 1\nlogging.options.y: 2"
        );
        assert_eq!(
            merged(
                "{logging: {driver: a, options: {x: 1}}}",
                "{logging: {driver: b}}"
            ),
            "logging.driver: b"
        );
    }

    #[test]
    fn reset_removes_and_override_replaces() {
        assert_eq!(
            merged(
                "{image: x, command: c, labels: {a: 1, b: 2}, ports: ['80']}",
                "{command: !reset null, labels: !override {c: 3}, ports: !override ['81']}"
            ),
            "image: x\nlabels.c: 3\nports[0].mode: ingress\nports[0].protocol: tcp\nports[0].target: 81"
        );
    }
}
