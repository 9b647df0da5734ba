//! One answer in the form that was asked for.

use serde::Serialize;

use super::tables::View;

/// Form of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people; not an interface.
    #[default]
    Human,
    /// JSON, versioned.
    Json,
    /// The same as YAML.
    Yaml,
    /// Markdown tables.
    Markdown,
}

/// Renders a document; ends with a newline.
pub fn render<T: Serialize>(format: Format, document: &T, view: impl FnOnce(&T) -> View) -> String {
    match format {
        Format::Human => view(document).human(),
        Format::Markdown => view(document).markdown(),
        Format::Json => json(document),
        Format::Yaml => yaml(document),
    }
}

/// Pretty JSON with a newline.
pub fn json<T: Serialize>(document: &T) -> String {
    // Documents have string keys alone, so serialising cannot fail.
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

/// YAML with a newline.
pub fn yaml<T: Serialize>(document: &T) -> String {
    // One line stays one line, so that it can be found and compared.
    let options = serde_yaml::ser_options! { folded_wrap_chars: usize::MAX };
    let mut text = serde_yaml::to_string_with_options(document, options).unwrap_or_default();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
