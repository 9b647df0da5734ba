//! Who is reached how: services between pods, ways in from outside, and who may not.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::api::core::v1::ServiceSpec as Reach;
use k8s_openapi::api::networking::v1::HTTPIngressPath;
use k8s_openapi::api::networking::v1::HTTPIngressRuleValue;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::networking::v1::IngressBackend;
use k8s_openapi::api::networking::v1::IngressRule;
use k8s_openapi::api::networking::v1::IngressServiceBackend;
use k8s_openapi::api::networking::v1::IngressSpec;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use k8s_openapi::api::networking::v1::NetworkPolicyIngressRule;
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use k8s_openapi::api::networking::v1::NetworkPolicyPort;
use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use k8s_openapi::api::networking::v1::ServiceBackendPort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Making;
use super::mesh;
use super::names;
use super::names::dns;
use super::support::Finding;
use crate::state::desired::Class;
use crate::state::desired::DesiredState;
use crate::state::desired::Mesh;
use crate::state::desired::PublishedPort;
use crate::state::desired::ReadyGate;
use crate::state::desired::Route;
use crate::state::desired::ServiceSpec;
use crate::state::spec::NetworkMode;

/// Name of the headless form of an address.
const NO_ADDRESS: &str = "None";

/// Ports on which a service is reached, with their protocols: published, exposed, or
/// asked for readiness alone no others.
pub(super) fn ports(desired: &DesiredState, service: &ServiceSpec) -> BTreeSet<(u16, String)> {
    let routes = desired.ports.iter().flat_map(|port| &port.routes);
    let published = routes
        .filter(|route| route.service == service.name)
        .map(|route| (route.port, "TCP".to_owned()));
    let own = service
        .container
        .ports
        .iter()
        .map(|port| (port.container_port, port.protocol.to_uppercase()));
    let exposed = service.container.expose.iter().filter_map(|text| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Some((port.parse().ok()?, protocol.to_uppercase()))
    });
    let inner = service.inner.iter().map(|port| (*port, "TCP".to_owned()));
    published.chain(own).chain(exposed).chain(inner).collect()
}

/// Those of them that are known to speak HTTP.
pub(super) fn http_ports(desired: &DesiredState, service: &ServiceSpec) -> BTreeSet<u16> {
    let spoken = desired.ports.iter().filter(|port| port.http);
    let routes = spoken.flat_map(|port| &port.routes);
    let published = routes
        .filter(|route| route.service == service.name)
        .map(|route| route.port);
    let probed = match &service.ready {
        ReadyGate::Probe {
            port,
            http: Some(_),
            ..
        } => Some(*port),
        _ => None,
    };
    let open = ports(desired, service);
    let all = published.chain(service.inner.iter().copied()).chain(probed);
    all.filter(|port| open.contains(&(*port, "TCP".to_owned())))
        .collect()
}

fn service_port((port, protocol): (u16, String)) -> ServicePort {
    ServicePort {
        name: Some(format!("{}-{port}", protocol.to_lowercase())),
        port: port.into(),
        // Part of the key by which ports are merged.
        protocol: Some(protocol),
        target_port: Some(IntOrString::Int(port.into())),
        ..ServicePort::default()
    }
}

