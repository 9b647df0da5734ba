//! The dialect of `.env` files and `env_file`s. Pure.
//!
//! `NAME=value`, `export NAME=value`, `NAME: value`, and `NAME` alone for the
//! variable of the environment. Single quotes keep everything; double quotes
//! have escapes and may span lines; what is not in single quotes may use
//! variables, of the environment first, then of the lines above.

use std::collections::BTreeMap;

use super::interpolate;
use super::interpolate::Fault;
use super::report::At;
use super::report::Report;
use super::source::Span;

/// Parses a file. Lines that are no such line are reported.
pub(crate) fn parse(
    text: &str,
    file: u32,
    lookup: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
) -> BTreeMap<String, String> {
    let mut parser = Parser {
        rest: text.strip_prefix('\u{feff}').unwrap_or(text),
        file,
        line: 1,
        lookup,
        report,
        values: BTreeMap::new(),
    };
    while parser.statement() {}
    parser.values
}

/// Parses a file of the `raw` format: no quotes, no variables.
pub(crate) fn parse_raw(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.to_owned()))
        .collect()
}

struct Parser<'p> {
    rest: &'p str,
    file: u32,
    line: u32,
    lookup: &'p dyn Fn(&str) -> Option<String>,
    report: &'p mut Report,
    values: BTreeMap<String, String>,
}

/// White space inside a line.
fn is_blank(character: char) -> bool {
    character != '\n' && character.is_whitespace()
}

impl Parser<'_> {
    /// One statement; `false` at the end, or after a fault.
    fn statement(&mut self) -> bool {
        loop {
            let start = self.rest.trim_start();
            self.advance(self.rest.len() - start.len());
            match start.chars().next() {
                None => return false,
                Some('#') => self.advance(start.find('\n').unwrap_or(start.len())),
                Some(_) => break,
            }
        }
        if let Some(behind) = self.rest.strip_prefix("export")
            && behind.starts_with(is_blank)
        {
            let name = behind.trim_start_matches(is_blank);
            self.advance(self.rest.len() - name.len());
        }
        let (line, end) = match self.rest.find('\n') {
            Some(end) => (&self.rest[..end], end),
            None => (self.rest, self.rest.len()),
        };
        let stop = line.find(|character: char| {
            !(character.is_alphanumeric() || is_blank(character) || "_.-[]".contains(character))
        });
        match stop.map(|index| (index, line[index..].chars().next().unwrap_or('='))) {
            Some((index, '=' | ':')) => {
                let name = line[..index].trim_end();
                if name.contains(' ') {
                    return self.fault(line, "a name has no space");
                }
                if name.is_empty() {
                    return self.fault(line, "the name is missing");
                }
                let name = name.to_owned();
                let value = self.rest[index + 1..].trim_start_matches(is_blank);
                self.advance(self.rest.len() - value.len());
                self.value(name)
            }
            Some(_) => self.fault(line, "this is no NAME=value"),
            None => {
                let name = line.trim_end();
                if name.contains(' ') {
                    return self.fault(line, "a name has no space");
                }
                if let Some(value) = (self.lookup)(name) {
                    self.values.insert(name.to_owned(), value);
                }
                self.advance(end);
                true
            }
        }
    }

    fn value(&mut self, name: String) -> bool {
        let quote = self.rest.chars().next().filter(|c| "'\"".contains(*c));
        let Some(quote) = quote else {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            let raw = &self.rest[..end];
            let raw = raw.split(" #").next().unwrap_or(raw).trim_end();
            return self.keep(name, raw.to_owned(), end, true);
        };
        let Some((raw, length)) = quoted(self.rest, quote) else {
            let line = self.rest.lines().next().unwrap_or("");
            return self.fault(line, "the quote is not closed");
        };
        if quote == '"' {
            let raw = unescape(&raw);
            self.keep(name, raw, length, true)
        } else {
            self.keep(name, raw, length, false)
        }
    }

    /// Keeps a value, with its variables replaced.
    fn keep(&mut self, name: String, raw: String, length: usize, fill: bool) -> bool {
        let value = if fill && raw.contains('$') {
            let values = &self.values;
            let lookup = |key: &str| (self.lookup)(key).or_else(|| values.get(key).cloned());
            match interpolate::fill(&raw, &lookup) {
                Ok(filled) => {
                    for (variable, _) in filled.unset {
                        self.report
                            .warning(
                                "unset-variable",
                                Self::span(self.file, self.line, 0),
                                &At::ROOT,
                                format!(
                                    "the variable {variable} is not set; it becomes empty text"
                                ),
                            )
                            .hint("write $$ for a plain $, or put the value in single quotes");
                    }
                    filled.text
                }
                Err(Fault::Invalid { text, .. }) => {
                    return self.fault(
                        self.rest.lines().next().unwrap_or(""),
                        &format!("`{text}` is no form of a variable"),
                    );
                }
                Err(Fault::Required {
                    variable, message, ..
                }) => {
                    return self.fault(
                        self.rest.lines().next().unwrap_or(""),
                        &format!("the variable {variable} has no value: {message}"),
                    );
                }
            }
        } else {
            raw
        };
        if !name.starts_with(|first: char| first.is_ascii_digit()) {
            self.values.insert(name, value);
        }
        self.advance(length);
        true
    }

    fn fault(&mut self, line: &str, reason: &str) -> bool {
        let length = u32::try_from(line.trim_end().chars().count()).unwrap_or(0);
        self.report
            .error(
                "env-file",
                Self::span(self.file, self.line, length),
                &At::ROOT,
                reason.to_owned(),
            )
            .hint("write NAME=value, one a line");
        false
    }

    fn span(file: u32, line: u32, length: u32) -> Span {
        Span {
            file,
            line,
            column: 1,
            length,
        }
    }

    fn advance(&mut self, length: usize) {
        let (done, rest) = self.rest.split_at(length);
        let lines = done.bytes().filter(|byte| *byte == b'\n').count();
        self.line += u32::try_from(lines).unwrap_or(0);
        self.rest = rest;
    }
}

