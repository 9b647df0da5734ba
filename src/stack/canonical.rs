//! Checks a tree against the table of keys and turns it into canonical form:
//! long forms, parsed units, absolute paths.
//!
//! One file at a time, before files are merged, so that each problem points
//! into the file that has it. Everything wrong is reported; a value that
//! cannot be understood stays as it is.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::path::Path;

use super::forms;
use super::keys::Names;
use super::keys::NoValue;
use super::keys::Numbers;
use super::keys::Object;
use super::keys::Pairs;
use super::keys::Shape;
use super::keys::Unique;
use super::path;
use super::report::At;
use super::report::Report;
use super::report::did_you_mean;
use super::source::Span;
use super::units;
use super::yaml::Entry;
use super::yaml::Map;
use super::yaml::Node;
use super::yaml::Tag;
use super::yaml::Value;

/// What the values of one file are seen with.
pub(crate) struct Context<'a> {
    /// Where problems go.
    pub(crate) report: &'a mut Report,
    /// The folder that relative paths are resolved against.
    pub(crate) base: &'a Path,
    /// What `~` stands for.
    pub(crate) home: Option<&'a str>,
    /// Variables were not replaced: text with a `$` may be anything.
    pub(crate) raw: bool,
}

impl Context<'_> {
    /// An absolute path for one of the file.
    pub(crate) fn absolute(&self, text: &str) -> String {
        path::absolute(text, self.base, self.home)
    }

    /// Reports a value of the wrong kind.
    pub(crate) fn wrong(&mut self, node: &Node, at: &At<'_>, wanted: &str) {
        let kind = node.kind();
        let finding = self.report.error(
            "type",
            node.span,
            at,
            format!("{at} must be {wanted}, and this is {kind}"),
        );
        match &node.value {
            Value::Null => {
                finding.hint("give it a value, or remove the key");
            }
            Value::Int(number) if wanted.starts_with("text with a duration") => {
                finding.hint(format!("add a unit: {number}s"));
            }
            Value::Int(number) if wanted.starts_with("text with a number of bytes") => {
                finding.hint(format!("add a unit: {number}b"));
            }
            Value::Int(_) | Value::Float(_) | Value::Bool(_) if wanted.starts_with("text") => {
                if let Some(text) = node.scalar_text() {
                    finding.hint(format!("quote it: \"{text}\""));
                }
            }
            Value::Time(text) => {
                finding.hint(format!("quote it: \"{text}\""));
            }
            _ => {}
        }
    }

    /// Reports a value that is of the right kind and cannot be understood.
    pub(crate) fn invalid(&mut self, node: &Node, at: &At<'_>, wanted: &str, example: &str) {
        let shown = node.scalar_text().unwrap_or_default();
        self.report
            .error(
                "value",
                node.span,
                at,
                format!("{at}: `{shown}` is not {wanted}"),
            )
            .hint(format!("for example {example}"));
    }

    fn is_raw(&self, node: &Node) -> bool {
        self.raw && node.as_text().is_some_and(|text| text.contains('$'))
    }
}

