//! `ETag: "v<version>"` and `If-Match`: a change applies only to the version that was read.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use crate::problem::{Kind, Problem};

/// Returns the entity tag of a version.
pub fn etag(version: i64) -> String {
    format!("\"v{version}\"")
}

/// The header `If-Match`, absent or `*` when any version will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IfMatch(Option<Vec<String>>);

impl IfMatch {
    /// Succeeds when `version` is one that the client named, or it named none.
    pub fn check(&self, version: i64) -> Result<(), Problem> {
        match &self.0 {
            Some(tags) if !tags.contains(&etag(version)) => Err(Problem::new(
                Kind::VersionMismatch,
                format!("the version is {}", etag(version)),
            )
            .with("version", version)),
            _ => Ok(()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else {
            return Ok(Self(None));
        };
        let text = value
            .to_str()
            .map_err(|_| Problem::new(Kind::Validation, "If-Match is not readable"))?;
        if text.trim() == "*" {
            return Ok(Self(None));
        }
        Ok(Self(Some(
            text.split(',').map(|tag| tag.trim().to_owned()).collect(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_versions_match() {
        assert!(IfMatch(None).check(7).is_ok());
        let named = IfMatch(Some(vec!["\"v1\"".to_owned(), "\"v2\"".to_owned()]));
        assert!(named.check(2).is_ok());
        assert_eq!(named.check(3).unwrap_err().status, 412);
    }
}
