//! Live use of pods, where the cluster measures it.

use std::collections::BTreeMap;

use kube::Api;
use kube::api::ApiResource;
use kube::api::DynamicObject;
use kube::api::ListParams;
use serde_json::Value;

use super::Cluster;
use super::quantity;
use super::retry::patiently;
use crate::backend::Pending;
use crate::backend::Usage;
use crate::backend::Use;
use crate::backend::kubernetes::names;

impl Usage for Cluster {
    /// One list; a cluster measures about every 15 seconds.
    fn usage<'a>(&'a self, containers: &'a [String]) -> Pending<'a, BTreeMap<String, Use>> {
        Box::pin(async move {
            if containers.is_empty() {
                return Ok(BTreeMap::new());
            }
            let resource = ApiResource {
                group: "metrics.k8s.io".to_owned(),
                version: "v1beta1".to_owned(),
                api_version: "metrics.k8s.io/v1beta1".to_owned(),
                kind: "PodMetrics".to_owned(),
                plural: "pods".to_owned(),
            };
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client(), &self.namespace(), &resource);
            let params = ListParams::default().labels(&format!("{}=shopctl", names::MANAGED_BY));
            let found = match patiently(|| api.list(&params)).await {
                Ok(found) => found,
                // Not every cluster measures, or lets everybody see it; and one whose
                // measuring is down says that it is unavailable.
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 503) => {
                    return Ok(BTreeMap::new());
                }
                Err(error) => return Err(self.failed("measure pods", error)),
            };
            let used = found.items.iter().filter_map(|one| {
                let name = one.metadata.name.clone()?;
                let asked = containers.contains(&name);
                asked.then(|| used(one)).flatten().map(|used| (name, used))
            });
            Ok(used.collect())
        })
    }
}

/// What the service's own container uses; where none is named like the service, all of
/// the pod.
fn used(metrics: &DynamicObject) -> Option<Use> {
    let all = metrics.data["containers"].as_array()?;
    let labels = metrics.metadata.labels.as_ref();
    let service = labels.and_then(|labels| labels.get(names::NAME));
    let own = |one: &&Value| one["name"].as_str() == service.map(String::as_str);
    let chosen: Vec<&Value> = match all.iter().find(own) {
        Some(own) => vec![own],
        None => all.iter().collect(),
    };
    let mut sum = Use::default();
    for one in &chosen {
        let amount = |name: &str| one["usage"][name].as_str();
        sum.cpu += amount("cpu").and_then(quantity::number)?;
        let memory = amount("memory").map(|text| quantity::scaled(text, 1.0))?;
        sum.memory = sum.memory.saturating_add(memory);
    }
    (!chosen.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(labels: &Value, containers: &Value) -> Option<Use> {
        let metrics = json!({ "metadata": { "name": "a", "labels": labels },
            "containers": containers });
        used(&serde_json::from_value(metrics).unwrap())
    }

    #[test]
    fn the_own_container_counts_where_it_can_be_told() {
        let two = json!([
            { "name": "proxy", "usage": { "cpu": "250m", "memory": "1Mi" } },
            { "name": "order", "usage": { "cpu": "500000000n", "memory": "2Mi" } },
        ]);
        let own = of(&json!({ names::NAME: "order" }), &two).unwrap();
        assert!((own.cpu - 0.5).abs() < 1e-9, "{own:?}");
        assert_eq!(own.memory, 2 << 20);
        let all = of(&json!({}), &two).unwrap();
        assert!((all.cpu - 0.75).abs() < 1e-9, "{all:?}");
        assert_eq!(all.memory, 3 << 20);
        assert_eq!(of(&json!({}), &json!([])), None);
        assert_eq!(of(&json!({}), &json!([{ "name": "x", "usage": {} }])), None);
    }
}
