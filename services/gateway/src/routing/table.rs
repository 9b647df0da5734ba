//! The table of routes in force, and the one promise that everything rests on:
//!
//! A request takes its target and counts as in flight under the same guard that
//! [`Table::replace`] takes to switch. After the switch nobody can take a
//! removed target, and whoever took one before is counted.
//!
//! Must not wait, read or write. Test: here, and `tests/gateway/switch.rs` over sockets.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;

use tokio::sync::Notify;

use super::balance;
use super::service::Meter;
use super::snapshot::Route;
use super::snapshot::Snapshot;
use super::split::Choice;
use super::split::Hints;
use super::split::Silent;
use super::target::Lease;
use super::target::Target;
use crate::protocol::Config;
use crate::protocol::Health;
use crate::protocol::Protocol;
use crate::protocol::ServiceStats;
use crate::protocol::TargetStats;

/// The routes in force, shared by all threads.
#[derive(Debug, Default)]
pub(crate) struct Table {
    state: RwLock<State>,
    /// Told when a target was left out.
    pub(crate) ejections: Notify,
    /// Told when another configuration is in force.
    pub(crate) switched: Notify,
}

#[derive(Debug, Default)]
struct State {
    snapshot: Snapshot,
    /// Removed, and in flight when last looked at.
    draining: Vec<Arc<Target>>,
}

/// Why there is no target for a request.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Nothing is configured for this listener, host and path.
    NoRoute,
    /// The service has no target that may be used.
    NoTarget(Arc<Meter>),
}

impl Table {
    /// A target for an HTTP request. `not` is one that just failed.
    pub(crate) fn take_http(
        &self,
        listener: &str,
        host: Option<&str>,
        path: &str,
        not: Option<&Target>,
        hints: &dyn Hints,
    ) -> Result<Lease, Refusal> {
        let state = self.read();
        let route = state
            .snapshot
            .listeners
            .get(listener)
            .filter(|listener| listener.protocol == Protocol::Http)
            .and_then(|listener| listener.route(host, path));
        lease(route, not, hints)
    }

    /// A target for a TCP connection. `not` is one that just failed.
    pub(crate) fn take_tcp(&self, listener: &str, not: Option<&Target>) -> Result<Lease, Refusal> {
        let state = self.read();
        let route = state
            .snapshot
            .listeners
            .get(listener)
            .filter(|listener| listener.protocol == Protocol::Tcp)
            .and_then(|listener| listener.first_route());
        lease(route, not, &Silent)
    }

    /// What to speak on a listener. Unknown ones get HTTP, which can say 404.
    pub(crate) fn protocol(&self, listener: &str) -> Protocol {
        self.read()
            .snapshot
            .listeners
            .get(listener)
            .map_or(Protocol::Http, |listener| listener.protocol)
    }

    /// The listener of a port for requests from inside a network, which the name that it
    /// is bound to stands for.
    pub(crate) fn door(&self, bind: &str, port: u16) -> Option<String> {
        let state = self.read();
        let mut listeners = state.snapshot.config.listeners.iter();
        let found =
            listeners.find(|one| one.port == Some(port) && one.bind.as_deref() == Some(bind))?;
        Some(found.id.clone())
    }

    /// The names that listeners of a port are bound to.
    pub(crate) fn binds(&self, port: u16) -> BTreeSet<String> {
        let state = self.read();
        let listeners = state.snapshot.config.listeners.iter();
        let of_port = listeners.filter(|one| one.port == Some(port));
        of_port.filter_map(|one| one.bind.clone()).collect()
    }

