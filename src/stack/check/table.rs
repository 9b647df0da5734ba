//! What the table of keys says of a merged stack: keys that are missing, and
//! keys that do not act.

use crate::stack::keys::Key;
use crate::stack::keys::Object;
use crate::stack::keys::STACK;
use crate::stack::keys::Shape;
use crate::stack::keys::Support;
use crate::stack::report::At;
use crate::stack::report::Report;
use crate::stack::source::Span;
use crate::stack::yaml::Map;
use crate::stack::yaml::Node;

pub(super) fn check(tree: &Node, inactive: &Map, report: &mut Report) {
    let mut walk = Walk {
        report,
        names_support: true,
    };
    walk.object(tree, &STACK, Span::default(), &At::ROOT);
    walk.names_support = false;
    let at = At::ROOT.key("services");
    for (name, entry) in inactive {
        walk.object(
            &entry.node,
            &crate::stack::keys::SERVICE,
            entry.key,
            &at.key(name),
        );
    }
}

struct Walk<'r> {
    report: &'r mut Report,
    /// Whether keys that do not act are named.
    names_support: bool,
}

impl Walk<'_> {
    fn object(&mut self, node: &Node, known: &Object, key: Span, at: &At<'_>) {
        let Some(map) = node.as_map() else {
            return;
        };
        for needed in known.keys.iter().filter(|key| key.needed) {
            if !map.contains_key(needed.name) {
                let span = if key.file == 0 { node.span } else { key };
                self.report
                    .error(
                        "missing-key",
                        span,
                        at,
                        format!("{at} has no `{}`", needed.name),
                    )
                    .hint(format!("add `{}: {}`", needed.name, example(needed)));
            }
        }
        for (name, entry) in map {
            let Some(key) = known.key(name) else {
                continue;
            };
            let at = at.key(name);
            self.support(key, entry.key, &at);
            self.value(&entry.node, &key.shape, entry.key, &at);
        }
    }

    fn support(&mut self, key: &Key, span: Span, at: &At<'_>) {
        // What nobody wrote need not be named.
        if !self.names_support || span.file == 0 {
            return;
        }
        let Support::Named(named) = key.support else {
            return;
        };
        let message = format!("{at} has no effect: {}", named.reason);
        let hint = match named.instead {
            Some(instead) => instead.to_owned(),
            None => format!("remove it, or list {} in x-shop.lint.silence", named.lint),
        };
        self.report
            .warning(named.lint, span, at, message)
            .hint(hint);
    }

    fn value(&mut self, node: &Node, shape: &Shape, key: Span, at: &At<'_>) {
        match shape {
            Shape::Nullable(of) => self.value(node, of, key, at),
            Shape::Object(known) | Shape::Short { object: known, .. } => {
                self.object(node, known, key, at);
            }
            Shape::Map { of, .. } | Shape::Named { of, .. } => {
                for (name, entry) in node.as_map().into_iter().flatten() {
                    self.value(&entry.node, of, entry.key, &at.key(name));
                }
            }
            Shape::List { of, .. } | Shape::OneOrList { of, .. } => {
                self.list(node, of, at);
            }
            Shape::Ports => self.list(node, &Shape::Object(&crate::stack::keys::PORT), at),
            _ => {}
        }
    }

    fn list(&mut self, node: &Node, of: &Shape, at: &At<'_>) {
        for (index, entry) in node.as_list().unwrap_or_default().iter().enumerate() {
            self.value(entry, of, entry.span, &at.index(index));
        }
    }
}

fn example(key: &Key) -> &'static str {
    match &key.shape {
        Shape::Choice(choices) => choices[0],
        Shape::Duration => "30s",
        Shape::Int { .. } => "1",
        Shape::List { .. } => "[gpu]",
        _ => "…",
    }
}
