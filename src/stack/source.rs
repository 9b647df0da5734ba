//! The texts that were read, and spans into them.

use std::sync::Arc;

use super::problem::Place;
use super::problem::Snippet;

/// A piece of a source, in characters. Small, since every node has two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// Index into [`Sources`].
    pub(crate) file: u32,
    /// Line from one; 0 is the file as a whole.
    pub(crate) line: u32,
    /// Column from one.
    pub(crate) column: u32,
    /// Number of characters on that line.
    pub(crate) length: u32,
}

impl Span {
    /// The file as a whole.
    pub(crate) fn file(file: u32) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    /// The place of a byte of a text.
    pub(crate) fn at(text: &str, byte: usize, file: u32) -> Self {
        let before = &text[..byte];
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        let number = |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX);
        Self {
            file,
            line: number(before.matches('\n').count()),
            column: number(before[line..].chars().count()),
            length: 1,
        }
    }

    /// A part of this span, where the characters of the value are those of
    /// the source.
    pub(crate) fn part(self, offset: u32, length: u32) -> Self {
        Self {
            column: self.column + offset,
            length,
            ..self
        }
    }
}

/// One text and its name.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As the user would name it.
    pub(crate) name: Arc<str>,
    /// Its text; empty when it could not be read.
    pub(crate) text: Arc<str>,
}

/// All texts of a load. The first one is no file: implied values point there.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    list: Vec<Source>,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            list: vec![Source {
                name: Arc::from(""),
                text: Arc::from(""),
            }],
        }
    }
}

impl Sources {
    /// Adds a text; the answer is its number.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> u32 {
        self.list.push(Source {
            name: Arc::from(name),
            text: Arc::from(text),
        });
        u32::try_from(self.list.len() - 1).unwrap_or(0)
    }

    /// The text with this number.
    pub(crate) fn get(&self, file: u32) -> &Source {
        self.list.get(file as usize).unwrap_or(&self.list[0])
    }

    /// The place where a span begins.
    pub(crate) fn place(&self, span: Span) -> Place {
        Place {
            file: Arc::clone(&self.get(span.file).name),
            line: span.line,
            column: span.column,
        }
    }

    /// The line of a place, to show it.
    pub(crate) fn snippet_at(&self, place: &Place) -> Snippet {
        let text = self
            .list
            .iter()
            .find(|source| source.name == place.file)
            .map_or("", |source| &*source.text);
        Snippet {
            place: place.clone(),
            length: 0,
            line: line(text, place.line),
        }
    }

    /// The line of a span, to show it.
    pub(crate) fn snippet(&self, span: Span) -> Snippet {
        Snippet {
            place: self.place(span),
            length: span.length,
            line: line(&self.get(span.file).text, span.line),
        }
    }
}

/// A line by its number from one.
fn line(text: &str, number: u32) -> Option<String> {
    let index = number.checked_sub(1)?;
    text.lines().nth(index as usize).map(str::to_owned)
}
