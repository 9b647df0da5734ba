//! A mesh of the cluster: who is in it, and what it does with replicas that fail.
//!
//! Pods are marked one by one, not their namespace: a job would not end beside a proxy of
//! the older kind, and the file may leave a service out. Whatever is tried again was not
//! begun: a mesh does not know which requests may be done twice.

use serde_json::Value;
use serde_json::json;

use super::Making;
use super::apis;
use super::names::Labels;
use super::names::dns;
use super::support::Finding;
use super::traffic;
use crate::state::desired::Class;
use crate::state::desired::Mesh;
use crate::state::desired::ServiceSpec;
use crate::state::spec::NetworkMode;

const KEY: &str = "x-shop.mesh";
/// So many failed answers one after the other take a replica out.
const FAILURES: u32 = 5;
/// How long it stays out, at first.
const AWAY: &str = "30s";
/// How often it is looked whether one has failed, or may come back.
const INTERVAL: &str = "10s";
/// At most this share of the replicas is out, in percent: one of two may be.
const SHARE: u32 = 50;
/// A request that was not begun is sent again so often.
const RETRIES: u32 = 2;

/// The mesh that the pods of a service are in.
pub(super) fn of(service: &ServiceSpec) -> Option<Mesh> {
    let network = &service.container.network;
    let reached = !matches!(network, NetworkMode::Host | NetworkMode::None);
    service.mesh.filter(|_| reached && !service.one_off)
}

/// Where the mesh itself runs, as it comes.
pub(super) fn namespace(mesh: Mesh) -> &'static str {
    match mesh {
        Mesh::Istio => "istio-system",
        Mesh::Linkerd => "linkerd",
        Mesh::Consul => "consul",
    }
}

/// Marks a pod for its mesh.
pub(super) fn mark(service: &ServiceSpec, labels: &mut Labels, annotations: &mut Labels) {
    let (marks, key, value) = match of(service) {
        Some(Mesh::Istio) => (labels, "sidecar.istio.io/inject", "true"),
        Some(Mesh::Linkerd) => (annotations, "linkerd.io/inject", "enabled"),
        Some(Mesh::Consul) => (annotations, "consul.hashicorp.com/connect-inject", "true"),
        None => return,
    };
    marks.insert(key.to_owned(), value.to_owned());
}

/// Annotations of the name of a service.
pub(super) fn of_name(service: &ServiceSpec) -> Option<Labels> {
    let key = "balancer.linkerd.io/failure-accrual";
    let accrual = [
        (key.to_owned(), "consecutive".to_owned()),
        (
            format!("{key}-consecutive-max-failures"),
            FAILURES.to_string(),
        ),
        (format!("{key}-consecutive-min-penalty"), AWAY.to_owned()),
        // No shorter than the least, and twice as long each time until then.
        (format!("{key}-consecutive-max-penalty"), "5m".to_owned()),
    ];
    (of(service) == Some(Mesh::Linkerd)).then(|| accrual.into())
}

