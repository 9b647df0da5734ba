//! Lists in pages: `?limit=&cursor=`, answered with `items` and `next_cursor`.
//!
//! A cursor names the last entry seen, not a position, so entries that come or go meanwhile neither repeat nor hide others.
//! It is opaque to clients: hexadecimal, so that it needs no escaping in a URL.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::hex;
use crate::problem::Problem;

const DEFAULT: i64 = 50;
const MOST: i64 = 200;

/// The query of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
pub struct PageQuery {
    /// Entries at most: 1 to 200, 50 by default.
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Returns how many entries to read: one more than the page holds, to learn whether another page follows.
    pub fn rows(&self) -> i64 {
        self.size() + 1
    }

    fn size(&self) -> i64 {
        self.limit.unwrap_or(DEFAULT).clamp(1, MOST)
    }

    /// Returns the name of the last entry of the page before.
    pub fn after(&self) -> Result<Option<String>, Problem> {
        self.cursor
            .as_deref()
            .filter(|cursor| !cursor.is_empty())
            .map(decode)
            .transpose()
    }

    /// Makes the page out of what [`PageQuery::rows`] entries brought.
    pub fn page<T>(&self, mut items: Vec<T>, name: impl Fn(&T) -> String) -> Page<T> {
        let size = usize::try_from(self.size()).unwrap_or(usize::MAX);
        let more = items.len() > size;
        items.truncate(size);
        let next_cursor = if more {
            items.last().map(|last| hex::encode(name(last).as_bytes()))
        } else {
            None
        };
        Page { items, next_cursor }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// The cursor of the next page, or null on the last.
    pub next_cursor: Option<String>,
}

fn decode(cursor: &str) -> Result<String, Problem> {
    let name = hex::decode(cursor).and_then(|bytes| String::from_utf8(bytes).ok());
    name.ok_or_else(|| Problem::field("/cursor", "must be the next_cursor of a page"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_without_gap() {
        let all: Vec<String> = (0..7).map(|n| format!("sku-{n}")).collect();
        let mut seen = Vec::new();
        let mut query = PageQuery {
            limit: Some(3),
            cursor: None,
        };
        loop {
            let after = query.after().unwrap();
            let rows = all
                .iter()
                .filter(|name| after.as_ref().is_none_or(|after| *name > after))
                .cloned();
            let page = query.page(
                rows.take(usize::try_from(query.rows()).unwrap()).collect(),
                Clone::clone,
            );
            seen.extend(page.items);
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_made_up_cursor_is_refused() {
        for bad in ["zz", "abc", "ff", "6", "+6"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }
}
