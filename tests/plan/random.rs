//! Random stacks, changes to them, and what may happen in between.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shopctl::backend::memory::World;
use shopctl::state::observed::Health;
use shopctl::state::observed::InstanceState;
use shopctl::state::observed::Role;

use crate::sketch::STACK;
use crate::sketch::Service;
use crate::sketch::Sketch;
use crate::turn::made_from_file;

/// One random situation.
#[derive(Debug, Clone)]
pub(crate) struct Situation {
    /// What is deployed first; empty for nothing.
    pub(crate) before: Sketch,
    /// What happens to containers then: which one, and what.
    pub(crate) blows: Vec<(prop::sample::Index, Blow)>,
    /// What the file says next.
    pub(crate) after: Sketch,
    /// Services that left the file may be removed.
    pub(crate) prune: bool,
    /// Replicas that Docker Compose made, per service, where nothing was deployed.
    pub(crate) adopted: Vec<u32>,
}

/// What may happen to a container.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blow {
    Exit,
    Dead,
    Paused,
    Restarting,
    Unhealthy,
    Lost,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Random situations.
pub(crate) fn situations() -> impl Strategy<Value = Situation> {
    (
        sketches(),
        prop::collection::vec((any::<prop::sample::Index>(), blows()), 0..3),
        prop::collection::vec((0..NAMES.len(), changes()), 0..4),
        any::<bool>(),
        0..10_u8,
        prop::option::weighted(0.1, 0..NAMES.len()),
        prop::collection::vec(0..3_u32, NAMES.len()),
    )
        .prop_map(|(before, blows, changes, prune, quiet, only, adopted)| {
            let mut after = before.clone();
            for (index, change) in changes {
                change.apply(&mut after, index);
            }
            if let Some(index) = only
                && after.services.contains_key(NAMES[index])
            {
                after.only = vec![NAMES[index].to_owned()];
            }
            Situation {
                adopted: if quiet == 0 { adopted } else { Vec::new() },
                before: if quiet == 0 {
                    Sketch::default()
                } else {
                    before
                },
                // Half of all situations are undisturbed.
                blows: if quiet % 2 == 0 { Vec::new() } else { blows },
                after,
                prune,
            }
        })
}

fn sketches() -> impl Strategy<Value = Sketch> {
    prop::collection::vec(services(), 1..=NAMES.len()).prop_map(|list| {
        let mut sketch = Sketch::default();
        for (index, (mut service, needs)) in list.into_iter().enumerate() {
            for (need, condition) in needs.into_iter().take(index) {
                let name = NAMES[need % index.max(1)];
                service.needs.insert(name.to_owned(), condition.to_owned());
            }
            if let Some(first) = service.ports.first_mut() {
                *first = format!("{}:8000", 8000 + index);
            }
            sketch.services.insert(NAMES[index].to_owned(), service);
        }
        // Where the first service has two, the stack has them as well.
        let first = &sketch.services[NAMES[0]].hooks;
        if first.len() > 1 {
            sketch.hooks = Some((NAMES[0].to_owned(), first.clone()));
        }
        settle(&mut sketch);
        sketch
    })
}

fn commands(hooks: BTreeMap<&str, &str>) -> BTreeMap<String, String> {
    let own = |(hook, command): (&str, &str)| (hook.to_owned(), command.to_owned());
    hooks.into_iter().map(own).collect()
}

type Needs = Vec<(usize, &'static str)>;

fn services() -> impl Strategy<Value = (Service, Needs)> {
    let looks = (
        1..4_u32,
        any::<bool>(),
        0..3_u32,
        prop::option::weighted(0.5, Just("/readyz".to_owned())),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.3, 100..1200_u64),
        prop::option::weighted(0.3, 50..150_i64),
    );
    let conditions = prop::sample::select(vec!["started", "healthy"]);
    let needs = prop::collection::vec((0..NAMES.len(), conditions), 0..2);
    let stages = prop::sample::select(vec!["canary 10 50", "canary 40 100", "blue-green"]);
    let rollout = prop::option::weighted(0.4, stages);
    let hooks = prop::collection::btree_map(
        prop::sample::select(vec!["pre_deploy", "post_deploy", "on_rollback"]),
        Just("/app migrate"),
        0..3,
    );
    let hooks = prop::option::weighted(0.3, hooks);
    let pre_start = prop::collection::vec(prop::sample::select(vec!["migrate", "each warm"]), 1..3);
    let rest = (
        prop::bool::weighted(0.2),
        rollout,
        hooks,
        prop::bool::weighted(0.3),
        prop::option::weighted(0.3, pre_start),
    );
    (looks, needs, rest).prop_map(
        |(looks, needs, (secret, rollout, hooks, inner, pre_start))| {
            let (replicas, routed, parallelism, ready, checked, stop_first, single, cpu, limit) =
                looks;
            let mut volumes = BTreeMap::new();
            if single {
                volumes.insert("data".to_owned(), "single".to_owned());
            }
            let service = Service {
                replicas: Some(replicas),
                ports: if routed {
                    vec!["80:8000".to_owned()]
                } else {
                    Vec::new()
                },
                parallelism: Some(parallelism),
                ready,
                healthcheck: checked,
                stop_first,
                volumes,
                cpu,
                limit,
                rollout: rollout.map(str::to_owned),
                secrets: if secret {
                    BTreeMap::from([("token".to_owned(), "abc".to_owned())])
                } else {
                    BTreeMap::new()
                },
                hooks: hooks.map(commands).unwrap_or_default(),
                pre_start: pre_start.into_iter().flatten().map(str::to_owned).collect(),
                inner: if inner { vec![8000] } else { Vec::new() },
                ..Service::default()
            };
            (service, needs)
        },
    )
}