    /// Switches to a valid configuration; the targets removed by it.
    pub(crate) fn replace(&self, config: Config) -> Vec<Arc<Target>> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let next = Snapshot::compile(config, &state.snapshot, &state.draining);
        let before = std::mem::replace(&mut state.snapshot, next);
        for target in before.targets() {
            target.set_removed(true);
        }
        for target in state.snapshot.targets() {
            target.set_removed(false);
        }
        let removed: Vec<Arc<Target>> = before
            .targets()
            .filter(|target| target.is_removed())
            .cloned()
            .collect();
        state.draining.extend(removed.iter().cloned());
        state
            .draining
            .retain(|target| target.is_removed() && target.in_flight() > 0);
        self.switched.notify_waiters();
        removed
    }

    /// Takes up the configuration of an earlier life. Nobody has looked at its targets
    /// since, so those that are asked get requests once they have answered.
    pub(crate) fn restore(&self, config: Config) {
        self.replace(config);
        for (target, _) in self.checked() {
            target.forget_health();
        }
    }

    /// The targets in force that are asked for their health.
    pub(crate) fn checked(&self) -> Vec<(Arc<Target>, Health)> {
        let state = self.read();
        let services = state.snapshot.services.values();
        services
            .filter_map(|service| Some((service, service.health.as_ref()?)))
            .flat_map(|(service, health)| {
                let members = service.members.iter();
                members.map(|member| (Arc::clone(&member.target), health.clone()))
            })
            .collect()
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Config {
        self.read().snapshot.config.clone()
    }

    /// Its age: lock id and generation.
    pub(crate) fn age(&self) -> (u64, u64) {
        let state = self.read();
        (state.snapshot.config.lock, state.snapshot.config.generation)
    }

    /// Removed targets that are still in use.
    pub(crate) fn draining(&self) -> Vec<Arc<Target>> {
        let state = self.read();
        let busy = |target: &&Arc<Target>| target.in_flight() > 0;
        state.draining.iter().filter(busy).cloned().collect()
    }

    /// The targets in force.
    pub(crate) fn targets(&self) -> Vec<Arc<Target>> {
        self.read().snapshot.targets().cloned().collect()
    }

    /// All targets of this id that are known, in force or draining.
    pub(crate) fn find(&self, id: &str) -> Vec<Arc<Target>> {
        let state = self.read();
        state
            .snapshot
            .targets()
            .chain(&state.draining)
            .filter(|target| target.id == id)
            .cloned()
            .collect()
    }

    /// Leaves a target out whose connect failed, unless it is the last one.
    pub(crate) fn eject(&self, failed: &Target, port: u16) {
        let others = {
            let state = self.read();
            state
                .snapshot
                .services
                .get(&failed.service)
                .is_some_and(|service| {
                    service
                        .members
                        .iter()
                        .any(|member| member.is_usable(Some(failed)) && member.target.is_fit())
                })
        };
        if others && failed.eject(port) {
            self.ejections.notify_one();
        }
    }

    /// To be called once a second: lets the counters age.
    pub(crate) fn tick(&self) {
        for service in self.read().snapshot.services.values() {
            service.meter.tick();
            for group in service.groups.values() {
                group.meter.tick();
            }
        }
    }

    /// The counters by service.
    pub(crate) fn stats(&self) -> BTreeMap<String, ServiceStats> {
        let state = self.read();
        let services = &state.snapshot.services;
        services
            .iter()
            .map(|(name, service)| {
                let members = service.members.iter().map(|member| &member.target);
                let leaving = state
                    .draining
                    .iter()
                    .filter(|target| target.service == *name && target.in_flight() > 0);
                let targets: BTreeMap<String, TargetStats> = leaving
                    .chain(members)
                    .map(|target| {
                        let counts = TargetStats {
                            in_flight: target.in_flight(),
                            requests: target.requests(),
                            errors: target.errors(),
                            ejected: target.is_ejected(),
                            healthy: service.health.as_ref().map(|_| target.is_well()),
                        };
                        (target.id.clone(), counts)
                    })
                    .collect();
                let counts = ServiceStats {
                    requests: service.meter.requests(),
                    errors_5xx: service.meter.errors_5xx(),
                    in_flight: targets.values().map(|target| target.in_flight).sum(),
                    rps: service.meter.rps(),
                    latency_ms: service.meter.latency(),
                    targets,
                    groups: service
                        .groups
                        .iter()
                        .map(|(name, group)| (name.clone(), group.stats()))
                        .collect(),
                };
                (name.clone(), counts)
            })
            .collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lease(route: Option<&Route>, not: Option<&Target>, hints: &dyn Hints) -> Result<Lease, Refusal> {
    let route = route.ok_or(Refusal::NoRoute)?;
    let (meter, members) = (&route.service.meter, &route.service.members);
    let free = |member| Choice {
        member,
        cookie: None,
    };
    let choice = match (&route.group, &route.service.split) {
        (Some(group), _) => balance::pick(members, not, |one| one.is_of(group)).map(free),
        (None, Some(split)) => split.choose(members, not, hints),
        (None, None) => balance::pick(members, not, |_| true).map(free),
    };
    let Some(Choice { member, cookie }) = choice else {
        return Err(Refusal::NoTarget(Arc::clone(meter)));
    };
    let target = Arc::clone(&member.target);
    let mut lease =
        Lease::new(target, Arc::clone(meter), route.port).of_group(member.group.clone());
    lease.cookie = cookie;
    Ok(lease)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;

    use serde_json::json;

    use super::*;

    fn config(generation: u64, targets: &[&str]) -> Config {
        let targets: Vec<_> = targets
            .iter()
            .map(|id| json!({"id": id, "host": id}))
            .collect();
        serde_json::from_value(json!({
            "version": 1, "lock": 1, "generation": generation,
            "listeners": [{"id": "l", "protocol": "http",
                           "routes": [{"service": "a", "port": 1}]}],
            "services": {"a": {"targets": targets}}
        }))
        .expect("a configuration")
    }

    fn take(table: &Table) -> Result<Lease, Refusal> {
        table.take_http("l", None, "/", None, &Silent)
    }

    #[test]
    fn a_removed_target_is_counted_until_its_last_lease_ends() {
        let table = Table::default();
        table.replace(config(1, &["old"]));
        let lease = take(&table).expect("a target");
        let removed = table.replace(config(2, &["new"]));
        assert_eq!(removed.len(), 1);
        assert_eq!(table.draining().len(), 1);
        assert_eq!(table.find("old")[0].in_flight(), 1);
        assert_eq!(table.stats()["a"].targets["old"].in_flight, 1);
        drop(lease);
        assert!(table.draining().is_empty());
    }

    #[test]
    fn a_target_that_comes_back_is_no_longer_removed() {
        let table = Table::default();
        table.replace(config(1, &["x"]));
        let lease = take(&table).expect("a target");
        table.replace(config(2, &["y"]));
        table.replace(config(3, &["x"]));
        assert!(!lease.target.is_removed());
        assert_eq!(take(&table).expect("x").target.key, lease.target.key);
        assert!(table.draining().is_empty());
    }

    #[test]
    fn no_route_and_no_target_are_told_apart() {
        let table = Table::default();
        assert!(matches!(take(&table), Err(Refusal::NoRoute)));
        table.replace(config(1, &[]));
        assert!(matches!(take(&table), Err(Refusal::NoTarget(_))));
        assert!(matches!(table.take_tcp("l", None), Err(Refusal::NoRoute)));
    }

    #[test]
    fn the_last_target_is_never_ejected() {
        let table = Table::default();
        table.replace(config(1, &["x", "y"]));
        let targets = table.targets();
        table.eject(&targets[0], 1);
        table.eject(&targets[1], 1);
        assert!(targets[0].is_ejected() && !targets[1].is_ejected());
    }

    /// After `replace` returned, the number of takes of a removed target stands still.
    #[test]
    fn after_a_switch_nobody_takes_a_removed_target() {
        let table = Table::default();
        table.replace(config(1, &["t0"]));
        let stop = AtomicBool::new(false);
        let mut late = 0;
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Relaxed) {
                        drop(take(&table));
                    }
                });
            }
            for generation in 2..200 {
                let name = format!("t{generation}");
                for target in table.replace(config(generation, &[&name])) {
                    let taken = target.requests();
                    std::thread::yield_now();
                    late += target.requests() - taken;
                }
            }
            stop.store(true, Relaxed);
        });
        assert_eq!(late, 0);
    }
}
