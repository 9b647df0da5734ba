//! The complete labels of a replica: ours and Docker Compose's.

use std::collections::BTreeMap;

use super::change::Revision;
use super::desired::DesiredState;
use super::names;

/// Labels of the replica in `slot` of a service. The run's id is added by the
/// backend, which alone knows it.
pub fn of_replica(
    desired: &DesiredState,
    service: &str,
    slot: u32,
    alias: &str,
    revision: &Revision,
) -> BTreeMap<String, String> {
    let fields = serde_json::to_string(&revision.fields).unwrap_or_default();
    [
        (names::STACK, desired.stack.clone()),
        (names::SERVICE, service.to_owned()),
        (names::SLOT, slot.to_string()),
        (names::REVISION, revision.digest.clone()),
        (names::INSTANCE, alias.to_owned()),
        (names::ROLE, "service".to_owned()),
        (names::FIELDS, fields),
        (names::COMPOSE_PROJECT, desired.stack.clone()),
        (names::COMPOSE_SERVICE, service.to_owned()),
        (names::COMPOSE_NUMBER, slot.to_string()),
        (names::COMPOSE_ONEOFF, "False".to_owned()),
        (names::COMPOSE_HASH, format!("shopctl:{}", revision.digest)),
        (names::COMPOSE_WORKING_DIR, desired.working_dir.clone()),
        (names::COMPOSE_CONFIG_FILES, desired.config_files.join(",")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