/// One change of the file.
#[derive(Debug, Clone)]
enum Edit {
    Environment(u8),
    Image(u8),
    Replicas(u32),
    Drop,
    Port(bool),
    Limit(Option<i64>),
    Network(&'static str),
    Secret(u8),
    RestartWith,
    Inner(bool),
}

fn changes() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => (0..3_u8).prop_map(Edit::Environment),
        3 => (1..4_u8).prop_map(Edit::Image),
        3 => (0..5_u32).prop_map(Edit::Replicas),
        1 => Just(Edit::Drop),
        2 => any::<bool>().prop_map(Edit::Port),
        2 => prop::option::of(50..200_i64).prop_map(Edit::Limit),
        1 => prop::sample::select(vec!["default", "back"]).prop_map(Edit::Network),
        1 => (0..3_u8).prop_map(Edit::Secret),
        1 => Just(Edit::RestartWith),
        2 => any::<bool>().prop_map(Edit::Inner),
    ]
}

impl Edit {
    fn apply(&self, sketch: &mut Sketch, index: usize) {
        let name = NAMES[index];
        if matches!(self, Self::Drop) {
            if sketch.services.len() > 1 {
                sketch.services.remove(name);
            }
            settle(sketch);
            return;
        }
        if matches!(self, Self::RestartWith) {
            restart_with(sketch, index);
            return;
        }
        let Some(service) = sketch.services.get_mut(name) else {
            return;
        };
        match self {
            Self::Environment(value) => {
                service.env.insert("GREETING".to_owned(), value.to_string());
            }
            Self::Image(version) => service.image = Some(format!("{name}:{version}")),
            Self::Replicas(count) => service.replicas = Some(*count),
            Self::Port(true) => service.ports = vec![format!("{}:8000", 8000 + index)],
            Self::Port(false) => service.ports = Vec::new(),
            Self::Limit(limit) => service.limit = *limit,
            Self::Network(key) => service.networks = Some(vec![(*key).to_owned()]),
            Self::Secret(value) => {
                service
                    .secrets
                    .insert("token".to_owned(), value.to_string());
            }
            Self::Inner(true) => service.inner = vec![8000],
            Self::Inner(false) => service.inner = Vec::new(),
            Self::RestartWith | Self::Drop => {}
        }
        settle(sketch);
    }
}

/// The service follows all it needs, and one of those changes.
fn restart_with(sketch: &mut Sketch, index: usize) {
    let Some(service) = sketch.services.get_mut(NAMES[index]) else {
        return;
    };
    let needs: Vec<String> = service.needs.keys().cloned().collect();
    service.restart_with.clone_from(&needs);
    if let Some(first) = needs.first().and_then(|name| sketch.services.get_mut(name)) {
        first.env.insert("GREETING".to_owned(), "new".to_owned());
    }
}

/// Removes what the loader would refuse.
fn settle(sketch: &mut Sketch) {
    let names: Vec<String> = sketch.services.keys().cloned().collect();
    for service in sketch.services.values_mut() {
        service.needs.retain(|name, _| names.contains(name));
        service.restart_with.retain(|name| names.contains(name));
    }
    sketch.only.retain(|name| names.contains(name));
    if sketch
        .hooks
        .as_ref()
        .is_some_and(|(name, _)| !names.contains(name))
    {
        sketch.hooks = None;
    }
}

fn blows() -> impl Strategy<Value = Blow> {
    prop::sample::select(vec![
        Blow::Exit,
        Blow::Dead,
        Blow::Paused,
        Blow::Restarting,
        Blow::Unhealthy,
        Blow::Lost,
    ])
}

/// Puts the adopted containers there, their first port on the host.
pub(crate) fn adopt(world: &mut World, situation: &Situation) -> usize {
    let mut count = 0;
    for (index, replicas) in situation.adopted.iter().enumerate() {
        let Some(service) = situation.after.services.get(NAMES[index]) else {
            continue;
        };
        for slot in 1..=*replicas {
            let port = match service.ports.first() {
                // Only one of them can hold it.
                Some(_) if slot == 1 => format!("0.0.0.0:{}/tcp", 8000 + index),
                _ => String::new(),
            };
            world.add_compose_container(STACK, NAMES[index], slot, &port);
            // Of every second service, from this very file and of the same image.
            if index.is_multiple_of(2) {
                made_from_file(world, &situation.after, NAMES[index], "");
            }
            count += 1;
        }
    }
    count
}

/// Lets the blows fall; gives how many hit.
pub(crate) fn strike(world: &mut World, blows: &[(prop::sample::Index, Blow)]) -> usize {
    let mut hits = 0;
    for (index, blow) in blows {
        let names: Vec<String> = world.containers.keys().cloned().collect();
        if names.is_empty() {
            return hits;
        }
        let name = index.get(&names);
        hits += 1;
        if matches!(blow, Blow::Lost) {
            world.containers.remove(name);
            continue;
        }
        let Some(one) = world.containers.get_mut(name) else {
            continue;
        };
        let helper = one.instance.role != Role::Service;
        one.instance.state = match blow {
            Blow::Exit => InstanceState::Exited {
                code: 137,
                oom: false,
            },
            Blow::Dead => InstanceState::Dead,
            Blow::Paused => InstanceState::Paused,
            Blow::Restarting => InstanceState::Restarting,
            Blow::Unhealthy | Blow::Lost => InstanceState::Running,
        };
        one.instance.health = None;
        if matches!(blow, Blow::Unhealthy) && !helper {
            one.instance.health = Some(Health::Unhealthy);
        }
        one.ready = helper && matches!(blow, Blow::Unhealthy);
    }
    hits
}
