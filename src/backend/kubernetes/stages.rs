//! A second workload of a service, in which a new revision shows itself beside the one that
//! serves. How, and why so: `docs/design/009-stages-on-a-cluster.md`.

use serde_json::Value;
use serde_json::json;

use super::Making;
use super::names;
use super::names::dns;
use super::support::Finding;
use crate::state::desired::RolloutOrder;
use crate::state::desired::ServiceSpec;
use crate::state::spec::NetworkMode;
use crate::state::strategy::StagedKind;

const KEY: &str = "x-shop.rollout";

/// Name of the second workload.
fn name_of_next(service: &str) -> String {
    dns(&format!("{service}-{}", names::NEXT))
}

/// The same workload under another name, and with pods that can be told from its own.
fn beside(main: &Value, service: &str) -> Value {
    let mut next = main.clone();
    next["metadata"]["name"] = name_of_next(service).into();
    for labels in [
        "/metadata/labels",
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
    ] {
        if let Some(labels) = next.pointer_mut(labels) {
            labels[names::STAGE] = json!(names::NEXT);
        }
    }
    next
}

impl Making<'_> {
    /// The second workload of a service that asks for stages and can have them; else why not.
    pub(super) fn stages(&mut self, service: &ServiceSpec, kind: &str, alone: bool) {
        let Some(staged) = &service.rollout.staged else {
            return;
        };
        let name = service.name.as_str();
        if let Some(why) = self.why_not(service, kind, alone) {
            let text = format!("replaced batch by batch, not {}: {why}", staged.kind.word());
            self.findings.push(Finding::note(name, KEY, text));
            return;
        }
        let text = "stages are run by shopctl deploy; whatever else applies these objects replaces replicas batch by batch";
        self.findings.push(Finding::elsewhere(name, KEY, text));
        if staged.preview.is_some() {
            let text = format!(
                "no host leads to the new revision alone there: kubectl port-forward deployment/{}",
                name_of_next(name)
            );
            self.findings.push(Finding::note(name, KEY, text));
        }
        // The workload was made just before.
        if let Some(main) = self.objects.last_mut() {
            if staged.kind == StagedKind::BlueGreen {
                // By this, names can lead to the pods that serve alone.
                main["spec"]["template"]["metadata"]["labels"][names::STAGE] = json!(names::MAIN);
            }
            self.next.push(beside(main, name));
        }
    }

    /// Why two revisions of a service cannot be side by side.
    fn why_not(&self, service: &ServiceSpec, kind: &str, alone: bool) -> Option<String> {
        let next = name_of_next(&service.name);
        let mut others = self.desired.services.keys();
        if kind != "Deployment" || alone {
            return Some("two revisions cannot run side by side".to_owned());
        }
        if service.rollout.order == RolloutOrder::StopFirst {
            return Some("update_config.order is stop-first".to_owned());
        }
        if service.container.network == NetworkMode::Host {
            return Some("it uses the host's network".to_owned());
        }
        if self.count(service).is_none() {
            // It goes by labels, and would count both.
            return Some("an autoscaler keeps its count".to_owned());
        }
        others
            .any(|other| dns(other) == next)
            .then(|| format!("{next} is another service"))
    }
}
