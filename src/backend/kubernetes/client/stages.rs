//! Workloads in which new revisions show themselves: those that a plan may use, and how far
//! a run that did not finish has got with them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;

use super::compare::Comparison;
use super::observe::Inventory;
use super::observe::is_ours;
use super::observe::service_of;
use crate::backend::BackendError;
use crate::backend::kubernetes::names;
use crate::state::cluster::Next;
use crate::state::cluster::Renewal;
use crate::state::cluster::Wanted;
use crate::state::desired::DesiredState;

/// Whether a workload is one of those, beside its service's own.
pub(super) fn is_next(live: &Value) -> bool {
    live["metadata"]["labels"][names::STAGE] == names::NEXT
}

/// Services whose name leads to the new revision alone.
pub(super) fn switched(inventory: &Inventory, desired: &DesiredState) -> BTreeSet<String> {
    let leads = |live: &Value| live["spec"]["selector"][names::STAGE] == names::NEXT;
    let services = inventory
        .iter()
        .filter(|(object, live)| object.kind == "Service" && leads(live) && is_ours(live, desired));
    let name = |live: &Value| {
        let label = live["metadata"]["labels"][names::NAME].as_str()?;
        Some(service_of(label, desired))
    };
    services.filter_map(|(_, live)| name(live)).collect()
}

impl Comparison<'_> {
    /// Of the workloads in which revisions could show themselves those for which one is to
    /// come. The server is asked about no others.
    pub(super) async fn next(
        &self,
        rendered: Vec<Value>,
        wanted: &[Wanted],
    ) -> Result<BTreeMap<String, Next>, BackendError> {
        let mut all = BTreeMap::new();
        for object in rendered {
            let next = self.cluster.inner.server.fitted(object);
            // What this server does not take as it stands was said of the service's own.
            let Ok((object, _)) = next else { continue };
            let label = object["metadata"]["labels"][names::NAME].as_str();
            let service = service_of(label.unwrap_or_default(), self.desired);
            let main = wanted
                .iter()
                .find(|one| one.service == service && one.object.is_workload());
            let Some(main) = main.filter(|main| main.renewal == Renewal::Replaces && !main.foreign)
            else {
                continue;
            };
            let next = Next {
                wanted: self.wanted(object).await?,
                own: (names::STAGE.to_owned(), names::NEXT.to_owned()),
                others: self.is_marked(main).then(|| {
                    let (name, value) = (names::STAGE, names::MAIN);
                    (name.to_owned(), value.to_owned())
                }),
            };
            all.insert(service, next);
        }
        Ok(all)
    }

    /// Whether all pods of a workload say that they are those that serve.
    fn is_marked(&self, main: &Wanted) -> bool {
        let live = self.inventory.get(&main.object);
        let marked = live.is_some_and(|live| {
            let labels = &live["spec"]["template"]["metadata"]["labels"];
            labels[names::STAGE] == names::MAIN
        });
        // Older ones may be without.
        let pods = main.pods.as_ref();
        marked && pods.is_some_and(crate::state::cluster::Pods::is_rolled_out)
    }
}