impl Making<'_> {
    /// What the mesh does with requests for a service.
    pub(super) fn isolation(&mut self, service: &ServiceSpec) {
        // What keeps data has its own way to a replica.
        if service.class == Class::Stateful {
            return;
        }
        match of(service) {
            Some(Mesh::Istio) if self.how.apis.has(apis::ISTIO) => self.istio(service),
            Some(Mesh::Consul) if self.how.apis.has(apis::CONSUL) => self.consul(service),
            _ => {}
        }
    }

    fn istio(&mut self, service: &ServiceSpec) {
        let ports = traffic::http_ports(self.desired, service);
        if ports.is_empty() {
            return;
        }
        let host = dns(&service.name);
        let rule = json!({
            "host": host,
            "trafficPolicy": { "outlierDetection": {
                "consecutive5xxErrors": FAILURES,
                "interval": INTERVAL,
                "baseEjectionTime": AWAY,
                "maxEjectionPercent": SHARE,
            } },
        });
        self.foreign(service, apis::ISTIO, "DestinationRule", &rule);
        // Port by port: one rule for all would lead them all to one port.
        let route = |port: u16| {
            json!({
                "match": [{ "port": port }],
                "route": [{ "destination": { "host": host, "port": { "number": port } } }],
                "retries": { "attempts": RETRIES, "retryOn": "connect-failure,refused-stream" },
            })
        };
        let routes: Vec<Value> = ports.into_iter().map(route).collect();
        let spec = json!({ "hosts": [host], "http": routes });
        self.foreign(service, apis::ISTIO, "VirtualService", &spec);
    }

    fn consul(&mut self, service: &ServiceSpec) {
        let http = traffic::http_ports(self.desired, service);
        // One word for all of its ports.
        let all = traffic::ports(self.desired, service).len() == http.len() && !http.is_empty();
        let health = json!({
            "interval": INTERVAL,
            "maxFailures": FAILURES,
            "enforcingConsecutive5xx": 100,
            "maxEjectionPercent": SHARE,
            "baseEjectionTime": AWAY,
        });
        // Said of the callers there: how this service looks at those that it calls.
        let defaults = json!({ "defaults": { "passiveHealthCheck": health } });
        let protocol = if all { "http" } else { "tcp" };
        let spec = json!({ "protocol": protocol, "upstreamConfig": defaults });
        self.foreign(service, apis::CONSUL, "ServiceDefaults", &spec);
        if all {
            let route = json!({
                "match": { "http": { "pathPrefix": "/" } },
                "destination": { "numRetries": RETRIES, "retryOnConnectFailure": true },
            });
            let spec = json!({ "routes": [route] });
            self.foreign(service, apis::CONSUL, "ServiceRouter", &spec);
        }
    }

    /// An object of a kind that is no part of a plain cluster.
    fn foreign(&mut self, service: &ServiceSpec, api: &str, kind: &str, spec: &Value) {
        let metadata = self.meta(service);
        self.objects.push(json!({
            "apiVersion": api,
            "kind": kind,
            "metadata": metadata,
            "spec": spec,
        }));
    }

    /// What a mesh needs, and whom it leaves out.
    pub(super) fn meshes(&mut self) {
        let services = || self.desired.services.values();
        let mut notes = Vec::new();
        for mesh in [Mesh::Istio, Mesh::Linkerd, Mesh::Consul] {
            if !services().any(|service| of(service) == Some(mesh)) {
                continue;
            }
            let (name, api, plugin) = match mesh {
                Mesh::Istio => ("Istio", Some(apis::ISTIO), "istio-cni"),
                Mesh::Linkerd => ("Linkerd", None, "linkerd-cni"),
                Mesh::Consul => ("Consul", Some(apis::CONSUL), "connectInject.cni"),
            };
            notes.push(format!(
                "{name} has to be in the cluster, with its CNI plugin ({plugin}): without, a container that it puts first into each pod asks for rights that the standard of the pods forbids"
            ));
            if let Some(api) = api.filter(|api| !self.how.apis.has(api)) {
                notes.push(format!(
                    "this cluster serves no {api}, so {name} is not told what to do with replicas that fail"
                ));
            }
            if mesh == Mesh::Consul {
                notes.push(
                    "Consul carries one port of a service, and with its access lists on knows a service by an account of its name, which pods do not have"
                        .to_owned(),
                );
            }
        }
        let outside = services().filter(|service| service.mesh.is_some() && of(service).is_none());
        let outside: Vec<&str> = outside.map(|service| service.name.as_str()).collect();
        if !outside.is_empty() {
            notes.push(format!(
                "what ends by itself or has no network of the stack is not in the mesh: {}",
                outside.join(", ")
            ));
        }
        let notes = notes.into_iter().map(|text| Finding::note("", KEY, text));
        self.findings.extend(notes);
    }
}
