//! Commands: a list, or one line that is split as a shell splits it.

use crate::stack::canonical::Context;
use crate::stack::report::At;
use crate::stack::yaml::Node;
use crate::stack::yaml::Value;

/// `command`, `entrypoint` and the like.
pub(crate) fn words(node: &mut Node, at: &At<'_>, cx: &mut Context<'_>) {
    match &node.value {
        Value::Null => {}
        Value::List(list) => {
            for (index, word) in list.iter().enumerate() {
                if word.as_text().is_none() {
                    cx.wrong(word, &at.index(index), "text");
                }
            }
        }
        Value::Text(line) => match split(line) {
            Ok(split) => {
                if let Some(rest) = split.dropped {
                    cx.report
                        .warning(
                            "shell-syntax",
                            node.span,
                            at,
                            format!("{at}: no shell runs this line; `{rest}` is dropped"),
                        )
                        .hint("write [\"sh\", \"-c\", \"…\"], or quote the character");
                }
                let span = node.span;
                node.value = Value::List(
                    split
                        .words
                        .into_iter()
                        .map(|word| Node::text(word, span))
                        .collect(),
                );
            }
            Err(_) if cx.raw => {}
            Err(reason) => {
                let message = format!("{at}: {reason}");
                cx.report
                    .error("value", node.span, at, message)
                    .hint("write a list: [\"program\", \"argument\"]");
            }
        },
        _ => cx.wrong(node, at, "text or a list of words"),
    }
}

/// `healthcheck.test`: a line for the shell, or a list that begins with `CMD`,
/// `CMD-SHELL` or `NONE`.
pub(crate) fn health_test(node: &mut Node, at: &At<'_>, cx: &mut Context<'_>) {
    match &node.value {
        Value::Text(line) => {
            let span = node.span;
            node.value = Value::List(vec![
                Node::text("CMD-SHELL", span),
                Node::text(line.clone(), span),
            ]);
        }
        Value::List(list) => {
            for (index, word) in list.iter().enumerate() {
                if word.as_text().is_none() {
                    cx.wrong(word, &at.index(index), "text");
                }
            }
        }
        _ => cx.wrong(node, at, "text or a list of words"),
    }
}

struct Split<'l> {
    words: Vec<String>,
    /// From the first unquoted character on that only a shell understands.
    dropped: Option<&'l str>,
}

/// Splits a line as Docker Compose does: quotes and backslashes as in a shell,
/// nothing else. It stops at an unquoted `;`, `&`, `|`, `<` or `>`.
fn split(line: &str) -> Result<Split<'_>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut in_substitution = false;
    let mut escaped = false;
    let mut dropped = None;
    for (index, character) in line.char_indices() {
        if escaped {
            escaped = false;
            word.get_or_insert_default().push(match character {
                't' => '\t',
                'n' => '\n',
                other => other,
            });
            continue;
        }
        match (character, quote) {
            ('\\', quote) if quote != Some('\'') => {
                escaped = true;
                word.get_or_insert_default();
            }
            ('\'' | '"', None) if !in_substitution => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (_, Some(open)) if open == character => quote = None,
            (' ' | '\t' | '\r' | '\n', None) if !in_substitution => {
                words.extend(word.take());
            }
            (';' | '&' | '|' | '<' | '>', None) if !in_substitution => {
                dropped = Some(&line[index..]);
                break;
            }
            ('(', None) if !in_substitution => {
                if !word.as_deref().is_some_and(|word| word.ends_with('$')) {
                    return Err("an unquoted `(` has no meaning without a shell");
                }
                in_substitution = true;
                word.get_or_insert_default().push(character);
            }
            (')', None) => {
                if !in_substitution {
                    return Err("an unquoted `)` has no meaning without a shell");
                }
                in_substitution = false;
                word.get_or_insert_default().push(character);
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    if escaped || quote.is_some() || in_substitution {
        return Err("a quote or a bracket is not closed");
    }
    words.extend(word);
    Ok(Split { words, dropped })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words_of(line: &str) -> Option<Vec<String>> {
        split(line).ok().map(|split| split.words)
    }

    #[test]
    fn a_line_is_split_like_a_shell_does() {
        for (line, wanted) in [
            ("a b  c", vec!["a", "b", "c"]),
            ("a 'b c' \"d e\"", vec!["a", "b c", "d e"]),
            ("a\\ b", vec!["a b"]),
            ("'' a", vec!["", "a"]),
            ("x'y'z", vec!["xyz"]),
            ("\"a'b\"", vec!["a'b"]),
            ("'a\\b'", vec!["a\\b"]),
            ("echo $(date now)", vec!["echo", "$(date now)"]),
            ("a ; b", vec!["a"]),
            ("", vec![]),
        ] {
            let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
            assert_eq!(words_of(line), Some(wanted), "{line}");
        }
        for line in ["'a", "a\\", "(a)", "a)"] {
            assert_eq!(words_of(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(list in prop::collection::vec("[^']*", 0..5)) {
            let line = list.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words_of(&line), Some(list));
        }

        #[test]
        fn splitting_never_panics(line in "\\PC*") {
            let _ = split(&line);
        }
    }
}
