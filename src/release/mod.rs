//! Release records, kept with the target so that a laptop and a CI runner see
//! the same truth.
//!
//! `head.json` and `scale.json` are small and part of every look; the releases
//! themselves stand apart as documents, the last [`KEPT`] of them.

mod secrets;

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::BackendError;
use crate::backend::Store;
use crate::state::history::Findings;
use crate::state::history::Head;
use crate::state::history::Outcome;
use crate::state::history::Release;
use crate::state::observed::ScaleOverride;
use crate::state::records::HEAD;
use crate::state::records::SCALE;

pub use crate::backend::KEPT_RELEASES as KEPT;
pub use secrets::secrets;
pub use secrets::words;

type Records = BTreeMap<String, Vec<u8>>;

/// Applies changes to the recorded scale overrides.
pub async fn record_scale<S: Store>(
    store: &S,
    stack: &str,
    changes: &BTreeMap<String, Option<ScaleOverride>>,
) -> Result<(), BackendError> {
    let edit = |records: &mut Records| {
        let mut overrides: BTreeMap<String, ScaleOverride> = parse(records, SCALE);
        for (service, change) in changes {
            match change {
                Some(change) => overrides.insert(service.clone(), change.clone()),
                None => overrides.remove(service),
            };
        }
        records.insert(SCALE.to_owned(), encode(SCALE, &overrides)?);
        Ok(None)
    };
    store.edit(stack, Box::new(edit)).await
}

/// Records a release, giving it the next number when it has none. One that ended
/// well is the one that serves, and what its run has found out stands from then on.
pub async fn record<S: Store>(
    store: &S,
    stack: &str,
    release: &mut Release,
    found: Findings,
) -> Result<(), BackendError> {
    let edit = |records: &mut Records| {
        let mut head: Head = parse(records, HEAD);
        if release.summary.number == 0 {
            release.summary.number = head.newest.as_ref().map_or(1, |newest| newest.number + 1);
        }
        let number = release.summary.number;
        if release.summary.outcome == Outcome::Deployed {
            head.serving = Some(number);
            head.proved.extend(found.proved);
            head.taken_over = found.taken_over;
        }
        // A run that was overtaken takes nothing back from the one that did.
        if head
            .newest
            .as_ref()
            .is_none_or(|newest| newest.number <= number)
        {
            head.newest = Some(release.summary.clone());
        }
        records.insert(HEAD.to_owned(), encode(HEAD, &head)?);
        Ok(Some((number, encode("the release", release)?)))
    };
    store.edit(stack, Box::new(edit)).await
}

/// The releases that are kept, by number. One that cannot be read is left out.
pub async fn all<S: Store>(store: &S, stack: &str) -> Result<BTreeMap<u64, Release>, BackendError> {
    let documents = store.releases(stack).await?;
    Ok(documents
        .into_iter()
        .filter_map(|(number, bytes)| Some((number, serde_json::from_slice(&bytes).ok()?)))
        .collect())
}

/// The release that serves: the newest that ended well.
pub async fn serving<S: Store>(store: &S, stack: &str) -> Result<Option<Release>, BackendError> {
    let releases = all(store, stack).await?;
    Ok(releases.into_values().rev().find(Release::is_stable))
}

/// What the stack is meant to be now: the newest release, or the one that serves where
/// the newest failed.
pub async fn standing<S: Store>(store: &S, stack: &str) -> Result<Option<Release>, BackendError> {
    let releases = all(store, stack).await?;
    let failed =
        |one: &Release| matches!(one.summary.outcome, Outcome::Failed | Outcome::RolledBack);
    Ok(releases.into_values().rev().find(|one| !failed(one)))
}

/// A record that cannot be read counts as absent: the store is rebuilt from
/// what runs, and a torn file must never stop a deploy.
fn parse<T: DeserializeOwned + Default>(records: &BTreeMap<String, Vec<u8>>, name: &str) -> T {
    records
        .get(name)
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default()
}

fn encode(name: &str, value: &impl Serialize) -> Result<Vec<u8>, BackendError> {
    serde_json::to_vec(value).map_err(|error| BackendError::Other {
        doing: format!("write {name}"),
        source: error.into(),
    })
}
