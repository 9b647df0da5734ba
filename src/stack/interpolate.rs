//! `${VAR:-default}` and its kin: a pure function over a map.
//!
//! The forms are `$$`, `$VAR`, `${VAR}`, and `${VAR<op>WORD}` with the
//! operators `:-` `-` `:?` `?` `:+` `+`, where WORD may hold further forms.
//! A `$` that begins none of them stays as it is; a `${` must be one of them.

use serde::Serialize;

use super::report::At;
use super::report::Report;
use super::source::Span;
use super::yaml::Map;
use super::yaml::Node;
use super::yaml::Tag;
use super::yaml::Value;

/// Forms inside words inside forms: deeper is no honest file.
const MAX_DEPTH: usize = 32;

/// What went wrong, with the bytes of the template it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `${` with something that is no form behind it.
    Invalid {
        /// The text from `${` on.
        text: String,
        /// Where it begins.
        offset: usize,
    },
    /// `${VAR:?message}` without a value.
    Required {
        /// The variable.
        variable: String,
        /// The message, with its own forms replaced.
        message: String,
        /// Where the form begins.
        offset: usize,
    },
}

/// A template with its forms replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    /// The text.
    pub(crate) text: String,
    /// Variables that had neither a value nor a default, with the byte where
    /// they stand.
    pub(crate) unset: Vec<(String, usize)>,
}

/// One use of a variable in a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Use {
    /// The variable.
    pub name: String,
    /// Whether it must have a value.
    pub required: bool,
    /// Its default, as written.
    pub default: Option<String>,
    /// The text that stands in for it when it is set.
    pub alternate: Option<String>,
}

/// Replaces every form of a template.
pub(crate) fn fill(
    template: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Filled, Fault> {
    let mut filled = Filled::default();
    fill_into(template, 0, lookup, &mut filled, 0)?;
    Ok(filled)
}

fn fill_into(
    template: &str,
    base: usize,
    lookup: &dyn Fn(&str) -> Option<String>,
    filled: &mut Filled,
    depth: usize,
) -> Result<(), Fault> {
    let mut rest = template;
    while let Some(start) = rest.find('$') {
        filled.text.push_str(&rest[..start]);
        rest = &rest[start..];
        let offset = base + (template.len() - rest.len());
        let (form, length) = match Form::parse(rest) {
            Some(found) if depth < MAX_DEPTH => found,
            _ if rest.starts_with("${") => {
                return Err(Fault::Invalid {
                    text: rest.lines().next().unwrap_or(rest).to_owned(),
                    offset,
                });
            }
            _ => (Form::Literal("$"), 1),
        };
        match form {
            Form::Literal(text) => filled.text.push_str(text),
            Form::Variable(name) => match lookup(name) {
                Some(value) => filled.text.push_str(&value),
                None => filled.unset.push((name.to_owned(), offset)),
            },
            Form::Operator {
                name,
                operator,
                word,
            } => {
                let at_word = offset + (word.as_ptr() as usize - rest.as_ptr() as usize);
                let value = lookup(name);
                match operator.choose(value.as_deref()) {
                    Choice::Value => filled.text.push_str(value.as_deref().unwrap_or_default()),
                    Choice::Word => fill_into(word, at_word, lookup, filled, depth + 1)?,
                    Choice::Refuse => {
                        let mut message = Filled::default();
                        fill_into(word, at_word, lookup, &mut message, depth + 1)?;
                        return Err(Fault::Required {
                            variable: name.to_owned(),
                            message: message.text,
                            offset,
                        });
                    }
                }
            }
        }
        rest = &rest[length..];
    }
    filled.text.push_str(rest);
    Ok(())
}

/// Every variable that a template names, in order.
pub(crate) fn uses(template: &str) -> Vec<Use> {
    let mut found = Vec::new();
    collect_uses(template, &mut found, 0);
    found
}

fn collect_uses(template: &str, found: &mut Vec<Use>, depth: usize) {
    let mut rest = template;
    while let Some(start) = rest.find('$') {
        rest = &rest[start..];
        let Some((form, length)) = Form::parse(rest).filter(|_| depth < MAX_DEPTH) else {
            rest = &rest[1..];
            continue;
        };
        let bare = |name: &str| Use {
            name: name.to_owned(),
            default: None,
            alternate: None,
            required: false,
        };
        match form {
            Form::Literal(_) => {}
            Form::Variable(name) => found.push(bare(name)),
            Form::Operator {
                name,
                operator,
                word,
            } => {
                let word_text = Some(word.to_owned());
                found.push(match operator.kind {
                    Kind::Default => Use {
                        default: word_text,
                        ..bare(name)
                    },
                    Kind::Alternate => Use {
                        alternate: word_text,
                        ..bare(name)
                    },
                    Kind::Required => Use {
                        required: true,
                        ..bare(name)
                    },
                });
                collect_uses(word, found, depth + 1);
            }
        }
        rest = &rest[length..];
    }
}

/// One form at the begin of a text.
enum Form<'t> {
    Literal(&'static str),
    Variable(&'t str),
    Operator {
        name: &'t str,
        operator: Operator,
        word: &'t str,
    },
}

#[derive(Clone, Copy)]
struct Operator {
    kind: Kind,
    /// With a colon an empty value counts as none.
    empty_is_unset: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Default,
    Required,
    Alternate,
}

enum Choice {
    Value,
    Word,
    Refuse,
}

impl Operator {
    fn choose(self, value: Option<&str>) -> Choice {
        let has_value = value.is_some_and(|value| !(self.empty_is_unset && value.is_empty()));
        match (self.kind, has_value) {
            (Kind::Default | Kind::Required, true) | (Kind::Alternate, false) => Choice::Value,
            (Kind::Default, false) | (Kind::Alternate, true) => Choice::Word,
            (Kind::Required, false) => Choice::Refuse,
        }
    }
}

impl<'t> Form<'t> {
    /// The form that `text` begins with, and its length in bytes.
    fn parse(text: &'t str) -> Option<(Self, usize)> {
        let behind = text.strip_prefix('$')?;
        if behind.starts_with('$') {
            return Some((Self::Literal("$"), 2));
        }
        let Some(inner) = behind.strip_prefix('{') else {
            let name = name_at(behind)?;
            return Some((Self::Variable(name), 1 + name.len()));
        };
        let name = name_at(inner)?;
        let tail = &inner[name.len()..];
        if tail.starts_with('}') {
            return Some((Self::Variable(name), 3 + name.len()));
        }
        let (empty_is_unset, sign) = match tail.strip_prefix(':') {
            Some(sign) => (true, sign),
            None => (false, tail),
        };
        let kind = match sign.chars().next()? {
            '-' => Kind::Default,
            '?' => Kind::Required,
            '+' => Kind::Alternate,
            _ => return None,
        };
        let word = &sign[1..];
        let end = closing_brace(word)?;
        let operator = Operator {
            kind,
            empty_is_unset,
        };
        let length = (word.as_ptr() as usize - text.as_ptr() as usize) + end + 1;
        Some((
            Self::Operator {
                name,
                operator,
                word: &word[..end],
            },
            length,
        ))
    }
}

fn name_at(text: &str) -> Option<&str> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_alphabetic() || first == b'_') {
        return None;
    }
    let end = text
        .bytes()
        .position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'_'))
        .unwrap_or(text.len());
    Some(&text[..end])
}

