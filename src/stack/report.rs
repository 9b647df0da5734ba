//! Collecting findings while the stages run.
//!
//! A stage reports and goes on, so that one run names everything. What a
//! finding points at stays a [`Span`] until the end.

use std::fmt;
use std::fmt::Write as _;

use super::problem::Problem;
use super::problem::Problems;
use super::problem::Related;
use super::problem::Severity;
use super::reference;
use super::source::Sources;
use super::source::Span;

/// The way to a value, kept on the call stack: `services.order.ports[0]`.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    /// The document.
    pub(crate) const ROOT: At<'static> = At {
        parent: None,
        step: Step::Root,
    };

    /// A key of this mapping.
    pub(crate) fn key(&'a self, key: &'a str) -> At<'a> {
        At {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    /// An entry of this list.
    pub(crate) fn index(&'a self, index: usize) -> At<'a> {
        At {
            parent: Some(self),
            step: Step::Index(index),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(out)?;
            if !matches!(parent.step, Step::Root) && matches!(self.step, Step::Key(_)) {
                out.write_char('.')?;
            }
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(key) => out.write_str(key),
            Step::Index(index) => write!(out, "[{index}]"),
        }
    }
}

/// One finding, before its text is looked up.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    severity: Severity,
    name: &'static str,
    message: String,
    path: String,
    span: Span,
    related: Vec<(Span, String)>,
    hint: Option<String>,
    /// Other values that come from the same span, through an alias.
    also: usize,
}

impl Finding {
    /// The message without the place that it is about.
    fn text(&self) -> String {
        self.message.replace(&self.path, "")
    }

    /// Adds what to type.
    pub(crate) fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a second place.
    pub(crate) fn related(&mut self, span: Span, note: impl Into<String>) -> &mut Self {
        if span.file != 0 {
            self.related.push((span, note.into()));
        }
        self
    }
}

/// All findings so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    list: Vec<Finding>,
    /// The document is only printed, not deployed.
    document_only: bool,
    /// How many of them are errors.
    errors: usize,
    /// The last one that was not kept, for its caller to write on.
    surplus: Option<Finding>,
}

impl Report {
    /// An empty report; see [`unfit`](Self::unfit) for `document_only`.
    pub(crate) fn new(document_only: bool) -> Self {
        Self {
            document_only,
            ..Self::default()
        }
    }

    /// The file cannot be used because of this.
    pub(crate) fn error(
        &mut self,
        name: &'static str,
        span: Span,
        at: &At<'_>,
        message: impl Into<String>,
    ) -> &mut Finding {
        self.add(Severity::Error, name, span, at, message.into())
    }

    /// It works, but perhaps not as meant.
    pub(crate) fn warning(
        &mut self,
        name: &'static str,
        span: Span,
        at: &At<'_>,
        message: impl Into<String>,
    ) -> &mut Finding {
        self.add(Severity::Warning, name, span, at, message.into())
    }

    /// Something to consider.
    pub(crate) fn advice(
        &mut self,
        name: &'static str,
        span: Span,
        at: &At<'_>,
        message: impl Into<String>,
    ) -> &mut Finding {
        self.add(Severity::Advice, name, span, at, message.into())
    }

    /// A target would refuse this. It cannot be deployed, and can be printed.
    pub(crate) fn unfit(
        &mut self,
        name: &'static str,
        span: Span,
        at: &At<'_>,
        message: impl Into<String>,
    ) -> &mut Finding {
        let severity = if self.document_only {
            Severity::Warning
        } else {
            Severity::Error
        };
        self.add(severity, name, span, at, message.into())
    }

    /// So many findings are enough to act on; a file with more is no stack file.
    const ENOUGH: usize = 1000;

    fn add(
        &mut self,
        severity: Severity,
        name: &'static str,
        span: Span,
        at: &At<'_>,
        message: String,
    ) -> &mut Finding {
        let finding = Finding {
            severity,
            name,
            message,
            path: at.to_string(),
            span,
            related: Vec::new(),
            hint: None,
            also: 0,
        };
        let is_error = severity == Severity::Error;
        let full = if is_error {
            self.errors >= Self::ENOUGH
        } else {
            self.list.len() >= Self::ENOUGH
        };
        if full {
            return self.surplus.insert(finding);
        }
        self.errors += usize::from(is_error);
        self.list.push(finding);
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    /// Whether anything forbids to go on.
    pub(crate) fn failed(&self) -> bool {
        self.errors > 0
    }

    /// Drops findings that the stack asked not to show. Errors stay.
    pub(crate) fn silence(&mut self, names: &[String]) {
        self.list.retain(|finding| {
            finding.severity == Severity::Error || !names.iter().any(|name| name == finding.name)
        });
    }

    /// The findings with their texts, in the order of the files. Values that
    /// came twice through an alias are named once.
    pub(crate) fn finish(mut self, sources: &Sources) -> Problems {
        self.list.sort_by_key(|a| (a.span, a.severity));
        self.list.dedup_by(|later, first| {
            let same = later.span == first.span
                && later.span.line > 0
                && later.name == first.name
                && later.text() == first.text();
            if same && later.path != first.path {
                first.also += 1;
            }
            same
        });
        let list = self
            .list
            .into_iter()
            .map(|finding| Problem {
                severity: finding.severity,
                name: finding.name,
                message: match finding.also {
                    0 => finding.message,
                    1 => format!("{} (and at one more place that uses it)", finding.message),
                    count => format!(
                        "{} (and at {count} more places that use it)",
                        finding.message
                    ),
                },
                reference: if finding.path.is_empty() {
                    String::new()
                } else {
                    reference::link(&finding.path)
                },
                path: finding.path,
                snippet: sources.snippet(finding.span),
                related: finding
                    .related
                    .into_iter()
                    .map(|(span, note)| Related {
                        note,
                        snippet: sources.snippet(span),
                    })
                    .collect(),
                hint: finding.hint,
            })
            .collect();
        Problems { list }
    }
}

/// The nearest known name, when it is near enough to be meant.
pub(crate) fn did_you_mean<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Names of one or two letters are near to everything.
    if given.chars().count() < 3 {
        return None;
    }
    let given = given.to_lowercase();
    // Among very many names the nearest one is rarely meant, and dear to find.
    known
        .into_iter()
        .take(500)
        .map(|name| (strsim::damerau_levenshtein(&given, name), name))
        .filter(|(distance, name)| *distance <= (name.len().max(given.len()) / 3).max(1))
        .min()
        .map(|(_, name)| name)
}
