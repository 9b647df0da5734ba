//! What the last look found, kept in the user's cache folder, so that a look at
//! unchanged files reads no content. Losing it costs time, never correctness.

use std::fs;
use std::path::Path;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde::Serialize;

use crate::state::names::hex;

/// A change younger than this may be followed by another with the same time
/// stamp, so a digest of such files is not remembered.
const RACY_NS: i128 = 2_000_000_000;

/// Digest of a set of files at a fingerprint.
#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    fingerprint: String,
    digest: String,
}

/// The digest that was remembered for this fingerprint.
pub(super) fn recall(cache: &Path, key: &str, fingerprint: &str) -> Option<String> {
    let memo: Memo = serde_json::from_slice(&fs::read(file(cache, key)).ok()?).ok()?;
    (memo.fingerprint == fingerprint).then_some(memo.digest)
}

/// The digest that was remembered, whatever the fingerprint was.
pub(super) fn last(cache: &Path, key: &str) -> Option<String> {
    let memo: Memo = serde_json::from_slice(&fs::read(file(cache, key)).ok()?).ok()?;
    Some(memo.digest)
}

/// Remembers a digest, unless the files changed a moment ago. A cache that
/// cannot be written is no error.
pub(super) fn remember(cache: &Path, key: &str, fingerprint: &str, digest: &str, youngest: i128) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_nanos().cast_signed());
    // A fingerprint that never matches keeps the digest and forgets the short cut.
    let settled = now - youngest > RACY_NS;
    let fingerprint = if settled { fingerprint } else { "" };
    let memo = Memo {
        fingerprint: fingerprint.to_owned(),
        digest: digest.to_owned(),
    };
    let path = file(cache, key);
    let Ok(text) = serde_json::to_vec(&memo) else {
        return;
    };
    let _ = fs::create_dir_all(cache);
    let part = path.with_extension(format!("{}.part", std::process::id()));
    if fs::write(&part, text).is_ok() {
        let _ = fs::rename(&part, &path);
    }
}

fn file(cache: &Path, key: &str) -> std::path::PathBuf {
    cache.join(format!(
        "{}.json",
        hex(key.as_bytes()).get(..32).unwrap_or_default()
    ))
}