/// The brace that ends a word: the one that balances, on the same line; where
/// none balances, the last one of the line.
fn closing_brace(word: &str) -> Option<usize> {
    let line = word.lines().next().unwrap_or("");
    let mut depth = 0_usize;
    for (index, byte) in line.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(index),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    line.rfind('}')
}

/// Replaces the forms in every text of a tree; keys stay as they are.
pub(crate) fn tree(
    node: &mut Node,
    at: &At<'_>,
    lookup: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
) {
    if node.tag == Some(Tag::Reset) {
        return;
    }
    match &mut node.value {
        Value::Text(text) if text.contains('$') => match fill(text, lookup) {
            Ok(filled) => {
                for (variable, offset) in filled.unset {
                    let span = part_of(text, node.span, offset, variable.len() + 1);
                    report
                        .warning(
                            "unset-variable",
                            span,
                            at,
                            format!("the variable {variable} is not set; it becomes empty text"),
                        )
                        .hint(format!("set {variable}, or write ${{{variable}:-default}}"));
                }
                *text = filled.text;
            }
            Err(fault) => {
                report_fault(&fault, text, node.span, at, report);
                text.clear();
            }
        },
        Value::List(list) => {
            for (index, entry) in list.iter_mut().enumerate() {
                tree(entry, &at.index(index), lookup, report);
            }
        }
        Value::Map(map) => entries(map, at, lookup, report),
        _ => {}
    }
}

fn entries(
    map: &mut Map,
    at: &At<'_>,
    lookup: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
) {
    for (key, entry) in map {
        tree(&mut entry.node, &at.key(key), lookup, report);
    }
}

fn report_fault(fault: &Fault, text: &str, span: Span, at: &At<'_>, report: &mut Report) {
    match fault {
        Fault::Invalid { text: form, offset } => {
            report
                .error(
                    "interpolation",
                    part_of(text, span, *offset, form.len()),
                    at,
                    format!("`{form}` is no form of a variable"),
                )
                .hint("write ${NAME}, ${NAME:-default}, ${NAME:?message} or ${NAME:+text}; $$ is a plain $");
        }
        Fault::Required {
            variable,
            message,
            offset,
        } => {
            let because = if message.is_empty() {
                String::new()
            } else {
                format!(": {message}")
            };
            report
                .error(
                    "required-variable",
                    part_of(text, span, *offset, variable.len() + 2),
                    at,
                    format!("the variable {variable} is required and has no value{because}"),
                )
                .hint(format!("set it: {variable}=… shopctl …, or in .env"));
        }
    }
}