impl Making<'_> {
    /// The name of a service. One of whose ports nothing is known has no address of its
    /// own: its name leads to its pods, on any port.
    pub(super) fn traffic(&mut self, service: &ServiceSpec) {
        let ports = ports(self.desired, service);
        if service.one_off && ports.is_empty() {
            return;
        }
        let headless = ports.is_empty() || service.class == Class::Stateful;
        // A mesh takes a port by its protocol: what is called `tcp-…` is no HTTP to it.
        let http = match mesh::of(service) {
            Some(_) => http_ports(self.desired, service),
            None => BTreeSet::new(),
        };
        let port = |(port, protocol): (u16, String)| ServicePort {
            app_protocol: (protocol == "TCP" && http.contains(&port)).then(|| "http".to_owned()),
            ..service_port((port, protocol))
        };
        let mut metadata = self.meta(service);
        metadata.annotations = mesh::of_name(service);
        self.add(&Service {
            metadata,
            spec: Some(Reach {
                cluster_ip: headless.then(|| NO_ADDRESS.to_owned()),
                selector: Some(names::selector(self.desired, service)),
                ports: super::pod::some(ports.into_iter().map(port).collect()),
                ..Reach::default()
            }),
            ..Service::default()
        });
    }

    /// Ways in from outside: one service behind a port is a balancer, several are a table
    /// of paths. What is published on the loopback address is for the machine alone.
    pub(super) fn published(&mut self) {
        for port in &self.desired.ports {
            let shown = port.id.split('/').next().unwrap_or(&port.id).to_owned();
            if is_loopback(&port.host_ip) {
                if let Some(route) = port.routes.first() {
                    let text = format!(
                        "{shown} was for this machine alone, so it is not published: kubectl port-forward service/{} {}:{}",
                        dns(&route.service),
                        port.host_port.unwrap_or(route.port),
                        route.port
                    );
                    self.findings
                        .push(Finding::note(&route.service, "ports", text));
                }
                continue;
            }
            if port.http && self.is_openshift() {
                self.routes(port, &shown);
                continue;
            }
            match port.routes.as_slice() {
                [route] if route.path == "/" && route.host.is_none() => self.balancer(port, route),
                _ => self.paths(port, &shown),
            }
        }
    }

    fn balancer(&mut self, port: &PublishedPort, route: &Route) {
        let Some(service) = self.desired.services.get(&route.service) else {
            return;
        };
        let outside = port.host_port.unwrap_or(route.port);
        let mut entry = service_port((outside, "TCP".to_owned()));
        entry.target_port = Some(IntOrString::Int(route.port.into()));
        let mut labels = names::of_service(self.desired, service);
        if mesh::of(service) == Some(Mesh::Consul) {
            // It bears one name for a pod.
            let ignored = "consul.hashicorp.com/service-ignore";
            labels.insert(ignored.to_owned(), "true".to_owned());
        }
        let name = dns(&format!("{}-{outside}", service.name));
        self.add(&Service {
            metadata: names::meta(self.desired, &name, labels),
            spec: Some(Reach {
                type_: Some("LoadBalancer".to_owned()),
                selector: Some(names::selector(self.desired, service)),
                ports: Some(vec![entry]),
                ..Reach::default()
            }),
            ..Service::default()
        });
    }

    fn paths(&mut self, port: &PublishedPort, shown: &str) {
        let mut hosts: BTreeMap<Option<&String>, Vec<HTTPIngressPath>> = BTreeMap::new();
        for route in &port.routes {
            let path = HTTPIngressPath {
                path: Some(route.path.clone()),
                path_type: "Prefix".to_owned(),
                backend: IngressBackend {
                    service: Some(IngressServiceBackend {
                        name: dns(&route.service),
                        port: Some(ServiceBackendPort {
                            number: Some(route.port.into()),
                            ..ServiceBackendPort::default()
                        }),
                    }),
                    ..IngressBackend::default()
                },
            };
            hosts.entry(route.host.as_ref()).or_default().push(path);
        }
        let text = format!("{shown} is an Ingress, which answers on the ports of its controller");
        self.findings.push(Finding::note("", "ports", text));
        let rules = hosts.into_iter().map(|(host, paths)| IngressRule {
            host: host.cloned(),
            http: Some(HTTPIngressRuleValue { paths }),
        });
        let number = port
            .host_port
            .map_or_else(String::new, |port| format!("-{port}"));
        self.add(&Ingress {
            metadata: names::meta(
                self.desired,
                &format!("published{number}"),
                names::of_stack(self.desired),
            ),
            spec: Some(IngressSpec {
                rules: Some(rules.collect()),
                ..IngressSpec::default()
            }),
            ..Ingress::default()
        });
    }

    /// Who may call whom: nobody, then who shares a network, then anybody where a port is
    /// published. An internal network leads nowhere else.
    pub(super) fn policies(&mut self) {
        let desired = self.desired;
        let deny = NetworkPolicySpec {
            pod_selector: Some(names::matching(names::Labels::new())),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ..NetworkPolicySpec::default()
        };
        self.policy("deny-all", deny);
        for (key, network) in &desired.networks {
            let members =
                || names::matching([(names::network_label(key), "true".to_owned())].into());
            let peers = || {
                vec![NetworkPolicyPeer {
                    pod_selector: Some(members()),
                    ..NetworkPolicyPeer::default()
                }]
            };
            // What one network lets out is out, whatever another one says: policies add up.
            let egress = if network.internal {
                let mut rules = vec![
                    NetworkPolicyEgressRule {
                        to: Some(peers()),
                        ..NetworkPolicyEgressRule::default()
                    },
                    names_are_answered(),
                ];
                rules.extend(meshes_of(desired, key).into_iter().map(to_mesh));
                rules
            } else {
                vec![NetworkPolicyEgressRule::default()]
            };
            let policy = NetworkPolicySpec {
                pod_selector: Some(members()),
                ingress: Some(vec![NetworkPolicyIngressRule {
                    from: Some(peers()),
                    ..NetworkPolicyIngressRule::default()
                }]),
                egress: Some(egress),
                policy_types: Some(both()),
            };
            self.policy(&dns(&format!("network-{key}")), policy);
        }
        for service in desired.services.values() {
            if service.container.network == NetworkMode::None {
                let alone = |pods: names::Labels| NetworkPolicySpec {
                    pod_selector: Some(names::matching(pods)),
                    policy_types: Some(both()),
                    ..NetworkPolicySpec::default()
                };
                let name = |what: &str| dns(&format!("{}-{what}", service.name));
                let replicas = alone(names::selector(desired, service));
                self.policy(&name("alone"), replicas);
                let commands = [(names::RUN_OF.to_owned(), dns(&service.name))];
                self.policy(&name("run-alone"), alone(commands.into()));
            }
        }
        for service in desired.services.values() {
            let routes = desired
                .ports
                .iter()
                .filter(|port| !is_loopback(&port.host_ip))
                .flat_map(|port| &port.routes)
                .filter(|route| route.service == service.name);
            let open: BTreeSet<u16> = routes.map(|route| route.port).collect();
            if open.is_empty() {
                continue;
            }
            let policy = NetworkPolicySpec {
                pod_selector: Some(names::matching(names::selector(desired, service))),
                ingress: Some(vec![NetworkPolicyIngressRule {
                    ports: Some(
                        open.into_iter()
                            .map(|port| policy_port(port, "TCP"))
                            .collect(),
                    ),
                    ..NetworkPolicyIngressRule::default()
                }]),
                policy_types: Some(vec!["Ingress".to_owned()]),
                ..NetworkPolicySpec::default()
            };
            self.policy(&dns(&format!("{}-published", service.name)), policy);
        }
    }

    fn policy(&mut self, name: &str, spec: NetworkPolicySpec) {
        self.add(&NetworkPolicy {
            metadata: names::meta(self.desired, name, names::of_stack(self.desired)),
            spec: Some(spec),
        });
    }
}