/// Brings a value into the canonical form of its shape.
pub(crate) fn canonical(node: &mut Node, shape: &Shape, at: &At<'_>, cx: &mut Context<'_>) {
    if node.tag == Some(Tag::Reset) {
        return;
    }
    match shape {
        Shape::Any => {}
        Shape::Nullable(inner) => {
            if !node.is_null() {
                canonical(node, inner, at, cx);
            }
        }
        Shape::FlagOrMap => {
            if node.as_map().is_none() {
                scalar(node, &Shape::Flag, at, cx);
            }
        }
        Shape::Text
        | Shape::Flag
        | Shape::FlagOrText
        | Shape::Scalar
        | Shape::TextOrNumber
        | Shape::Port
        | Shape::Int { .. }
        | Shape::Number
        | Shape::Bytes { .. }
        | Shape::Duration
        | Shape::Cpus
        | Shape::Share
        | Shape::Mode
        | Shape::TmpfsMode
        | Shape::DeviceCount
        | Shape::Choice(_)
        | Shape::Path
        | Shape::Location => scalar(node, shape, at, cx),
        Shape::Words => forms::words(node, at, cx),
        Shape::HealthTest => forms::health_test(node, at, cx),
        Shape::Hosts => forms::hosts(node, at, cx),
        Shape::Ports => forms::ports(node, at, cx),
        Shape::External => forms::external(node, at, cx),
        Shape::List { of, unique } => list(node, of, *unique, at, cx),
        Shape::OneOrList { of, unique } => {
            if !matches!(node.value, Value::Null | Value::List(_) | Value::Map(_)) {
                let tag = node.tag.take();
                let span = node.span;
                let one = std::mem::replace(node, Node::new(Value::Null, span));
                *node = Node::new(Value::List(vec![one]), span);
                node.tag = tag;
            }
            list(node, of, *unique, at, cx);
        }
        Shape::Pairs(rules) => pairs(node, *rules, at, cx),
        Shape::Map { of, names } => map(node, of, *names, at, cx),
        Shape::Named { of, alone } => {
            names_alone(node, *alone, at, cx);
            if node.as_map().is_some() {
                map(node, of, Names::Any, at, cx);
            } else {
                cx.wrong(node, at, "a list of names, or a mapping");
            }
        }
        Shape::Object(known) => object(node, known, at, cx),
        Shape::Short {
            object: known,
            parse,
        } => {
            if node.as_map().is_none() && !cx.is_raw(node) {
                let Some(mut long) = parse(node, at, cx) else {
                    return;
                };
                long.tag = node.tag;
                *node = long;
            }
            if node.as_map().is_some() {
                object(node, known, at, cx);
            }
        }
    }
}

/// Canonical form of a mapping of known keys.
pub(crate) fn object(node: &mut Node, known: &'static Object, at: &At<'_>, cx: &mut Context<'_>) {
    let Some(map) = node.as_map_mut() else {
        cx.wrong(node, at, "a mapping");
        return;
    };
    for (name, entry) in map.iter_mut() {
        let at = at.key(name);
        match known.key(name) {
            Some(key) => canonical(&mut entry.node, &key.shape, &at, cx),
            None if name.starts_with("x-") && known.extensions => {
                if did_you_mean(name, ["x-shop"]).is_some() && known.key("x-shop").is_some() {
                    cx.report
                        .warning(
                            "extension",
                            entry.key,
                            &at,
                            format!("the extension `{name}` is ignored"),
                        )
                        .hint("did you mean `x-shop`?");
                }
            }
            None => unknown(name, entry.key, known, &at, cx),
        }
    }
    if let Some(finish) = known.finish {
        finish(node, at, cx);
    }
}

fn unknown(name: &str, span: Span, known: &Object, at: &At<'_>, cx: &mut Context<'_>) {
    let of = known.name;
    let meant = did_you_mean(name, known.keys.iter().map(|key| key.name));
    let finding = cx.report.error(
        "unknown-key",
        span,
        at,
        format!("unknown key `{name}` of a {of}").replace("of a x-", "of x-"),
    );
    let elsewhere = known.find(name);
    match (meant, elsewhere) {
        (Some(meant), _) => finding.hint(format!("did you mean `{meant}`?")),
        (None, Some(path)) => finding.hint(format!("it belongs one level deeper: `{path}`")),
        (None, None) if known.extensions => finding.hint(format!(
            "remove it, or write `x-{name}` if another tool reads it"
        )),
        (None, None) => {
            let names: Vec<&str> = known.keys.iter().map(|key| key.name).collect();
            finding.hint(format!("the keys are {}", names.join(", ")))
        }
    };
}

fn list(node: &mut Node, of: &Shape, unique: Unique, at: &At<'_>, cx: &mut Context<'_>) {
    let Value::List(entries) = &mut node.value else {
        cx.wrong(node, at, "a list");
        return;
    };
    for (index, entry) in entries.iter_mut().enumerate() {
        canonical(entry, of, &at.index(index), cx);
    }
    match unique {
        Unique::Free => {}
        Unique::By(identity) => keep_last(entries, identity),
        Unique::Refuse => refuse_twice(entries, at, cx.report),
    }
}

/// Reports entries of a list that stand in it twice.
pub(crate) fn refuse_twice(entries: &[Node], at: &At<'_>, report: &mut Report) {
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let Some(text) = entry.scalar_text() else {
            continue;
        };
        match seen.get(&text) {
            Some(first) => {
                report
                    .error(
                        "duplicate-entry",
                        entry.span,
                        &at.index(index),
                        format!("`{text}` stands twice in this list"),
                    )
                    .related(*first, "first here")
                    .hint("remove one of them");
            }
            None => {
                seen.insert(text, entry.span);
            }
        }
    }
}

