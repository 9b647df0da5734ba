//! Bodies, queries and path parameters, refused with problem details that name the field.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::problem::{Kind, Problem};

/// The largest body that a service takes.
pub const LARGEST: usize = 256 * 1024;

/// A JSON body. The content type is not asked for, so that a plain `curl -d` works.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes =
            Bytes::from_request(request, state)
                .await
                .map_err(|rejection| match rejection.status().as_u16() {
                    413 => Problem::new(Kind::TooLarge, format!("at most {LARGEST} bytes")),
                    _ => Problem::new(Kind::Validation, "the body could not be read"),
                })?;
        parse(&bytes).map(Self)
    }
}

/// Reads JSON; an empty body reads as an empty object.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| Problem::field(&pointer(error.path()), error.inner().to_string()))?;
    deserializer
        .end()
        .map_err(|error| Problem::field("", error.to_string()))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
}

/// The query of the URL.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|rejection| Problem::new(Kind::Validation, rejection.body_text()))
    }
}

/// The parameters of the path.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|path| Self(path.0))
            .map_err(|rejection| Problem::new(Kind::Validation, rejection.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Item {
        qty: i64,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Order {
        items: Vec<Item>,
    }

    #[test]
    fn the_wrong_field_is_named() {
        let problem = parse::<Order>(br#"{"items":[{"qty":1},{"qty":"two"}]}"#).unwrap_err();
        assert_eq!(problem.extensions["errors"][0]["pointer"], "/items/1/qty");
        assert_eq!(parse::<Order>(b"").unwrap_err().status, 400);
        assert_eq!(
            parse::<Order>(br#"{"items":[]} x"#).unwrap_err().status,
            400
        );
        assert_eq!(
            parse::<Order>(br#"{"items":[{"qty":3}]}"#).unwrap().items[0].qty,
            3
        );
    }
}
