//! Events to a tree.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use libyaml_safer::Event;
use libyaml_safer::EventData;
use libyaml_safer::Mark;
use libyaml_safer::Parser;
use libyaml_safer::ScalarStyle;

use super::Entry;
use super::Map;
use super::Node;
use super::Tag;
use super::Value;
use super::scalar;
use super::shield::shield;
use crate::stack::report::At;
use crate::stack::report::Report;
use crate::stack::source::Span;

/// Nodes that one document may have with its aliases written out. Real stack
/// files have some thousands; an alias bomb has billions.
const MAX_NODES: usize = 250_000;

/// Levels that a document may nest.
const MAX_DEPTH: usize = 128;

/// Reads every document of a text. What is wrong goes to the report; the
/// documents before the first fault are returned.
pub(crate) fn read(text: &str, file: u32, report: &mut Report) -> Vec<Node> {
    let shielded = match shield(text) {
        Ok(shielded) => shielded,
        Err(comma) => {
            report
                .error(
                    "yaml",
                    Span::at(text, comma, file),
                    &At::ROOT,
                    "a comma follows a tag without a space",
                )
                .hint("put a space between a tag and the comma behind it");
            return Vec::new();
        }
    };
    let mut input = shielded.text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let mut reader = Reader {
        parser,
        text,
        comma: shielded.comma,
        last_line: shielded
            .line_added
            .then(|| u64::try_from(text.lines().count()).unwrap_or(u64::MAX)),
        file,
        report,
        anchors: BTreeMap::new(),
        open: BTreeSet::new(),
        nodes: 0,
    };
    let mut documents = Vec::new();
    if reader.documents(&mut documents).is_err() && !reader.report.failed() {
        reader.report.error(
            "yaml",
            Span::file(file),
            &At::ROOT,
            "the file cannot be read as YAML",
        );
    }
    documents
}

/// A fault that was reported.
struct Stop;

