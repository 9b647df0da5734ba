//! The values of a recorded release's secrets, so that reports can leave them out.
//!
//! They are in no record; they are in the volumes of its file sets, and the stack file
//! may have others by now.

use std::collections::BTreeSet;

use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Store;
use crate::state::desired::DesiredState;
use crate::state::digest;
use crate::state::names;
use crate::state::resolve;

/// Lines of a value that are shorter may be words of any text.
const LINE: usize = 8;

/// The values of all secrets of a recorded state. A volume that is gone has none.
pub async fn secrets<S: Store>(
    store: &S,
    context: &Context,
    desired: &DesiredState,
) -> Result<Vec<String>, BackendError> {
    let mut values = BTreeSet::new();
    for (set, files) in &desired.files {
        let mut services = desired.services.keys();
        if !services.any(|service| resolve::holds_secrets(set, service)) {
            continue;
        }
        let volume = names::files(&context.stack, set, &digest::file_set(files));
        for content in store.seeded(context, &volume).await?.values() {
            values.extend(words(&String::from_utf8_lossy(content)));
        }
    }
    Ok(values.into_iter().collect())
}

/// What must not be said of a secret: its value, and each of its lines, since output is
/// looked through line by line.
pub fn words(value: &str) -> Vec<String> {
    let value = value.trim();
    let lines = value.lines().map(str::trim);
    std::iter::once(value)
        .chain(lines.filter(|line| line.len() >= LINE))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_key_is_a_value_and_short_ones_are_not() {
        assert_eq!(words("  token\n"), ["token"]);
        assert_eq!(
            words("first-line\nend\n"),
            ["first-line\nend", "first-line"]
        );
        assert!(words("\n").is_empty());
    }
}
