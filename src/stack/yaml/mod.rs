//! A document as a tree whose nodes know where they were written.
//!
//! [`read`] follows the rules of yaml.v3 (which Docker Compose uses) on
//! scalars, merge keys, duplicate keys and aliases, and keeps the tags
//! `!reset` and `!override` for the merge.

mod fault;
mod reader;
mod scalar;
mod shield;

use std::collections::BTreeMap;

use super::source::Span;

pub(crate) use self::reader::read;
pub(crate) use self::scalar::go_float;

/// One value of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// The value.
    pub(crate) value: Value,
    /// Where it was written. A value behind an alias points at its anchor.
    pub(crate) span: Span,
    /// What the merge has to do with it.
    pub(crate) tag: Option<Tag>,
}

/// The kinds of values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A plain date or time: no Compose key takes one.
    Time(String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping.
    Map(Map),
}

/// What a merge does with a node that overrides another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// `!reset`: remove what was there.
    Reset,
    /// `!override`: replace instead of merging.
    Override,
}

/// A mapping by key.
pub(crate) type Map = BTreeMap<String, Entry>;

/// The value of a key, and where the key was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Where the key was written.
    pub(crate) key: Span,
    /// The value.
    pub(crate) node: Node,
}

impl Node {
    /// A node without a tag.
    pub(crate) fn new(value: Value, span: Span) -> Self {
        Self {
            value,
            span,
            tag: None,
        }
    }

    /// Text, written at `span` in some other form.
    pub(crate) fn text(text: impl Into<String>, span: Span) -> Self {
        Self::new(Value::Text(text.into()), span)
    }

    /// A mapping of keys that the user did not write one by one.
    pub(crate) fn map<'a>(span: Span, entries: impl IntoIterator<Item = (&'a str, Node)>) -> Self {
        let map = entries
            .into_iter()
            .map(|(key, node)| (key.to_owned(), Entry { key: span, node }))
            .collect();
        Self::new(Value::Map(map), span)
    }

    /// The mapping, if it is one.
    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The mapping, if it is one.
    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The list, if it is one.
    pub(crate) fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// The text, if it is text.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is null.
    pub(crate) fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The value of a key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key).map(|entry| &entry.node)
    }

    /// The text of a key of a mapping.
    pub(crate) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    /// Sets a key that the user did not write, unless it is there.
    pub(crate) fn set_default(&mut self, key: &str, value: Value) {
        let span = self.span;
        if let Some(map) = self.as_map_mut() {
            map.entry(key.to_owned()).or_insert_with(|| Entry {
                key: span,
                node: Node::new(value, span),
            });
        }
    }

    /// The kind of the value, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Time(_) => "a date",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// A scalar as Go prints it: what Compose makes of `KEY: 1.50`.
    pub(crate) fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(value) => Some(value.to_string()),
            Value::Float(value) => Some(go_float(*value)),
            Value::Text(text) => Some(text.clone()),
            Value::Null | Value::Time(_) | Value::List(_) | Value::Map(_) => None,
        }
    }
}
