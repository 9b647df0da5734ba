//! Keeps texts away from the parser on which it would panic, without changing
//! what they mean.
//!
//! libyaml-safer 0.3 panics at the end of a text without a line break, and on
//! a tag that a comma follows (`{ports: !reset, …}`), which yaml.v3 takes for a
//! part of the tag. A release build cannot catch a panic, so such texts must
//! not reach it. Test: the noise in `reader.rs`.

use std::borrow::Cow;

/// Characters that a tag may hold: one that the text does not hold stands in
/// for the comma.
const STAND_INS: [char; 14] = [
    '~', ';', '@', '=', '+', '$', '(', ')', '*', '\'', '?', '&', '_', '/',
];

/// A text that can be parsed.
pub(super) struct Shielded<'t> {
    /// The text; every character is in the place of its original.
    pub(super) text: Cow<'t, str>,
    /// What stands in for a comma, everywhere in the text.
    pub(super) comma: Option<char>,
    /// A line break was added at the end.
    pub(super) line_added: bool,
}

/// Shields a text.
///
/// # Errors
/// The byte of the first comma behind a tag, where the text holds every character that
/// could stand in for it.
pub(super) fn shield(text: &str) -> Result<Shielded<'_>, usize> {
    let commas = commas_behind_tags(text);
    let line_added = !text.is_empty() && !text.ends_with('\n');
    if commas.is_empty() && !line_added {
        return Ok(Shielded {
            text: Cow::Borrowed(text),
            comma: None,
            line_added,
        });
    }
    let mut shielded = String::with_capacity(text.len() + 1);
    let mut comma = None;
    let mut rest = 0;
    if let Some(first) = commas.first() {
        let stand_in = STAND_INS
            .into_iter()
            .find(|stand_in| !text.contains(*stand_in))
            .ok_or(*first)?;
        comma = Some(stand_in);
        for index in commas {
            shielded.push_str(&text[rest..index]);
            shielded.push(stand_in);
            rest = index + 1;
        }
    }
    shielded.push_str(&text[rest..]);
    if line_added {
        shielded.push('\n');
    }
    Ok(Shielded {
        text: Cow::Owned(shielded),
        comma,
        line_added,
    })
}

/// Line breaks of YAML 1.1; the parser knows no later ones.
const BREAKS: [char; 5] = ['\r', '\n', '\u{85}', '\u{2028}', '\u{2029}'];

/// The commas that follow a tag without a space. Some of them may stand in
/// quotes or comments: there they are only put back.
fn commas_behind_tags(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    // Whether a token may begin here: not inside plain text and its spaces.
    let mut may_begin = true;
    // Inside a tag, an anchor or an alias: another one may follow it.
    let mut property = false;
    let mut inside_tag = false;
    let mut verbatim = false;
    for (index, character) in text.char_indices() {
        match character {
            '!' if may_begin => {
                (property, inside_tag) = (true, true);
                // `!<…>` may hold brackets.
                verbatim = text[index + 1..].starts_with('<');
                may_begin = false;
            }
            '&' | '*' if may_begin => {
                property = true;
                may_begin = false;
            }
            ',' if inside_tag => found.push(index),
            '[' | ']' if verbatim => {}
            ' ' | '\t' => {
                may_begin |= property;
                (property, inside_tag, verbatim) = (false, false, false);
            }
            '[' | ']' | '{' | '}' | '"' => {
                may_begin = true;
                (property, inside_tag, verbatim) = (false, false, false);
            }
            ',' | ':' | '-' | '?' | '\'' => may_begin = true,
            other if BREAKS.contains(&other) => {
                may_begin = true;
                (property, inside_tag, verbatim) = (false, false, false);
            }
            other => {
                may_begin &= property;
                inside_tag &= other.is_ascii();
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commas_behind_tags_are_replaced() {
        for (text, wanted) in [
            ("{a: !reset, b: c}\n", "{a: !reset~ b: c}\n"),
            ("[!x, !y,z]\n", "[!x~ !y~z]\n"),
            ("{a: {}!t,}\n", "{a: {}!t~}\n"),
            ("[&a !x, b]\n", "[&a !x~ b]\n"),
            ("{a: ~, b: !x, c}\n", "{a: ~, b: !x; c}\n"),
            ("[a!, b !, c]\n", "[a!, b !, c]\n"),
            ("[!x !y, *a !z, c]\n", "[!x !y~ *a !z~ c]\n"),
            ("[a !x !y, b *c !z, d]\n", "[a !x !y, b *c !z, d]\n"),
            ("[!<a[b]>, c]\n", "[!<a[b]>~ c]\n"),
            ("a: !reset [b, c]\n", "a: !reset [b, c]\n"),
            ("a: b", "a: b\n"),
            ("", ""),
        ] {
            assert_eq!(
                shield(text)
                    .map(|shielded| shielded.text.into_owned())
                    .as_deref(),
                Ok(wanted)
            );
        }
        let all: String = STAND_INS.into_iter().collect();
        let refused = shield(&format!("[!x, \"{all}\"]\n")).map(|shielded| shielded.comma);
        assert_eq!(refused, Err(3));
    }
}
