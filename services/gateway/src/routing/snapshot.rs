//! A configuration, checked and made ready for look-ups.
//!
//! Pure. Test: here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::balance::Member;
use super::service::Meter;
use super::split;
use super::split::Group;
use super::split::Split;
use super::target::Target;
use crate::protocol::CONFIG_VERSION;
use crate::protocol::Config;
use crate::protocol::Fault;
use crate::protocol::Health;
use crate::protocol::Protocol;

/// The configuration in force. Replaced as a whole, never changed.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) config: Config,
    pub(crate) listeners: BTreeMap<String, Listener>,
    pub(crate) services: BTreeMap<String, Arc<Service>>,
}

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) protocol: Protocol,
    /// The most specific first.
    routes: Vec<Route>,
}

#[derive(Debug)]
pub(crate) struct Route {
    host: Option<String>,
    path: String,
    pub(crate) port: u16,
    pub(crate) service: Arc<Service>,
    /// The only group it leads to.
    pub(crate) group: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) meter: Arc<Meter>,
    pub(crate) members: Vec<Member>,
    pub(crate) groups: BTreeMap<String, Arc<Group>>,
    pub(crate) split: Option<Split>,
    pub(crate) health: Option<Health>,
}

impl Snapshot {
    /// Targets and counters of `before` live on where name and host are the same.
    /// `draining` are targets of still earlier configurations: one that comes
    /// back is the same target.
    pub(crate) fn compile(config: Config, before: &Self, draining: &[Arc<Target>]) -> Self {
        let services: BTreeMap<String, Arc<Service>> = config
            .services
            .iter()
            .map(|(name, service)| {
                let old = before.services.get(name);
                let known = || {
                    old.into_iter()
                        .flat_map(|old| old.members.iter().map(|member| &member.target))
                        .chain(draining.iter().filter(|target| target.service == *name))
                };
                let none = BTreeMap::new();
                let groups = split::groups(&service.targets, old.map_or(&none, |old| &old.groups));
                let members = service
                    .targets
                    .iter()
                    .map(|target| Member {
                        target: known()
                            .find(|old| old.id == target.id && old.host == target.host)
                            .cloned()
                            .unwrap_or_else(|| {
                                Arc::new(Target::new(name, &target.id, &target.host))
                            }),
                        weight: target.weight,
                        group: target
                            .group
                            .as_ref()
                            .and_then(|name| groups.get(name).cloned()),
                    })
                    .collect();
                let meter = old.map(|old| Arc::clone(&old.meter)).unwrap_or_default();
                let service = Service {
                    meter,
                    members,
                    groups,
                    split: service.split.as_ref().map(Split::new),
                    health: service.health.clone(),
                };
                (name.clone(), Arc::new(service))
            })
            .collect();
        let listeners = config
            .listeners
            .iter()
            .map(|listener| {
                let mut routes: Vec<Route> = listener
                    .routes
                    .iter()
                    .filter_map(|route| {
                        Some(Route {
                            host: route.host.as_deref().map(str::to_ascii_lowercase),
                            path: route.path.clone(),
                            port: route.port,
                            service: Arc::clone(services.get(&route.service)?),
                            group: route.group.clone(),
                        })
                    })
                    .collect();
                if listener.protocol == Protocol::Http {
                    // Stable: of equals, the first one written wins.
                    routes.sort_by_key(|route| {
                        (
                            route.host.is_none(),
                            std::cmp::Reverse(route.path.trim_end_matches('/').len()),
                        )
                    });
                }
                let protocol = listener.protocol;
                (listener.id.clone(), Listener { protocol, routes })
            })
            .collect();
        Self {
            config,
            listeners,
            services,
        }
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.services
            .values()
            .flat_map(|service| service.members.iter().map(|member| &member.target))
    }
}

impl Listener {
    /// `host` without port; `path` as the client wrote it.
    pub(crate) fn route(&self, host: Option<&str>, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| {
            route
                .host
                .as_deref()
                .is_none_or(|wanted| host.is_some_and(|host| host.eq_ignore_ascii_case(wanted)))
                && covers(&route.path, path)
        })
    }

    pub(crate) fn first_route(&self) -> Option<&Route> {
        self.routes.first()
    }
}

