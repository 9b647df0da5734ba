//! What a fault of the YAML parser means to the person who typed it.

use libyaml_safer::Error;

use crate::stack::report::At;
use crate::stack::report::Report;
use crate::stack::source::Span;

/// Reports a fault of the parser in plain words.
pub(super) fn explain(error: &Error, span: Span, report: &mut Report) {
    let problem = error.problem();
    let (message, hint) = words(problem);
    let message = match error.context() {
        Some(context) if !context.is_empty() => format!("{message} ({context})"),
        _ => message,
    };
    let finding = report.error("yaml", span, &At::ROOT, message);
    if let Some(hint) = hint {
        finding.hint(hint);
    }
    if let Some(context) = error.context_mark()
        && (context.line + 1 < u64::from(span.line))
    {
        let number = |count: u64| u32::try_from(count + 1).unwrap_or(u32::MAX);
        let begin = Span {
            file: span.file,
            line: number(context.line),
            column: number(context.column),
            length: 0,
        };
        finding.related(begin, "it began here");
    }
}

fn words(problem: &str) -> (String, Option<&'static str>) {
    let (message, hint) = match problem {
        "found character that cannot start any token" => (
            "no YAML value can begin with this character",
            Some("indent with spaces, not TABs; quote a value that begins with @, ` or %"),
        ),
        "found a tab character that violates indentation"
        | "found a tab character where an indentation space is expected" => (
            "a TAB stands where spaces are expected",
            Some("indent with spaces"),
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
