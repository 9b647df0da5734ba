//! A pod beside a service, for one command, a hook or what a user runs: made as the pods of
//! the service are, and found by nobody who looks for those.

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::PodTemplateSpec;

use super::Making;
use super::Rendering;
use super::names;
use super::names::dns;
use super::storage;
use super::support;
use super::support::Finding;
use crate::state::desired::DesiredState;
use crate::state::desired::ServiceSpec;
use crate::state::spec::Mount;
use crate::state::spec::MountSource;

/// The pod for a command of a service, whose container says already what it runs; and what
/// of the service it goes without.
pub(super) fn one_off(
    desired: &DesiredState,
    service: &ServiceSpec,
    name: &str,
    how: &Rendering,
) -> (Pod, Vec<Finding>) {
    let mut alone = service.clone();
    let mut findings: Vec<Finding> = support::of_service(service)
        .into_iter()
        .filter(|finding| finding.refused)
        .collect();
    alone.container.mounts.retain(|mount| {
        let Some(key) = taken(desired, service, mount) else {
            return true;
        };
        let text = format!("one pod alone may have {key}: the command runs without it");
        findings.push(Finding::note(&service.name, "volumes", text));
        false
    });
    let mut made = Making {
        desired,
        how,
        objects: Vec::new(),
        next: Vec::new(),
        findings: Vec::new(),
    };
    let template = made.pod_alone(alone);
    findings.extend(made.findings.into_iter().filter(|finding| finding.refused));
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = Some(name.to_owned());
    metadata.namespace = Some(dns(&desired.stack));
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(names::RUN_OF.to_owned(), dns(&service.name));
    let mut spec = template.spec.unwrap_or_default();
    for container in &mut spec.containers {
        // Who is attached first is the only one: what it ends, ends for the command.
        container.stdin_once = container.stdin;
    }
    let pod = Pod {
        metadata,
        spec: Some(spec),
        status: None,
    };
    (pod, findings)
}

impl Making<'_> {
    /// A pod of a service whose container says already what it runs, once.
    pub(super) fn pod_alone(&mut self, mut service: ServiceSpec) -> PodTemplateSpec {
        service.one_off = true;
        service.replicas = 1;
        let mut template = self.pods(&service);
        if let Some(labels) = template.metadata.as_mut().and_then(|it| it.labels.as_mut()) {
            // Whatever leads to the service or counts its replicas goes by this name.
            labels.remove(names::NAME);
        }
        if let Some(pod) = &mut template.spec {
            pod.restart_policy = Some("Never".to_owned());
            for container in &mut pod.containers {
                bare(container);
            }
        }
        template
    }
}

/// The volume of a mount that is the service's own pod's alone.
fn taken(desired: &DesiredState, service: &ServiceSpec, mount: &Mount) -> Option<String> {
    match &mount.source {
        MountSource::Volume { key, .. }
            if storage::pods_of(desired, key) <= 1 || service.exclusive_volumes.contains(key) =>
        {
            Some(key.clone())
        }
        _ => None,
    }
}

/// Nobody asks a command whether it is ready, and nothing leads to it.
fn bare(container: &mut Container) {
    container.readiness_probe = None;
    container.startup_probe = None;
    container.liveness_probe = None;
    container.lifecycle = None;
    container.ports = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::desired::ImageSource;
    use crate::state::desired::PullPolicy;
    use crate::state::desired::ReadyGate;

    use crate::state::spec::Endpoint;
    use crate::state::spec::NetworkMode;
    use crate::state::spec::VolumeSpec;
    use serde_json::Value;
    use serde_json::json;

    fn volume(key: &str) -> Mount {
        Mount {
            target: format!("/{key}"),
            source: MountSource::Volume {
                key: key.to_owned(),
                nocopy: false,
                subpath: None,
            },
            read_only: false,
        }
    }

    fn shop() -> DesiredState {
        let mut order = ServiceSpec {
            name: "order_api".to_owned(),
            replicas: 2,
            image: ImageSource::Pull {
                reference: "order:1".to_owned(),
                policy: PullPolicy::default(),
            },
            ready: ReadyGate::Probe {
                port: 8000,
                http: None,
                deadline_ms: 1000,
            },
            ..ServiceSpec::default()
        };
        let container = &mut order.container;
        container.command = Some(vec!["migrate".to_owned()]);
        container.stdin_open = true;
        container
            .environment
            .insert("A".to_owned(), Some("b".to_owned()));
        container.expose.insert("8000".to_owned());
        container.network =
            NetworkMode::Networks([("default".to_owned(), Endpoint::default())].into());
        container.mounts = vec![volume("shared"), volume("own")];
        order.exclusive_volumes = vec!["own".to_owned()];
        let volumes = ["shared", "own"].map(|key| (key.to_owned(), VolumeSpec::default()));
        DesiredState {
            stack: "shop".to_owned(),
            services: [(order.name.clone(), order)].into(),
            volumes: volumes.into(),
            ..DesiredState::default()
        }
    }

    #[test]
    fn it_is_a_pod_of_the_service_that_nothing_leads_to() {
        let desired = shop();
        let service = &desired.services["order_api"];
        let (pod, findings) = one_off(&desired, service, "order-api-run-1", &Rendering::default());
        let mut found = serde_json::to_value(pod).unwrap();
        let revision = found["metadata"]["annotations"][names::REVISION].take();
        assert_eq!(revision.as_str().map(str::len), Some(12));
        let want = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "order-api-run-1", "namespace": "shop",
                "annotations": { names::REVISION: Value::Null },
                "labels": {
                    "app.kubernetes.io/managed-by": "shopctl",
                    "app.kubernetes.io/part-of": "shop",
                    "network.shopctl.dev/default": "true",
                    "shopctl.dev/run-of": "order-api",
                },
            },
            "spec": {
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 10,
                "securityContext": {
                    "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                "containers": [{
                    "name": "order-api", "image": "order:1", "args": ["migrate"],
                    "env": [{ "name": "A", "value": "b" }],
                    "stdin": true, "stdinOnce": true,
                    "resources": found["spec"]["containers"][0]["resources"],
                    "securityContext": { "allowPrivilegeEscalation": false,
                        "capabilities": { "drop": ["ALL"] } },
                    "volumeMounts": [{ "mountPath": "/shared", "name": "volume-shared" }],
                }],
                "volumes": [{ "name": "volume-shared",
                    "persistentVolumeClaim": { "claimName": "shared" } }],
            },
        });
        assert_eq!(found, want, "{found:#}");
        let told = "one pod alone may have own: the command runs without it";
        assert_eq!(findings, [Finding::note("order_api", "volumes", told)]);
        // What leads to replicas, and counts them, goes by labels that it does not have.
        for (name, value) in names::selector(&desired, service) {
            if name != names::PART_OF {
                assert_ne!(found["metadata"]["labels"][&name], value.as_str());
            }
        }
    }

    #[test]
    fn what_cannot_be_on_a_cluster_is_refused() {
        let mut desired = shop();
        let order = desired.services.get_mut("order_api").unwrap();
        order.container.network = NetworkMode::Service("db".to_owned());
        order.image = ImageSource::Build { tag: None };
        let (_, findings) = one_off(
            &desired,
            &desired.services["order_api"],
            "x",
            &Rendering::default(),
        );
        let refused: Vec<&str> = findings
            .iter()
            .filter(|one| one.refused)
            .map(|one| one.key)
            .collect();
        assert_eq!(refused, ["network_mode", "build"]);
    }
}
