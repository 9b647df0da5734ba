//! The records of a stack, kept in its namespace.

use std::collections::BTreeMap;

use super::Cluster;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Edit;
use crate::backend::Pending;
use crate::backend::Store;

impl Cluster {
    pub(super) async fn snapshot(
        &self,
        _namespace: &str,
    ) -> Result<Option<crate::state::observed::StoreSnapshot>, BackendError> {
        Ok(None)
    }
}

impl Store for Cluster {
    fn read<'a>(&'a self, _stack: &'a str) -> Pending<'a, Option<BTreeMap<String, Vec<u8>>>> {
        Box::pin(async { Ok(None) })
    }

    fn edit<'a>(&'a self, _stack: &'a str, _edit: Edit<'a>) -> Pending<'a, ()> {
        Box::pin(async { Err(BackendError::Unsupported("edit".to_owned())) })
    }

    fn seeded<'a>(
        &'a self,
        _context: &'a Context,
        _volume: &'a str,
    ) -> Pending<'a, BTreeMap<String, Vec<u8>>> {
        Box::pin(async { Ok(BTreeMap::new()) })
    }

    fn releases<'a>(&'a self, _stack: &'a str) -> Pending<'a, BTreeMap<u64, Vec<u8>>> {
        Box::pin(async { Ok(BTreeMap::new()) })
    }
}