fn both() -> Vec<String> {
    ["Ingress", "Egress"].map(str::to_owned).to_vec()
}

/// Without names nobody finds anybody.
fn names_are_answered() -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        ports: Some(vec![policy_port(53, "UDP"), policy_port(53, "TCP")]),
        ..NetworkPolicyEgressRule::default()
    }
}

/// Meshes of the services in a network.
fn meshes_of(desired: &DesiredState, key: &str) -> BTreeSet<Mesh> {
    let services = desired.services.values();
    let within = services.filter(|service| match &service.container.network {
        NetworkMode::Networks(endpoints) => endpoints.contains_key(key),
        _ => false,
    });
    within.filter_map(mesh::of).collect()
}

/// A proxy gets its certificate and its table from the mesh.
fn to_mesh(mesh: Mesh) -> NetworkPolicyEgressRule {
    let name = "kubernetes.io/metadata.name".to_owned();
    let namespace = [(name, mesh::namespace(mesh).to_owned())].into();
    NetworkPolicyEgressRule {
        to: Some(vec![NetworkPolicyPeer {
            namespace_selector: Some(names::matching(namespace)),
            ..NetworkPolicyPeer::default()
        }]),
        ..NetworkPolicyEgressRule::default()
    }
}

fn policy_port(port: u16, protocol: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(port.into())),
        protocol: Some(protocol.to_owned()),
        ..NetworkPolicyPort::default()
    }
}

fn is_loopback(ip: &str) -> bool {
    ip.parse::<std::net::IpAddr>()
        .is_ok_and(|ip| ip.is_loopback())
}
