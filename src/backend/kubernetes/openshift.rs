//! What differs on `OpenShift`: Routes are the ways in, and the cluster chooses who pods
//! run as.

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::json;

use super::Making;
use super::apis;
use super::names;
use super::names::dns;
use super::pod;
use super::support::Finding;
use crate::state::desired::PublishedPort;
use crate::state::desired::Route;
use crate::state::desired::ServiceSpec;

impl Making<'_> {
    /// Whether the cluster is one.
    pub(super) fn is_openshift(&self) -> bool {
        self.how.apis.has(apis::ROUTE)
    }

    /// Leaves out who a pod runs as: its constraint `restricted-v2` takes users and groups
    /// of the namespace's own range alone, and fills them in.
    pub(super) fn unnamed(&mut self, service: &ServiceSpec, pod: &mut PodSpec) {
        if !self.is_openshift() {
            return;
        }
        let account = format!("-z default -n {}", dns(&self.desired.stack));
        if !pod::is_restricted(service) {
            let text = format!(
                "asks for more than restricted-v2 lets a pod have: oc adm policy add-scc-to-user privileged {account}"
            );
            let note = Finding::note(&service.name, "user, cap_add, privileged", text);
            self.findings.push(note);
            return;
        }
        if service.container.user.is_some() {
            let text = "pods run as a user that the cluster chooses, in the group 0: what its image writes to must belong to that group";
            let note = Finding::note(&service.name, "user", text);
            self.findings.push(note);
        }
        if let Some(security) = &mut pod.security_context {
            security.run_as_user = None;
            security.run_as_group = None;
            security.fs_group = None;
        }
        let first = pod.init_containers.iter_mut().flatten();
        for container in first.chain(&mut pod.containers) {
            if let Some(security) = &mut container.security_context {
                security.run_as_user = None;
                security.run_as_group = None;
            }
        }
    }

    /// A Route for each way through a published port. Without a host of their own those of
    /// one port share a name below the cluster's domain, told apart by their paths.
    pub(super) fn routes(&mut self, port: &PublishedPort, shown: &str) {
        let stack = dns(&self.desired.stack);
        for route in &port.routes {
            let Some(service) = self.desired.services.get(&route.service) else {
                continue;
            };
            let outside = port.host_port.unwrap_or(route.port);
            let mut spec = json!({
                "path": route.path,
                "wildcardPolicy": "None",
                "to": { "kind": "Service", "name": dns(&route.service), "weight": 100 },
                "port": { "targetPort": format!("tcp-{}", route.port) },
                // As published, and encrypted for whoever asks for that.
                "tls": { "termination": "edge", "insecureEdgeTerminationPolicy": "Allow" },
            });
            let (key, value) = match &route.host {
                Some(host) => ("host", host.clone()),
                None => ("subdomain", dns(&format!("{stack}-{outside}"))),
            };
            spec[key] = json!(value);
            let text = match &route.host {
                Some(host) => format!("{shown} is a Route: {host} on ports 80 and 443"),
                None => format!(
                    "{shown} is a Route: {value} below the domain of the cluster, on ports 80 and 443"
                ),
            };
            let note = Finding::note(&route.service, "ports", text);
            self.findings.push(note);
            let labels = names::of_service(self.desired, service);
            let metadata = names::meta(self.desired, &name(route, outside), labels);
            self.objects.push(json!({
                "apiVersion": apis::ROUTE,
                "kind": "Route",
                "metadata": metadata,
                "spec": spec,
            }));
        }
    }
}

/// A name that stays when other ways come and go.
fn name(route: &Route, outside: u16) -> String {
    let path = route.path.trim_matches('/').replace('/', "-");
    let host = route.host.as_deref().unwrap_or_default();
    let number = outside.to_string();
    let parts = [route.service.as_str(), &number, &path, host];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    dns(&parts.join("-"))
}
