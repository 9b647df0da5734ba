//! What is wrong with a stack file, as data for an editor.

use serde::Serialize;

/// `config -q -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProblemsDocument {
    /// Version of this format.
    pub version: String,
    /// The file can be used: there is no error.
    pub valid: bool,
    /// In the order of the files; what depends on several keys comes last.
    pub problems: Vec<FoundProblem>,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FoundProblem {
    /// A stable name, which `x-shop.lint.silence` knows if it is no error.
    pub name: String,
    /// `error`, `warning` or `advice`.
    pub severity: String,
    /// What is wrong.
    pub message: String,
    /// Where in the document, like `services.order.ports[0]`; empty where that is not known.
    pub path: String,
    /// The file, as it was named; empty where the problem is in none.
    pub file: String,
    /// Line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// Column of the first character, from 1.
    pub column: u32,
    /// Column after the last character, on the same line.
    pub end: u32,
    /// What to type; null where nobody knows.
    pub hint: Option<String>,
    /// Where the reference speaks of it; empty where it is no matter of a key.
    pub reference: String,
    /// Other places that belong to it.
    pub related: Vec<RelatedPlace>,
}

/// Another place that belongs to a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RelatedPlace {
    /// What it has to do with it.
    pub note: String,
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column of the first character, from 1.
    pub column: u32,
    /// Column after the last character.
    pub end: u32,
}
