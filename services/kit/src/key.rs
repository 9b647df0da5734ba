//! `Idempotency-Key`: taken bare (`abc`) and as the quoted string of a structured field (`"abc"`); both name the same key.
//!
//! The scope of a key is method and path, since there is no login yet.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::hex;
use crate::problem::{Kind, Problem};

/// The name of the header.
pub const HEADER: &str = "idempotency-key";

const LONGEST: usize = 255;

/// A key with its scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Method and path, such as `POST /orders`.
    pub scope: String,
    /// What the client sent, without quotes.
    pub value: String,
}

impl Key {
    /// Returns a key for a scope.
    pub fn new(scope: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            scope: scope.into(),
            value: value.into(),
        }
    }
}

/// Returns the fingerprint of a body: equal for bodies that mean the same, whatever their white space or order.
pub fn fingerprint<T: Serialize>(body: &T) -> Result<String, Problem> {
    let bytes = serde_json::to_vec(body).map_err(Problem::internal)?;
    Ok(hex::encode(&Sha256::digest(&bytes)))
}

fn parse(text: &str) -> Result<String, &'static str> {
    let value = match text.trim().strip_prefix('"') {
        Some(rest) => unquote(
            rest.strip_suffix('"')
                .ok_or("the closing quote is missing")?,
        )?,
        None => text.trim().to_owned(),
    };
    if value.is_empty() {
        return Err("it is empty");
    }
    if value.len() > LONGEST {
        return Err("it is longer than 255 characters");
    }
    if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("it may hold printable ASCII only");
    }
    Ok(value)
}

fn unquote(text: &str) -> Result<String, &'static str> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => value.push(escaped),
                _ => return Err("a backslash escapes only a quote or a backslash"),
            },
            '"' => return Err("a quote inside must be escaped"),
            other => value.push(other),
        }
    }
    Ok(value)
}

fn extract(parts: &Parts) -> Result<Option<Key>, Problem> {
    let mut values = parts.headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let refuse = |why: &str| {
        Problem::new(
            Kind::Validation,
            format!("Idempotency-Key cannot be used: {why}"),
        )
    };
    if values.next().is_some() {
        return Err(refuse("it was sent twice"));
    }
    let text = value
        .to_str()
        .map_err(|_| refuse("it may hold printable ASCII only"))?;
    let value = parse(text).map_err(refuse)?;
    Ok(Some(Key::new(
        format!("{} {}", parts.method, parts.uri.path()),
        value,
    )))
}

impl<S: Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        extract(parts)?.ok_or_else(|| {
            Problem::new(Kind::IdempotencyKeyMissing, "send Idempotency-Key with a value that is new for each intent, and the same on a retry")
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        extract(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_and_quoted_name_the_same_key() {
        assert_eq!(parse("8e03978e-40d5"), parse("\"8e03978e-40d5\""));
        assert_eq!(parse(r#""a\"b\\c""#).unwrap(), r#"a"b\c"#);
        for bad in ["", "  ", "\"\"", "\"a", "\"a\"b\"", r#""a\n""#, "käse"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"k".repeat(255)).is_ok());
        assert!(parse(&"k".repeat(256)).is_err());
    }

    #[test]
    fn fingerprints_differ_with_the_body() {
        assert_eq!(
            fingerprint(&("a", 1)).unwrap(),
            fingerprint(&("a", 1)).unwrap()
        );
        assert_ne!(
            fingerprint(&("a", 1)).unwrap(),
            fingerprint(&("a", 2)).unwrap()
        );
    }
}