fn covers(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

/// What makes a configuration unusable, named so that its writer finds it.
pub(crate) fn validate(config: &Config) -> Result<(), Fault> {
    let invalid = |message: String| Err(Fault::invalid(message));
    if config.version != CONFIG_VERSION {
        return invalid(format!(
            "configuration version {} is not {CONFIG_VERSION}",
            config.version
        ));
    }
    let mut ids = BTreeSet::new();
    for listener in &config.listeners {
        let id = &listener.id;
        if id.is_empty() || !ids.insert(id) {
            return invalid(format!("listener `{id}`: the id is empty or used twice"));
        }
        if listener.bind.is_some()
            && (listener.port.unwrap_or(0) == 0 || listener.protocol != Protocol::Http)
        {
            return invalid(format!(
                "listener `{id}`: bound to a name, it needs a port and speaks HTTP"
            ));
        }
        for route in &listener.routes {
            if !config.services.contains_key(&route.service) {
                return invalid(format!("listener `{id}`: no service `{}`", route.service));
            }
            if !route.path.starts_with('/') {
                return invalid(format!(
                    "listener `{id}`: the path `{}` does not start with `/`",
                    route.path
                ));
            }
            if route.port == 0 {
                return invalid(format!("listener `{id}`: a target port is 0"));
            }
        }
    }
    for (name, service) in &config.services {
        if let Some(path) = service
            .health
            .as_ref()
            .and_then(|check| check.http.as_ref())
            && !path.starts_with('/')
        {
            return invalid(format!(
                "service `{name}`: the path `{path}` of its health check does not start with `/`"
            ));
        }
        let mut ids = BTreeSet::new();
        for target in &service.targets {
            let id = &target.id;
            if id.is_empty() || !ids.insert(id) {
                return invalid(format!(
                    "service `{name}`: the target id `{id}` is empty or used twice"
                ));
            }
            if target.host.is_empty() {
                return invalid(format!("service `{name}`: target `{id}` has no host"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(routes: &serde_json::Value, targets: &[&str]) -> Config {
        let targets: Vec<_> = targets
            .iter()
            .map(|id| json!({"id": id, "host": id}))
            .collect();
        serde_json::from_value(json!({
            "version": 1, "lock": 1, "generation": 1,
            "listeners": [{"id": "l", "protocol": "http", "routes": routes}],
            "services": {"a": {"targets": targets}, "b": {}}
        }))
        .expect("a configuration")
    }

    #[test]
    fn the_most_specific_route_wins() {
        let routes = json!([
            {"service": "a", "port": 1},
            {"path": "/api", "service": "a", "port": 2},
            {"path": "/api/orders/", "service": "a", "port": 3},
            {"host": "Shop.local", "service": "a", "port": 4},
            {"host": "shop.local", "path": "/api", "service": "a", "port": 5},
        ]);
        let snapshot = Snapshot::compile(config(&routes, &[]), &Snapshot::default(), &[]);
        let port = |host, path| {
            snapshot.listeners["l"]
                .route(host, path)
                .map(|route| route.port)
        };
        assert_eq!(port(None, "/"), Some(1));
        assert_eq!(port(None, "/apix"), Some(1));
        assert_eq!(port(None, "/api"), Some(2));
        assert_eq!(port(Some("other"), "/api/x"), Some(2));
        assert_eq!(port(None, "/api/orders"), Some(3));
        assert_eq!(port(None, "/api/orders/7"), Some(3));
        assert_eq!(port(Some("shop.LOCAL"), "/x"), Some(4));
        assert_eq!(port(Some("shop.local"), "/api/orders"), Some(5));
    }

    #[test]
    fn without_a_route_for_it_nothing_matches() {
        let routes = json!([{"host": "shop.local", "path": "/api", "service": "a", "port": 1}]);
        let snapshot = Snapshot::compile(config(&routes, &[]), &Snapshot::default(), &[]);
        let listener = &snapshot.listeners["l"];
        assert!(listener.route(Some("shop.local"), "/").is_none());
        assert!(listener.route(None, "/api").is_none());
    }

    #[test]
    fn a_target_lives_on_while_its_name_and_host_stay() {
        let none = json!([]);
        let first = Snapshot::compile(config(&none, &["x", "y"]), &Snapshot::default(), &[]);
        let second = Snapshot::compile(config(&none, &["y", "z"]), &first, &[]);
        let key = |snapshot: &Snapshot, id: &str| {
            snapshot
                .targets()
                .find(|target| target.id == id)
                .map(|target| target.key)
        };
        assert_eq!(key(&first, "y"), key(&second, "y"));
        let gone: Vec<_> = first.targets().cloned().collect();
        let third = Snapshot::compile(config(&none, &["x"]), &second, &gone);
        assert_eq!(key(&third, "x"), key(&first, "x"));
        let mut moved = config(&none, &["x"]);
        if let Some(service) = moved.services.get_mut("a") {
            service.targets[0].host = "elsewhere".to_owned();
        }
        let fourth = Snapshot::compile(moved, &third, &gone);
        assert_ne!(key(&fourth, "x"), key(&first, "x"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let cases = [
            (
                json!([{"service": "c", "port": 1}]),
                vec![],
                "no service `c`",
            ),
            (
                json!([{"path": "api", "service": "a", "port": 1}]),
                vec![],
                "the path `api`",
            ),
            (json!([{"service": "a", "port": 0}]), vec![], "port is 0"),
            (json!([]), vec!["x", "x"], "the target id `x`"),
        ];
        for (routes, targets, expected) in cases {
            let fault = validate(&config(&routes, &targets)).expect_err(expected);
            assert!(fault.message.contains(expected), "{fault}");
        }
        let mut newer = config(&json!([]), &[]);
        newer.version = 2;
        assert!(validate(&newer).is_err());
        let mut twice = config(&json!([]), &[]);
        twice.listeners.push(twice.listeners[0].clone());
        assert!(validate(&twice).is_err());
        let mut door = config(&json!([]), &[]);
        door.listeners[0].bind = Some("g-1".to_owned());
        assert!(validate(&door).is_err(), "no port");
        door.listeners[0].port = Some(80);
        assert!(validate(&door).is_ok());
        door.listeners[0].protocol = Protocol::Tcp;
        assert!(validate(&door).is_err(), "not HTTP");
    }
}