/// Of entries with the same identity the last one stays, at the place of the
/// first one.
pub(crate) fn keep_last(entries: &mut Vec<Node>, identity: fn(&Node) -> String) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<Node> = Vec::with_capacity(entries.len());
    for entry in std::mem::take(entries) {
        match seen.entry(identity(&entry)) {
            Slot::Occupied(index) => kept[*index.get()] = entry,
            Slot::Vacant(slot) => {
                slot.insert(kept.len());
                kept.push(entry);
            }
        }
    }
    *entries = kept;
}

fn map(node: &mut Node, of: &Shape, names: Names, at: &At<'_>, cx: &mut Context<'_>) {
    let Some(map) = node.as_map_mut() else {
        cx.wrong(node, at, "a mapping");
        return;
    };
    for (name, entry) in map.iter_mut() {
        let at = at.key(name);
        let fits = match names {
            Names::Any => true,
            Names::Identifier => {
                !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            }
            Names::Lower => !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()),
        };
        if !fits {
            let allowed = if names == Names::Lower {
                "lower-case letters"
            } else {
                "letters, digits, `.`, `_` and `-`"
            };
            cx.report
                .error(
                    "name",
                    entry.key,
                    &at,
                    format!("`{name}` is no valid name here"),
                )
                .hint(format!("use {allowed} only"));
        }
        canonical(&mut entry.node, of, &at, cx);
    }
}

/// A list of names becomes a mapping.
fn names_alone(node: &mut Node, alone: fn(&Node) -> Node, at: &At<'_>, cx: &mut Context<'_>) {
    let Value::List(entries) = &mut node.value else {
        return;
    };
    let mut map = Map::new();
    for (index, entry) in entries.drain(..).enumerate() {
        let at = at.index(index);
        let Some(name) = entry.as_text() else {
            cx.wrong(&entry, &at, "text");
            continue;
        };
        let named = Entry {
            key: entry.span,
            node: alone(&entry),
        };
        if let Some(first) = map.insert(name.to_owned(), named) {
            cx.report
                .error(
                    "duplicate-entry",
                    entry.span,
                    &at,
                    format!("`{name}` stands twice in this list"),
                )
                .related(first.key, "first here")
                .hint("remove one of them");
        }
    }
    node.value = Value::Map(map);
}

fn pairs(node: &mut Node, rules: Pairs, at: &At<'_>, cx: &mut Context<'_>) {
    let span = node.span;
    match &mut node.value {
        Value::Map(map) => {
            for (name, entry) in map.iter_mut() {
                pair_value(&mut entry.node, rules, &at.key(name), cx);
            }
        }
        Value::List(entries) if rules.list => {
            let mut map = Map::new();
            for (index, entry) in entries.drain(..).enumerate() {
                let Some(text) = entry.as_text() else {
                    cx.wrong(&entry, &at.index(index), "text like NAME=value");
                    continue;
                };
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name, Value::Text(value.to_owned())),
                    None if rules.null == NoValue::Keep => (text, Value::Null),
                    None => (text, Value::Text(String::new())),
                };
                if rules.null == NoValue::Keep && name.ends_with(char::is_whitespace) {
                    cx.report
                        .error(
                            "name",
                            entry.span,
                            &at.index(index),
                            format!("the name `{name}` ends with a space"),
                        )
                        .hint(format!("write {}=…", name.trim_end()));
                }
                let mut value = Node::new(value, entry.span);
                value.tag = entry.tag;
                map.insert(
                    name.to_owned(),
                    Entry {
                        key: entry.span,
                        node: value,
                    },
                );
            }
            let tag = node.tag;
            *node = Node::new(Value::Map(map), span);
            node.tag = tag;
        }
        _ => cx.wrong(
            node,
            at,
            if rules.list {
                "a mapping or a list of NAME=value"
            } else {
                "a mapping"
            },
        ),
    }
}

fn pair_value(node: &mut Node, rules: Pairs, at: &At<'_>, cx: &mut Context<'_>) {
    if node.tag == Some(Tag::Reset) {
        return;
    }
    match (&node.value, rules.null) {
        (Value::Text(_), _) | (Value::Null, NoValue::Keep) => (),
        (Value::Null, NoValue::Empty) => node.value = Value::Text(String::new()),
        (Value::Bool(_), _) if rules.flags => to_text(node),
        (Value::Int(_) | Value::Float(_), _) if rules.numbers => to_text(node),
        _ => cx.wrong(
            node,
            at,
            if rules.flags {
                "text, a number or a boolean"
            } else if rules.numbers {
                "text or a number"
            } else {
                "text"
            },
        ),
    }
}

