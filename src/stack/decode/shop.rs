//! `x-shop`.

use std::collections::BTreeMap;

use super::Decoder;
use super::entries;
use super::flag;
use super::int;
use super::json;
use super::list;
use super::number;
use super::places;
use super::text;
use super::texts;
use crate::stack::model::Autoscale;
use crate::stack::model::BackendKind;
use crate::stack::model::CapacityMode;
use crate::stack::model::Class;
use crate::stack::model::Mesh;
use crate::stack::model::Prepare;
use crate::stack::model::Ready;
use crate::stack::model::Route;
use crate::stack::model::Schedule;
use crate::stack::model::SecretStore;
use crate::stack::model::ServiceShop;
use crate::stack::model::Slo;
use crate::stack::model::StackShop;
use crate::stack::model::VolumeAccess;
use crate::stack::report::At;
use crate::stack::units;
use crate::stack::units::Ratio;
use crate::stack::yaml::Node;
use crate::stack::yaml::Value;

/// Keys that are kept as they are until they act.
const LATER: [&str; 1] = ["reserve"];

impl Decoder<'_> {
    pub(super) fn stack_shop(&mut self, tree: &Node) -> StackShop {
        let Some(node) = tree.get("x-shop") else {
            return StackShop::default();
        };
        let lint = node.get("lint");
        let services: Vec<&str> = entries(tree, "services")
            .map(|(name, _)| name.as_str())
            .collect();
        StackShop {
            backend: match node.text_of("backend") {
                Some("docker") => Some(BackendKind::Docker),
                Some("swarm") => Some(BackendKind::Swarm),
                Some("kubernetes") => Some(BackendKind::Kubernetes),
                _ => None,
            },
            registry: node.text_of("registry").map(str::to_owned),
            capacity: match node.text_of("capacity") {
                Some("strict") => CapacityMode::Strict,
                _ => CapacityMode::Declared,
            },
            gateway: flag(node, "gateway"),
            secrets: match node.text_of("secrets") {
                Some("memory") => SecretStore::Memory,
                _ => SecretStore::Volume,
            },
            volumes: accesses(node),
            lint_silence: lint.map(|lint| texts(lint, "silence")).unwrap_or_default(),
            hooks: self.stack_hooks(node, &services, &At::ROOT.key("x-shop")),
            mesh: mesh(node),
            later: later(node),
            place: self.place(node.span),
        }
    }

    pub(super) fn service_shop(&mut self, node: Option<&Node>, at: &At<'_>) -> Option<ServiceShop> {
        let node = node.filter(|node| node.as_map().is_some())?;
        let at = at.key("x-shop");
        Some(ServiceShop {
            prepare: node.get("build").map(|build| Prepare {
                commands: list(build, "prepare")
                    .iter()
                    .map(|words| {
                        let words = words.as_list().unwrap_or_default();
                        words.iter().filter_map(Node::scalar_text).collect()
                    })
                    .filter(|words: &Vec<String>| !words.is_empty())
                    .collect(),
                inputs: texts(build, "inputs"),
                place: self.place(build.span),
            }),
            class: match node.text_of("class") {
                Some("latency") => Some(Class::Latency),
                Some("batch") => Some(Class::Batch),
                Some("stateful") => Some(Class::Stateful),
                _ => None,
            },
            ready: node
                .get("ready")
                .and_then(|ready| self.ready(ready, &at.key("ready"))),
            route: self.route(Some(node), &at),
            gateway: flag(node, "gateway"),
            slo: node.get("slo").map(|slo| self.slo(slo, &at.key("slo"))),
            autoscale: node
                .get("autoscale")
                .map(|autoscale| self.autoscale(autoscale, &at.key("autoscale"))),
            volumes: accesses(node),
            hooks: self.hooks(node, &at),
            rollout: self.rollout(node, &at),
            mesh: mesh(node),
            place: self.place(node.span),
            places: places(self, node.as_map()),
        })
    }

    fn ready(&mut self, node: &Node, at: &At<'_>) -> Option<Ready> {
        let timeout = self.duration(node, "timeout", at);
        let tcp = number::<u16>(node, "tcp");
        match (node.get("http"), tcp) {
            (Some(http), None) => {
                let path = http.as_text()?;
                if !path.starts_with('/') {
                    self.invalid(http, &at.key("http"), "an absolute path", "write /readyz");
                    return None;
                }
                let Some(port) = number(node, "port") else {
                    if node.get("port").is_none() {
                        self.report
                            .error("missing-key", node.span, at, format!("{at} has no `port`"))
                            .hint("add `port: 8000`, the port in the container");
                    }
                    return None;
                };
                Some(Ready::Http {
                    path: path.to_owned(),
                    port,
                    timeout,
                })
            }
            (None, Some(port)) => Some(Ready::Tcp { port, timeout }),
            (None, None) if node.get("tcp").is_some() => None,
            (http, _) => {
                let message = match http {
                    Some(_) => format!("{at} has both `http` and `tcp`"),
                    None => format!("{at} has neither `http` nor `tcp`"),
                };
                self.report
                    .error("missing-key", node.span, at, message)
                    .hint("write {http: /readyz, port: 8000} or {tcp: 5432}");
                None
            }
        }
    }

    /// The `route` of a service's or a port's `x-shop`.
    pub(super) fn route(&mut self, shop: Option<&Node>, at: &At<'_>) -> Option<Route> {
        let node = shop?.get("route")?;
        let at = at.key("route");
        if let Some(path) = node.get("path")
            && path.as_text().is_some_and(|text| !text.starts_with('/'))
        {
            self.invalid(
                path,
                &at.key("path"),
                "an absolute path",
                "write /api/orders",
            );
        }
        Some(Route {
            path: text(node, "path"),
            host: text(node, "host"),
            port: number(node, "port"),
            internal: flag(node, "internal"),
            place: self.place(node.span),
        })
    }

    fn slo(&mut self, node: &Node, at: &At<'_>) -> Slo {
        Slo {
            latency_p50: self.duration(node, "latency_p50", at),
            latency_p95: self.duration(node, "latency_p95", at),
            latency_p99: self.duration(node, "latency_p99", at),
            error_rate: ratio(node, "error_rate"),
        }
    }

    fn autoscale(&mut self, node: &Node, at: &At<'_>) -> Autoscale {
        let (min, max) = (int(node, "min"), int(node, "max"));
        if let (Some(low), Some(high), Some(value)) = (min, max, node.get("max"))
            && low > high
        {
            self.invalid(
                value,
                &at.key("max"),
                &format!("{low} or more, as `min` says"),
                "raise `max`, or lower `min`",
            );
        }
        Autoscale {
            min: number(node, "min"),
            max: number(node, "max"),
            rps_per_replica: number(node, "rps_per_replica"),
            cpu: ratio(node, "cpu"),
            schedules: list(node, "schedules")
                .iter()
                .filter_map(|schedule| {
                    Some(Schedule {
                        at: text(schedule, "at")?,
                        length: self.duration(schedule, "for", at)?,
                        replicas: number(schedule, "replicas")?,
                        lead: self.duration(schedule, "lead", at).unwrap_or_default(),
                    })
                })
                .collect(),
            place: self.place(node.span),
        }
    }
}

pub(super) fn ratio(node: &Node, key: &str) -> Option<Ratio> {
    let text = match &node.get(key)?.value {
        Value::Text(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        _ => return None,
    };
    units::parse_ratio(&text)
}

fn mesh(node: &Node) -> Option<Mesh> {
    match node.text_of("mesh")? {
        "none" => Some(Mesh::None),
        "istio" => Some(Mesh::Istio),
        "linkerd" => Some(Mesh::Linkerd),
        "consul" => Some(Mesh::Consul),
        _ => None,
    }
}

fn accesses(node: &Node) -> BTreeMap<String, VolumeAccess> {
    entries(node, "volumes")
        .filter_map(|(name, entry)| {
            let access = match entry.node.text_of("access")? {
                "shared" => VolumeAccess::Shared,
                "single" => VolumeAccess::Single,
                _ => return None,
            };
            Some((name.clone(), access))
        })
        .collect()
}

fn later(node: &Node) -> BTreeMap<String, serde_json::Value> {
    LATER
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), json(node.get(key)?))))
        .collect()
}
