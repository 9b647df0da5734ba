//! How many replicas each service gets: the file's count, or what `scale` set.

use std::collections::BTreeMap;

use super::input::PlanInput;
use super::input::ScaleTo;
use crate::state::desired::ServiceSpec;
use crate::state::observed::ScaleOverride;

/// Replicas of one service, and where the count comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Replicas.
    pub(super) replicas: u32,
    /// Said to the user when the file says otherwise.
    pub(super) note: Option<String>,
    /// What becomes of the record.
    pub(super) record: Record,
}

/// What becomes of the record of a count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Record {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is written.
    Set(ScaleOverride),
    /// It is removed.
    Remove,
}

/// Count of each service.
pub(super) fn counts(input: &PlanInput<'_>) -> BTreeMap<String, Count> {
    input
        .desired
        .services
        .values()
        .map(|service| (service.name.clone(), count(input, service)))
        .collect()
}

/// What becomes of the records, for the services that may change.
pub(super) fn overrides<'a>(
    counts: impl Iterator<Item = (&'a String, &'a Count)>,
) -> BTreeMap<String, Option<ScaleOverride>> {
    counts
        .filter_map(|(service, count)| {
            let change = match &count.record {
                Record::Keep => return None,
                Record::Set(change) => Some(change.clone()),
                Record::Remove => None,
            };
            Some((service.clone(), change))
        })
        .collect()
}

fn count(input: &PlanInput<'_>, service: &ServiceSpec) -> Count {
    let file = service.replicas;
    let recorded = input
        .observed
        .store
        .as_ref()
        .and_then(|store| store.scale.get(&service.name));
    let from_file = Count {
        replicas: file,
        note: None,
        record: recorded.map_or(Record::Keep, |_| Record::Remove),
    };
    match input.options.scale.get(&service.name) {
        Some(ScaleTo::File) => return from_file,
        Some(ScaleTo::Count { replicas, by, at }) => {
            let asked = ScaleOverride {
                replicas: *replicas,
                file_replicas: file,
                by: by.clone(),
                at: *at,
            };
            let known = match recorded {
                Some(old) => old.replicas == *replicas && old.file_replicas == file,
                None => *replicas == file,
            };
            return Count {
                replicas: *replicas,
                note: None,
                record: if known {
                    Record::Keep
                } else {
                    Record::Set(asked)
                },
            };
        }
        None => {}
    }
    match recorded {
        Some(old) if !input.options.reset_scale && old.file_replicas == file => Count {
            replicas: old.replicas,
            note: (old.replicas != file).then(|| {
                format!(
                    "replicas {} (scaled by {} {}; file says {file})",
                    old.replicas,
                    old.by,
                    clock(old.at)
                )
            }),
            record: Record::Keep,
        },
        _ => from_file,
    }
}

/// Hours and minutes of a time, UTC.
fn clock(at: u64) -> String {
    format!("{:02}:{:02} UTC", at / 3600 % 24, at / 60 % 60)
}