fn to_text(node: &mut Node) {
    if let Some(text) = node.scalar_text() {
        node.value = Value::Text(text);
    }
}

fn scalar(node: &mut Node, shape: &Shape, at: &At<'_>, cx: &mut Context<'_>) {
    if cx.is_raw(node) {
        return;
    }
    let fits = match (shape, &node.value) {
        (
            Shape::Text | Shape::FlagOrText | Shape::Scalar | Shape::TextOrNumber | Shape::Port,
            Value::Text(_),
        )
        | (Shape::Flag, Value::Bool(_))
        | (Shape::Number, Value::Int(_) | Value::Float(_)) => true,
        (Shape::FlagOrText, Value::Bool(_))
        | (Shape::Scalar, Value::Bool(_) | Value::Int(_) | Value::Float(_))
        | (Shape::TextOrNumber, Value::Int(_) | Value::Float(_))
        | (Shape::Port, Value::Int(_)) => {
            to_text(node);
            true
        }
        (Shape::Path, Value::Text(text)) => {
            node.value = Value::Text(cx.absolute(text));
            true
        }
        (Shape::Location, Value::Text(text)) => {
            if !path::is_remote(text) {
                node.value = Value::Text(cx.absolute(text));
            }
            true
        }
        (Shape::Choice(choices), Value::Text(text)) => {
            if !choices.contains(&text.as_str()) {
                let meant = did_you_mean(text, choices.iter().copied())
                    .map(|meant| format!("did you mean `{meant}`?"));
                let all = format!("one of {}", choices.join(", "));
                let message = format!("{at}: `{text}` is not {all}");
                cx.report
                    .error("value", node.span, at, message)
                    .hint(meant.unwrap_or_else(|| format!("write `{}`", choices[0])));
            }
            return;
        }
        _ => parsed(node, shape, at, cx),
    };
    if !fits {
        cx.wrong(node, at, wanted(shape));
    }
}

/// Scalars that are parsed. The answer is whether the kind of value fits; what
/// fits and cannot be parsed is reported here.
fn parsed(node: &mut Node, shape: &Shape, at: &At<'_>, cx: &mut Context<'_>) -> bool {
    let text = match (&node.value, shape) {
        (Value::Text(text), _) => text.clone(),
        (Value::Int(_), Shape::Duration)
        | (
            Value::Int(_) | Value::Float(_),
            Shape::Bytes {
                numbers: Numbers::None,
            },
        ) => return false,
        (
            Value::Int(_) | Value::Float(_),
            Shape::Int { .. }
            | Shape::Bytes { .. }
            | Shape::Cpus
            | Shape::Share
            | Shape::Mode
            | Shape::TmpfsMode
            | Shape::DeviceCount,
        ) => return number(node, shape, at, cx),
        _ => return false,
    };
    let value = match shape {
        Shape::Flag => flag(node, &text, at, cx),
        Shape::Int { min, max } => text
            .parse::<i64>()
            .ok()
            .filter(|number| (*min..=*max).contains(number))
            .map(|number| Value::Int(number.into())),
        Shape::Number => text.parse::<f64>().ok().map(Value::Float),
        Shape::Bytes { .. } => bytes(&text).map(Value::Text),
        Shape::Duration => {
            units::parse_duration(&text).map(|nanos| Value::Text(units::format_duration(nanos)))
        }
        Shape::Cpus => units::parse_cpus(&text)
            .and_then(|_| text.trim().parse::<f64>().ok())
            .map(Value::Float),
        Shape::Share => units::parse_ratio(&text).map(|_| Value::Text(text)),
        Shape::Mode => i64::from_str_radix(&text, 8)
            .ok()
            .map(|mode| Value::Text(format!("0{mode:o}"))),
        Shape::TmpfsMode => i64::from_str_radix(&text, 8)
            .ok()
            .map(|mode| Value::Int(mode.into())),
        Shape::DeviceCount if text.eq_ignore_ascii_case("all") => Some(Value::Int(-1)),
        Shape::DeviceCount => text
            .parse::<i64>()
            .ok()
            .map(|number| Value::Int(number.into())),
        _ => return false,
    };
    match value {
        Some(value) => node.value = value,
        None => report_unparsed(node, shape, at, cx),
    }
    true
}

