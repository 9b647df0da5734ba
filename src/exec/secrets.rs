//! What must not be said: values of secrets in events, failures and output.
//!
//! A run knows those of the stack file. On the way back to a recorded release come those
//! of that release, which the file may have no longer.

use super::mission::Mission;
use crate::backend::BackendError;
use crate::backend::Lock;
use crate::backend::Store;
use crate::release;
use crate::state::desired::DesiredState;

/// Values that are shorter would hide parts of ordinary words.
const SHORTEST: usize = 4;
/// In place of output that may hold values nobody could read.
const UNKNOWN: &str = "(not shown: the values of the release's secrets could not be read)";

/// Values that must not appear in any event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    values: Vec<String>,
    /// There are others, which could not be read.
    unknown: bool,
}

impl Secrets {
    /// Those that a mission names, and those of the release that it goes back to.
    pub(super) async fn of<S: Store>(
        store: &S,
        mission: &Mission<'_>,
        lock: &dyn Lock,
    ) -> Result<Self, BackendError> {
        let mut values = mission.secrets.to_vec();
        if let Some(release) = &mission.release
            && release.summary.back_to.is_some()
        {
            // They are read through a container that is made for it.
            lock.confirm().await?;
            values.extend(release::secrets(store, mission.context, &release.desired).await?);
        }
        Ok(Self::new(values))
    }

    /// These, and those of a recorded state. Where they cannot be read, output is not
    /// shown: a way back must not wait for them.
    pub(super) async fn and<S: Store>(
        &self,
        store: &S,
        mission: &Mission<'_>,
        lock: &dyn Lock,
        desired: &DesiredState,
    ) -> Self {
        let read = async {
            lock.confirm().await?;
            release::secrets(store, mission.context, desired).await
        };
        match read.await {
            Ok(more) => {
                let mut all = Self::new(self.values.iter().cloned().chain(more).collect());
                all.unknown = self.unknown;
                all
            }
            Err(_) => Self {
                unknown: true,
                ..self.clone()
            },
        }
    }

    /// These values, the longest first: one may be part of another.
    pub fn new(mut values: Vec<String>) -> Self {
        values.retain(|value| value.len() >= SHORTEST);
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Self {
            values,
            unknown: false,
        }
    }

    /// Our own words with asterisks in place of values.
    pub fn redact(&self, line: &str) -> String {
        self.values.iter().fold(line.to_owned(), |line, secret| {
            line.replace(secret.as_str(), "****")
        })
    }

    /// The same of what a container says.
    pub(super) fn redact_output(&self, line: &str) -> String {
        if self.unknown {
            UNKNOWN.to_owned()
        } else {
            self.redact(line)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_value_goes_first_and_short_ones_stay() {
        let secrets = Secrets::new(["key", "canary", "canary-two"].map(str::to_owned).into());
        assert_eq!(secrets.redact("key canary-two canary"), "key **** ****");
        let unknown = Secrets {
            unknown: true,
            ..Secrets::default()
        };
        assert_eq!(unknown.redact_output("anything"), UNKNOWN);
        assert_eq!(unknown.redact("our words"), "our words");
    }
}
