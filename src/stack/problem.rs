//! Problems: what is wrong, where, and what to type.
//!
//! The plain rendering is for a person; the serialized form is public and only
//! grows. Test: the snapshots of broken files in `tests/stack_problems.rs`.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Name of the warning about a key that acts on a cluster and not on an engine: who loads a
/// stack for a cluster does not show it.
pub const ON_CLUSTERS: &str = "on-clusters";

/// A place in a file the user wrote. Lines and columns count characters from
/// one; a line of 0 means the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, as the user would name it.
    #[serde(serialize_with = "as_text")]
    pub file: Arc<str>,
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

fn as_text<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl Default for Place {
    fn default() -> Self {
        Self {
            file: Arc::from(""),
            line: 0,
            column: 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return out.write_str(&self.file);
        }
        write!(out, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// It works, but perhaps not as meant.
    Warning,
    /// A suggestion.
    Advice,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Advice => "advice",
        })
    }
}

/// A marked piece of a source line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Snippet {
    /// Where it begins.
    pub place: Place,
    /// Number of characters to underline; 0 marks a point.
    pub length: u32,
    /// The whole line; `None` where the place is a file as a whole.
    pub line: Option<String>,
}

/// A second place that belongs to a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// What it has to do with the problem.
    pub note: String,
    /// Where it is.
    pub snippet: Snippet,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name, like `unknown-key`.
    pub name: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where in the document: `services.order.ports[0]`.
    pub path: String,
    /// Where it stands.
    pub snippet: Snippet,
    /// Other places that belong to it.
    pub related: Vec<Related>,
    /// What to type.
    pub hint: Option<String>,
    /// Where the reference speaks of it: `docs/reference/keys.md#deploy`. Empty where it is
    /// no matter of a key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reference: String,
}

impl Problem {
    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.snippet.place
    }
}

/// Everything that is wrong with one load, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems {
    /// The findings: errors, and the warnings met before them.
    pub list: Vec<Problem>,
}

impl Problems {
    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.list
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
    }
}

/// The whole problem as text: message, place, source line, marker and hint.
impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}[{}]: {}", self.severity, self.name, self.message)?;
        let width = [&self.snippet]
            .into_iter()
            .chain(self.related.iter().map(|related| &related.snippet))
            .map(|snippet| snippet.place.line.to_string().len())
            .max()
            .unwrap_or(1);
        self.snippet.write(out, width, "-->", "")?;
        for related in &self.related {
            related.snippet.write(out, width, ":::", &related.note)?;
        }
        if let Some(hint) = &self.hint {
            writeln!(out, "{:width$} = hint: {hint}", "")?;
        }
        if !self.reference.is_empty() {
            writeln!(out, "{:width$} = see: {}", "", self.reference)?;
        }
        Ok(())
    }
}

impl Snippet {
    fn write(
        &self,
        out: &mut fmt::Formatter<'_>,
        width: usize,
        arrow: &str,
        note: &str,
    ) -> fmt::Result {
        if self.place == Place::default() {
            return Ok(());
        }
        writeln!(out, "{:width$}{arrow} {}", "", self.place)?;
        let Some(line) = &self.line else {
            return Ok(());
        };
        let before = self.place.column.saturating_sub(1) as usize;
        let (line, before) = window(line, before);
        let indent: String = line.chars().take(before).map(blank).collect();
        let marked: usize = line
            .chars()
            .skip(before)
            .take(self.length as usize)
            .map(columns)
            .sum();
        let carets = "^".repeat(marked.max(1));
        let note = if note.is_empty() {
            String::new()
        } else {
            format!(" {note}")
        };
        writeln!(out, "{:width$} |", "")?;
        writeln!(out, "{:>width$} | {line}", self.place.line)?;
        writeln!(out, "{:width$} | {indent}{carets}{note}", "")
    }
}

/// The part of a line around a column, and the column in it. Lines that people
/// write are shown whole.
fn window(line: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 160;
    const BEFORE: usize = 60;
    let length = line.chars().count();
    if length <= WIDTH {
        return (line.to_owned(), column);
    }
    let start = column.saturating_sub(BEFORE);
    let mut part: String = line.chars().skip(start).take(WIDTH - 2).collect();
    if start + WIDTH - 2 < length {
        part.push('…');
    }
    if start == 0 {
        return (part, column);
    }
    part.insert(0, '…');
    (part, column - start + 1)
}

/// White space as wide as the character on a terminal.
fn blank(character: char) -> &'static str {
    match (character, columns(character)) {
        ('\t', _) => "\t",
        (_, 0) => "",
        (_, 1) => " ",
        _ => "  ",
    }
}

/// Columns that a terminal gives to a character. East Asian wide forms and
/// emoji take two, combining marks none.
fn columns(character: char) -> usize {
    match character as u32 {
        0x0300..=0x036f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x2_0000..=0x3_fffd => 2,
        _ => 1,
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
