//! Problems: what is wrong, where, and what to type.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A place in a file the user wrote. Lines and columns count characters from
/// one; a line of 0 means that the place is not known.
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

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name, like `unknown-key`.
    pub name: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where it stands.
    pub place: Place,
    /// Number of characters to underline; 0 marks a point.
    pub length: u32,
    /// Where in the document: `services.order.ports[0]`.
    pub path: String,
    /// The source line, for the snippet.
    pub source: Option<String>,
    /// A second place that belongs to it, with a word on it.
    pub related: Vec<(Place, String)>,
    /// What to type.
    pub hint: Option<String>,
}

/// Everything that is wrong with one load, errors first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems {
    /// The findings.
    pub list: Vec<Problem>,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.list {
            writeln!(out, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