struct Reader<'r> {
    parser: Parser<&'r mut &'r [u8]>,
    text: &'r str,
    /// What stands in for a comma.
    comma: Option<char>,
    /// The number of lines, when the last one had no line break.
    last_line: Option<u64>,
    file: u32,
    report: &'r mut Report,
    /// Finished anchors with the number of their nodes.
    anchors: BTreeMap<String, (Node, usize)>,
    /// Anchors whose node is not finished yet: an alias to one is a cycle.
    open: BTreeSet<String>,
    nodes: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<Event, Stop> {
        self.parser.parse().map_err(|error| {
            let mark = error.problem_mark().unwrap_or_default();
            super::fault::explain(
                &error,
                self.span(mark, mark),
                self.text,
                self.comma.is_some(),
                self.report,
            );
            Stop
        })
    }

    fn documents(&mut self, documents: &mut Vec<Node>) -> Result<(), Stop> {
        loop {
            let event = self.next()?;
            match event.data {
                EventData::StreamEnd => return Ok(()),
                EventData::DocumentStart { .. } => {
                    self.anchors.clear();
                    let first = self.next()?;
                    documents.push(self.node(first, 0)?.0);
                }
                _ => {}
            }
        }
    }

    /// The node that begins with `event`, and the number of nodes in it.
    fn node(&mut self, event: Event, depth: usize) -> Result<(Node, usize), Stop> {
        let span = self.span(event.start_mark, event.end_mark);
        if depth > MAX_DEPTH {
            return self.stop(
                "too-deep",
                span,
                format!("the file nests deeper than {MAX_DEPTH} levels"),
            );
        }
        self.count(1, span)?;
        match event.data {
            EventData::Alias { anchor } => self.alias(&anchor, span),
            EventData::Scalar {
                anchor,
                tag,
                value,
                style,
                ..
            } => {
                let plain = matches!(style, ScalarStyle::Plain);
                let mut value = self.restored(value);
                let tag = tag.map(|tag| self.restored(tag));
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                if block && self.last_line == Some(event.end_mark.line) && value.ends_with('\n') {
                    value.pop();
                }
                let mut node = Node::new(self.scalar(tag.as_deref(), value, plain, span), span);
                node.tag = merge_tag(tag.as_deref());
                self.keep(anchor, &node, 1);
                Ok((node, 1))
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                self.begin(anchor.as_ref());
                let mut list = Vec::new();
                let mut size = 1;
                loop {
                    let event = self.next()?;
                    if matches!(event.data, EventData::SequenceEnd) {
                        break;
                    }
                    let (node, nodes) = self.node(event, depth + 1)?;
                    list.push(node);
                    size += nodes;
                }
                let mut node = Node::new(Value::List(list), point(span));
                node.tag = merge_tag(tag.as_deref());
                self.keep(anchor, &node, size);
                Ok((node, size))
            }
            EventData::MappingStart { anchor, tag, .. } => {
                self.begin(anchor.as_ref());
                let (map, size) = self.mapping(depth)?;
                let mut node = Node::new(Value::Map(map), point(span));
                node.tag = merge_tag(tag.as_deref());
                self.keep(anchor, &node, size);
                Ok((node, size))
            }
            _ => self.stop("yaml", span, "unexpected end of a YAML node"),
        }
    }

    /// A text with its commas put back.
    fn restored(&self, text: String) -> String {
        match self.comma {
            Some(comma) => text.replace(comma, ","),
            None => text,
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<(Map, usize), Stop> {
        let mut map = Map::new();
        let mut merged: Vec<Node> = Vec::new();
        let mut size = 1;
        loop {
            let event = self.next()?;
            if matches!(event.data, EventData::MappingEnd) {
                break;
            }
            let is_merge = matches!(&event.data,
                EventData::Scalar { value, style: ScalarStyle::Plain, tag: None, .. } if value == "<<");
            let (key, key_nodes) = self.node(event, depth + 1)?;
            let event = self.next()?;
            let (node, nodes) = self.node(event, depth + 1)?;
            size += key_nodes + nodes;
            if is_merge {
                merged.push(node);
                continue;
            }
            let Some(name) = self.key(&key) else {
                continue;
            };
            if let Some(first) = map.get(&name) {
                let first: &Entry = first;
                let first = first.key;
                self.report
                    .error(
                        "duplicate-key",
                        key.span,
                        &At::ROOT.key(&name),
                        format!("the key {name:?} stands twice in one mapping"),
                    )
                    .related(first, "first here")
                    .hint(format!("keep one {name:?}, with the values of both"));
                continue;
            }
            map.insert(
                name,
                Entry {
                    key: key.span,
                    node,
                },
            );
        }
        for node in merged {
            self.merge(&mut map, node);
        }
        Ok((map, size))
    }

    /// `<<`: keys of the mapping itself win, then the first merged one.
    fn merge(&mut self, map: &mut Map, node: Node) {
        match node.value {
            Value::Map(other) => {
                for (key, entry) in other {
                    map.entry(key).or_insert(entry);
                }
            }
            Value::List(list) if list.iter().all(|node| node.as_map().is_some()) => {
                for node in list {
                    self.merge(map, node);
                }
            }
            _ => {
                self.report
                    .error(
                        "merge-key",
                        node.span,
                        &At::ROOT.key("<<"),
                        format!("`<<` merges mappings, and this is {}", node.kind()),
                    )
                    .hint("merge an anchor of a mapping: `<<: *name`, or a list of such");
            }
        }
    }

    fn key(&mut self, key: &Node) -> Option<String> {
        if let Value::Text(name) = &key.value {
            return Some(name.clone());
        }
        let shown = key.scalar_text();
        let finding = self.report.error(
            "key-type",
            key.span,
            &At::ROOT,
            match &shown {
                Some(text) => format!("the key `{text}` is {}, and keys are text", key.kind()),
                None => format!("a key is text, and this is {}", key.kind()),
            },
        );
        if let Some(text) = shown {
            finding.hint(format!("quote it: \"{text}\""));
        }
        None
    }

    fn scalar(&mut self, tag: Option<&str>, value: String, plain: bool, span: Span) -> Value {
        const CORE: &str = "tag:yaml.org,2002:";
        match tag {
            None | Some("!reset" | "!override") if plain => scalar::resolve(&value),
            None | Some("!" | "!reset" | "!override") => Value::Text(value),
            Some(tag) => match tag.strip_prefix(CORE) {
                Some("str" | "binary" | "timestamp") => Value::Text(value),
                Some("null") => Value::Null,
                Some(kind @ ("int" | "float" | "bool")) => {
                    let resolved = scalar::resolve(&value);
                    let fits = match kind {
                        "int" => matches!(resolved, Value::Int(_)),
                        "float" => matches!(resolved, Value::Int(_) | Value::Float(_)),
                        _ => matches!(resolved, Value::Bool(_)),
                    };
                    if !fits {
                        self.report.error(
                            "yaml",
                            span,
                            &At::ROOT,
                            format!("`{value}` is not of the type that its tag `!!{kind}` says"),
                        );
                    }
                    resolved
                }
                _ => {
                    self.report
                        .warning(
                            "unknown-tag",
                            span,
                            &At::ROOT,
                            format!("the tag `{tag}` means nothing here"),
                        )
                        .hint("Compose knows `!reset` and `!override`");
                    Value::Text(value)
                }
            },
        }
    }

    fn alias(&mut self, anchor: &str, span: Span) -> Result<(Node, usize), Stop> {
        if self.open.contains(anchor) {
            return self.stop(
                "alias-cycle",
                span,
                format!("the anchor `&{anchor}` contains itself"),
            );
        }
        let Some((node, size)) = self.anchors.get(anchor) else {
            let known: Vec<String> = self.anchors.keys().cloned().collect();
            let meant =
                crate::stack::report::did_you_mean(anchor, known.iter().map(String::as_str));
            let finding = self.report.error(
                "unknown-anchor",
                span,
                &At::ROOT,
                format!("there is no anchor `&{anchor}` before this alias"),
            );
            if let Some(meant) = meant {
                finding.hint(format!("did you mean `*{meant}`?"));
            }
            return Err(Stop);
        };
        let (node, size) = (node.clone(), *size);
        self.count(size, span)?;
        Ok((node, size))
    }

    fn begin(&mut self, anchor: Option<&String>) {
        if let Some(anchor) = anchor {
            self.open.insert(anchor.clone());
        }
    }

    fn keep(&mut self, anchor: Option<String>, node: &Node, size: usize) {
        if let Some(anchor) = anchor {
            self.open.remove(&anchor);
            self.anchors.insert(anchor, (node.clone(), size));
        }
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return self.stop(
                "too-large",
                span,
                format!("with its aliases written out the file has more than {MAX_NODES} values"),
            );
        }
        Ok(())
    }

    fn stop<T>(
        &mut self,
        name: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> Result<T, Stop> {
        self.report.error(name, span, &At::ROOT, message);
        Err(Stop)
    }

    fn span(&self, start: Mark, end: Mark) -> Span {
        let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Span {
            file: self.file,
            line: number(start.line + 1),
            column: number(start.column + 1),
            length: if start.line == end.line {
                number(end.column.saturating_sub(start.column))
            } else {
                0
            },
        }
    }
}

/// A list or mapping is marked by a point at its begin.
fn point(span: Span) -> Span {
    Span { length: 0, ..span }
}

fn merge_tag(tag: Option<&str>) -> Option<Tag> {
    match tag? {
        "!reset" => Some(Tag::Reset),
        "!override" => Some(Tag::Override),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stack::source::Sources;

    /// The first document and the problems met.
    fn tree(text: &str) -> (Option<Node>, String) {
        let mut sources = Sources::default();
        let file = sources.add("f", text);
        let mut report = Report::default();
        let mut documents = read(text, file, &mut report);
        let first = (!documents.is_empty()).then(|| documents.remove(0));
        let problems = report.finish(&sources).list;
        let names: Vec<String> = problems
            .iter()
            .map(|problem| format!("{} {}", problem.name, problem.place()))
            .collect();
        (first, names.join(", "))
    }

    fn place(text: &str, path: &[&str]) -> (u32, u32, u32) {
        let (root, problems) = tree(text);
        assert_eq!(problems, "");
        let root = root.unwrap_or_else(|| Node::new(Value::Null, Span::default()));
        let found = path.iter().fold(&root, |node, key| {
            node.get(key).unwrap_or_else(|| panic!("no {key}"))
        });
        (found.span.line, found.span.column, found.span.length)
    }

    #[test]
    fn values_know_their_place() {
        assert_eq!(place("a:\n  b: text # note\n", &["a", "b"]), (2, 6, 4));
        assert_eq!(place("a: \"q t\"\n", &["a"]), (1, 4, 5));
        assert_eq!(place("ключ: {注文: v, b: w}\n", &["ключ", "b"]), (1, 18, 1));
        assert_eq!(place("a: |\n  one\n  two\n", &["a"]), (1, 4, 0));
        assert_eq!(place("\r\na: b\r\n", &["a"]), (2, 4, 1));
        assert_eq!(place("a:\nb: 1\n", &["a"]), (1, 3, 0));
    }

    #[test]
    fn aliases_and_merges_keep_the_place_of_the_anchor() {
        let text = "x: &x {k: v}\na: *x\nb:\n  <<: *x\n  own: 1\n";
        assert_eq!(place(text, &["a", "k"]), (1, 11, 1));
        assert_eq!(place(text, &["b", "k"]), (1, 11, 1));
        assert_eq!(place(text, &["b", "own"]), (5, 8, 1));
    }

    #[test]
    fn own_keys_win_over_merged_ones_and_the_first_merged_over_the_next() {
        let text = "x: &x {k: x, l: x}\ny: &y {k: y, l: y, m: y}\na: {k: own, <<: [*x, *y]}\n";
        let (root, problems) = tree(text);
        assert_eq!(problems, "");
        let a = root.as_ref().and_then(|root| root.get("a"));
        let text = |key| a.and_then(|a| a.text_of(key));
        assert_eq!(
            (text("k"), text("l"), text("m")),
            (Some("own"), Some("x"), Some("y"))
        );
        assert_eq!(a.and_then(Node::as_map).map(Map::len), Some(3));
    }

    #[test]
    fn faults_are_named_where_they_are() {
        for (text, wanted) in [
            ("a: 1\na: 2\n", "duplicate-key f:2:1"),
            ("a: *b\n", "unknown-anchor f:1:4"),
            ("a: &a [*a]\n", "alias-cycle f:1:8"),
            ("1: a\n", "key-type f:1:1"),
            ("a: {<<: 1}\n", "merge-key f:1:9"),
            ("\ta: 1\n", "yaml f:1:1"),
            ("a: [1\n", "yaml f:1:4"),
            ("a: !!int x\n", "yaml f:1:4"),
            ("a: b\n c: d\n", "yaml f:2:3"),
            ("{a: !reset, b: c}\n", "unknown-tag f:1:5, yaml f:1:14"),
            ("\"\\", "yaml f:1:1"),
            ("[!a !b, c]\n", "unknown-tag f:1:2, yaml f:1:5"),
            ("[!<a[b]>, c]\n", "yaml f:1:9"),
            // Nothing is left that could stand in for the comma.
            ("# ~;@=+$()*'?&_/\né: [!x, b]\n", "yaml f:2:7"),
        ] {
            assert_eq!(tree(text).1, wanted, "{text}");
        }
    }

    #[test]
    fn the_last_line_may_end_without_a_break() {
        for (text, wanted) in [
            ("a: |\n  one\n  two", "one\ntwo"),
            ("a: |\n  one\n  two\n", "one\ntwo\n"),
            ("a: |+\n  one", "one"),
            ("a: >\n  one\n  two", "one two"),
            ("a: >-\n  one\n", "one"),
            ("a: \"q\"", "q"),
            ("a: \"one !x, two\"", "one !x, two"),
            ("a: say - !x, two", "say - !x, two"),
        ] {
            let (root, problems) = tree(text);
            assert_eq!(problems, "", "{text}");
            assert_eq!(
                root.as_ref().and_then(|root| root.text_of("a")),
                Some(wanted),
                "{text}"
            );
        }
    }

    #[test]
    fn tags_for_the_merge_are_kept() {
        let (root, _) = tree("a: !reset null\nb: !override [x]\nc: !reset\n");
        let tag = |key| {
            root.as_ref()
                .and_then(|root| root.get(key))
                .and_then(|node| node.tag)
        };
        assert_eq!(tag("a"), Some(Tag::Reset));
        assert_eq!(tag("b"), Some(Tag::Override));
        assert_eq!(tag("c"), Some(Tag::Reset));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = tree(&text);
        }

        #[test]
        fn noise_never_panics(text in "[a-c:&*!<>{}\\[\\],'\"|#%@`0-9 \n\t-]{0,80}") {
            let _ = tree(&text);
        }
    }
}