/// The span of a part of a scalar. Exact where the scalar is written as it
/// reads, plain or in quotes on one line; else the whole scalar.
fn part_of(text: &str, span: Span, offset: usize, length: usize) -> Span {
    let characters = text.chars().count();
    let quotes = (span.length as usize).checked_sub(characters);
    let number = |count: usize| u32::try_from(count).unwrap_or(0);
    match quotes {
        Some(quotes @ (0 | 2)) if span.length > 0 => {
            let before = text[..offset].chars().count() + quotes / 2;
            let length = text[offset..].chars().count().min(length);
            span.part(number(before), number(length))
        }
        _ => span,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn filled(template: &str) -> String {
        fill(template, &environment).map_or_else(|fault| format!("{fault:?}"), |filled| filled.text)
    }

    #[test]
    fn every_operator() {
        for (template, wanted) in [
            ("$SET ${SET}", "value value"),
            ("$$SET $${SET}", "$SET ${SET}"),
            ("[${NONE}]", "[]"),
            (
                "${NONE:-a}${NONE-b}${EMPTY:-c}${EMPTY-d}${SET:-e}",
                "abcvalue",
            ),
            ("${SET:+a}${SET+b}${EMPTY:+c}${EMPTY+d}${NONE+e}", "abd"),
            ("${NONE:-${EMPTY:-${SET}}}", "value"),
            ("${NONE:-{\"a\": 1}}!", "{\"a\": 1}!"),
            ("${NONE:-a}b}", "ab}"),
            ("${NONE:-{a}", "{a"),
            ("cost: $5 $ $", "cost: $5 $ $"),
            ("${NONE:-x:-y}", "x:-y"),
            ("äö${NONE:-ü}", "äöü"),
        ] {
            assert_eq!(filled(template), wanted, "{template}");
        }
    }

    #[test]
    fn faults_say_where() {
        assert_eq!(
            fill("ab${1A}", &environment),
            Err(Fault::Invalid {
                text: "${1A}".to_owned(),
                offset: 2
            })
        );
        assert_eq!(
            fill("a${NONE:?set ${SET}}", &environment),
            Err(Fault::Required {
                variable: "NONE".to_owned(),
                message: "set value".to_owned(),
                offset: 1
            })
        );
        assert!(fill("${EMPTY?fine}", &environment).is_ok());
        assert!(fill("${EMPTY:?not}", &environment).is_err());
        for broken in ["${", "${}", "${A", "${A B}", "${A:=b}", "${A:-b\n}"] {
            assert!(
                matches!(fill(broken, &environment), Err(Fault::Invalid { .. })),
                "{broken}"
            );
        }
    }

    #[test]
    fn unset_variables_are_named_once_each() {
        let found = fill("$A ${B} ${C:-x} ${D:-$E}", &environment).map(|filled| filled.unset);
        let names: Vec<String> = found
            .unwrap_or_default()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["A", "B", "E"]);
    }

    #[test]
    fn uses_are_listed_with_defaults() {
        let names: Vec<(String, Option<String>, bool)> = uses("$A ${B:-${C}} ${D:?no} ${E:+x}")
            .into_iter()
            .map(|found| (found.name, found.default, found.required))
            .collect();
        assert_eq!(
            names,
            [
                ("A".to_owned(), None, false),
                ("B".to_owned(), Some("${C}".to_owned()), false),
                ("C".to_owned(), None, false),
                ("D".to_owned(), None, true),
                ("E".to_owned(), None, false),
            ]
        );
    }

    proptest! {
        #[test]
        fn never_panics(template in "\\PC*") {
            let _ = fill(&template, &environment);
            let _ = uses(&template);
        }

        #[test]
        fn noise_of_forms_never_panics(template in "[${}:?+\\-A-C \n]{0,40}") {
            let _ = fill(&template, &environment);
            let _ = uses(&template);
        }

        #[test]
        fn text_without_a_dollar_stays(template in "[^$]*") {
            prop_assert_eq!(filled(&template), template);
        }

        #[test]
        fn doubled_dollars_give_the_text_back(text in "\\PC*") {
            prop_assert_eq!(filled(&text.replace('$', "$$")), text);
        }

        #[test]
        fn a_default_stands_in_for_what_is_unset(word in "[a-z :{}/.]{0,20}") {
            prop_assume!(word.matches('{').count() == word.matches('}').count());
            prop_assume!(word.bytes().scan(0_i32, |depth, byte| {
                *depth += i32::from(byte == b'{') - i32::from(byte == b'}');
                Some(*depth)
            }).all(|depth| depth >= 0));
            prop_assert_eq!(filled(&format!("<${{NONE:-{word}}}>")), format!("<{word}>"));
        }
    }
}
