//! What a fault of the YAML parser means to the person who typed it.

use libyaml_safer::Error;

use crate::stack::report::At;
use crate::stack::report::Report;
use crate::stack::source::Span;

/// Reports a fault of the parser in plain words.
pub(super) fn explain(error: &Error, span: Span, text: &str, report: &mut Report) {
    let context = error.context_mark().map(|mark| {
        let number = |count: u64| u32::try_from(count + 1).unwrap_or(u32::MAX);
        Span {
            file: span.file,
            line: number(mark.line),
            column: number(mark.column),
            length: 0,
        }
    });
    let context = context.filter(|context| context.line < span.line);
    let (message, hint) = if character_at(text, span) == Some('\t') {
        (
            "a TAB stands where YAML takes spaces only".to_owned(),
            Some("indent with spaces"),
        )
    } else {
        words(error.problem())
    };
    // At the end of the file there is nothing to see; where it began there is.
    let at_end = text.lines().count() < span.line as usize;
    match context {
        Some(context) if at_end => {
            let finding = report.error("yaml", context, &At::ROOT, message);
            finding.hint(hint.unwrap_or("close what begins here"));
        }
        _ => {
            let finding = report.error("yaml", span, &At::ROOT, message);
            if let Some(hint) = hint {
                finding.hint(hint);
            }
            if let Some(context) = context {
                finding.related(context, "it began here");
            }
        }
    }
}

fn character_at(text: &str, span: Span) -> Option<char> {
    let line = text.lines().nth((span.line as usize).checked_sub(1)?)?;
    line.chars().nth((span.column as usize).checked_sub(1)?)
}

fn words(problem: &str) -> (String, Option<&'static str>) {
    let (message, hint) = match problem {
        "found character that cannot start any token" => (
            "no YAML value can begin with this character",
            Some("quote a value that begins with @, ` or %"),
        ),
        "mapping values are not allowed in this context" => (
            "a second `:` makes a mapping where a value is expected",
            Some("check the indentation; quote a value that contains `: `"),
        ),
        "did not find expected key" => (
            "a key is expected here",
            Some("check the indentation: keys of one mapping begin in one column"),
        ),
        "did not find expected '-' indicator" => (
            "a `- ` is expected here",
            Some("check the indentation: entries of one list begin in one column"),
        ),
        "could not find expected ':'" => (
            "a `:` is missing behind this key",
            Some("write `key: value`, with a space behind the colon"),
        ),
        "did not find expected ',' or ']'" => (
            "this list is not closed",
            Some("add the missing `,` or `]`"),
        ),
        "did not find expected ',' or '}'" => (
            "this mapping is not closed",
            Some("add the missing `,` or `}`"),
        ),
        "found unexpected end of stream" => (
            "the file ends inside a quoted text",
            Some("add the closing quote"),
        ),
        "did not find expected alphabetic or numeric character" => (
            "a name is missing behind `*` or `&`",
            Some("quote a value that begins with * or &"),
        ),
        "found unknown escape character" => (
            "this escape is not known in double quotes",
            Some("use single quotes, or double the backslash"),
        ),
        "" => ("the file is not UTF-8 text", None),
        other => return (format!("not YAML: {other}"), None),
    };
    (message.to_owned(), hint)
}