/// Numbers where the shape takes numbers and text.
fn number(node: &mut Node, shape: &Shape, at: &At<'_>, cx: &mut Context<'_>) -> bool {
    let whole = match node.value {
        Value::Int(number) => i64::try_from(number).ok(),
        // The specification says "number" of most counts, and the peer cuts.
        #[expect(clippy::cast_possible_truncation, reason = "cut like the peer does")]
        Value::Float(number) => Some(number.trunc() as i64),
        _ => None,
    };
    let value = match shape {
        Shape::Int { min, max } => whole
            .filter(|number| (*min..=*max).contains(number))
            .map(|number| Value::Int(number.into())),
        Shape::Bytes {
            numbers: Numbers::Natural,
        } => whole
            .filter(|number| *number >= 0 && matches!(node.value, Value::Int(_)))
            .map(|number| Value::Text(number.to_string())),
        Shape::Bytes { .. } => whole.map(|number| Value::Text(number.to_string())),
        Shape::Cpus | Shape::Share => match &node.value {
            Value::Int(number) if *number >= 0 => Some(Value::Int(*number)),
            Value::Float(number) if *number >= 0.0 => Some(Value::Float(*number)),
            _ => None,
        },
        Shape::Mode => whole.map(|mode| Value::Text(format!("0{mode:o}"))),
        _ => whole.map(|number| Value::Int(number.into())),
    };
    match value {
        Some(value) => node.value = value,
        None => report_unparsed(node, shape, at, cx),
    }
    true
}

fn bytes(text: &str) -> Option<String> {
    match text.parse::<i64>() {
        Ok(number) => Some(number.to_string()),
        Err(_) => units::parse_bytes(text).map(|number| number.to_string()),
    }
}

/// What Compose takes for a boolean where one is expected.
fn flag(node: &Node, text: &str, at: &At<'_>, cx: &mut Context<'_>) -> Option<Value> {
    let value = match text.to_ascii_lowercase().as_str() {
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        "y" | "yes" | "on" => true,
        "n" | "no" | "off" => false,
        _ => return None,
    };
    cx.report
        .warning(
            "boolean",
            node.span,
            at,
            format!("`{text}` is text in YAML 1.2; it is read as {value} here"),
        )
        .hint(format!("write {value}"));
    Some(Value::Bool(value))
}

fn report_unparsed(node: &Node, shape: &Shape, at: &At<'_>, cx: &mut Context<'_>) {
    let range;
    let (wanted, example) = match shape {
        Shape::Flag => ("a boolean", "true"),
        Shape::Int { min, max } if *max < i64::MAX => {
            range = format!("a whole number from {min} to {max}");
            (range.as_str(), "1")
        }
        Shape::Int { min: 0, .. } => ("a whole number from 0 on", "3"),
        Shape::Int { .. } | Shape::DeviceCount => ("a whole number", "3"),
        Shape::Bytes { .. } => ("a number of bytes", "64m, 1.5g or 512k"),
        Shape::Duration => ("a duration", "30s, 1m30s or 500ms"),
        Shape::Cpus => ("a number of CPUs", "0.25"),
        Shape::Share => ("a share", "0.1% or 0.001"),
        Shape::Mode | Shape::TmpfsMode => ("a mode in octal digits", "\"0440\""),
        _ => ("a number", "0.5"),
    };
    cx.invalid(node, at, wanted, example);
}

fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Flag => "a boolean",
        Shape::FlagOrText => "a boolean or text",
        Shape::Scalar => "text, a number or a boolean",
        Shape::TextOrNumber | Shape::Mode | Shape::TmpfsMode | Shape::DeviceCount => {
            "text or a number"
        }
        Shape::Port => "a port or a range of ports",
        Shape::Int { .. } => "a whole number",
        Shape::Number => "a number",
        Shape::Bytes {
            numbers: Numbers::None,
        } => "text with a number of bytes, like \"64m\"",
        Shape::Bytes { .. } => "a number of bytes, like 64m",
        Shape::Duration => "text with a duration, like 30s",
        Shape::Cpus => "a number of CPUs",
        Shape::Share => "a share, like 0.1%",
        _ => "text",
    }
}