/// The content of a quoted text and its length with both quotes. A backslash
/// keeps the next quote inside.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        if character == quote && !escaped {
            return Some((content, index + 1));
        }
        if escaped && character != quote {
            content.push('\\');
        }
        escaped = !escaped && character == '\\';
        if !escaped {
            content.push(character);
        }
    }
    None
}

/// Escapes of double quotes. `\$` becomes `$$`, which stays a plain `$`.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(index) = rest.find('\\') {
        out.push_str(&rest[..index]);
        rest = &rest[index + 1..];
        let Some(next) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        let plain = match next {
            'a' => Some('\u{7}'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            '"' => Some('"'),
            '\\' => Some('\\'),
            '$' => {
                out.push_str("$$");
                rest = &rest[1..];
                continue;
            }
            '0' => {
                let digits: String = rest[1..]
                    .chars()
                    .take(3)
                    .take_while(char::is_ascii_digit)
                    .collect();
                let code = u32::from_str_radix(&digits, 8)
                    .ok()
                    .filter(|_| digits.len() == 3);
                if let Some(character) = code.filter(|code| *code < 256).and_then(char::from_u32) {
                    out.push(character);
                    rest = &rest[4..];
                    continue;
                }
                None
            }
            _ => None,
        };
        if let Some(character) = plain {
            out.push(character);
        } else {
            out.push('\\');
            out.push(next);
        }
        rest = &rest[next.len_utf8()..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stack::source::Sources;

    fn lookup(name: &str) -> Option<String> {
        (name == "HOST").then(|| "h".to_owned())
    }

    fn parsed(text: &str) -> String {
        let mut report = Report::default();
        let values = parse(text, 0, &lookup, &mut report);
        let mut lines: Vec<String> = values
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        for problem in report.finish(&Sources::default()).list {
            lines.push(format!(
                "{}: {}",
                problem.snippet.place.line, problem.message
            ));
        }
        lines.join("|")
    }

    #[test]
    fn lines_of_every_kind() {
        for (text, wanted) in [
            ("A=1\nB = 2 \n# no\n\nC=3 # note", "A=1|B=2|C=3"),
            ("export A=1", "A=1"),
            ("A: yaml", "A=yaml"),
            ("HOST\nNONE\nA=1", "A=1|HOST=h"),
            ("A='$HOST #1'", "A=$HOST #1"),
            ("A=\"$HOST\\n\\\"x\\\"\"", "A=h\n\"x\""),
            ("A=\"two\nlines\"\nB=1", "A=two\nlines|B=1"),
            ("A=1\nB=${A}${HOST}$$A", "A=1|B=1h$A"),
            ("A=\"\\$HOST\"", "A=$HOST"),
            ("A=a#b", "A=a#b"),
            ("A=", "A="),
            ("A=1\r\nB=2\r\n", "A=1|B=2"),
            ("A='it\\'s'", "A=it's"),
            ("A=1\nB C=2", "A=1|2: a name has no space"),
            ("A=1\n%B", "A=1|2: this is no NAME=value"),
            ("A=1\n\nB='x", "A=1|3: the quote is not closed"),
            ("A=\"\\0101\"", "A=A"),
            ("1A=x", ""),
        ] {
            assert_eq!(parsed(text), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = parsed(&text);
        }

        #[test]
        fn noise_never_panics(text in "[A-C=:'\"\\\\$#{} \n0-9-]{0,60}") {
            let _ = parsed(&text);
        }

        #[test]
        fn single_quotes_keep_everything(value in "[^'\\\\]*") {
            prop_assert_eq!(parsed(&format!("A='{value}'")), format!("A={value}"));
        }
    }
}
