//! Release records, kept with the target so that a laptop and a CI runner see
//! the same truth.
//!
//! Each record is one JSON file of the stack's store: `scale.json` holds the
//! replica counts set by `scale`, `release.json` the newest release.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::BackendError;
use crate::backend::Store;
use crate::state::observed::ReleaseSummary;
use crate::state::observed::ScaleOverride;

/// File name of the scale overrides.
pub const SCALE: &str = "scale.json";
/// File name of the newest release.
pub const RELEASE: &str = "release.json";

/// Applies changes to the recorded scale overrides.
pub async fn record_scale<S: Store>(
    store: &S,
    stack: &str,
    changes: &BTreeMap<String, Option<ScaleOverride>>,
) -> Result<(), BackendError> {
    let records = store.read(stack).await?.unwrap_or_default();
    let mut overrides: BTreeMap<String, ScaleOverride> = parse(&records, SCALE);
    for (service, change) in changes {
        match change {
            Some(change) => overrides.insert(service.clone(), change.clone()),
            None => overrides.remove(service),
        };
    }
    write(store, stack, SCALE, &overrides).await
}

/// Records a release; its number is one more than the last. Revisions of services
/// that it did not touch stay recorded.
pub async fn record_release<S: Store>(
    store: &S,
    stack: &str,
    mut release: ReleaseSummary,
) -> Result<u64, BackendError> {
    let records = store.read(stack).await?.unwrap_or_default();
    let last: ReleaseSummary = parse(&records, RELEASE);
    release.number = last.number + 1;
    for (service, revision) in last.revisions {
        release.revisions.entry(service).or_insert(revision);
    }
    write(store, stack, RELEASE, &release).await?;
    Ok(release.number)
}

/// A record that cannot be read counts as absent: the store is rebuilt from
/// what runs, and a torn file must never stop a deploy.
fn parse<T: DeserializeOwned + Default>(records: &BTreeMap<String, Vec<u8>>, name: &str) -> T {
    records
        .get(name)
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default()
}

async fn write<S: Store>(
    store: &S,
    stack: &str,
    name: &str,
    value: &impl Serialize,
) -> Result<(), BackendError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| BackendError::Other {
        doing: format!("write {name}"),
        source: error.into(),
    })?;
    store
        .write(stack, &BTreeMap::from([(name.to_owned(), bytes)]))
        .await
}
