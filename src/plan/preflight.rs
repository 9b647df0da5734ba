//! What is in the way of a plan, found before anything is changed. All of it is
//! collected, so that the user mends everything at once.

use std::collections::BTreeSet;

use super::action::Obstacle;
use super::age;
use super::gateway;
use super::held;
use super::view::ServiceView;
use super::view::View;
use crate::state::change::KnownImage;
use crate::state::desired::ImageSource;
use crate::state::desired::PullPolicy;
use crate::state::names;
use crate::state::observed::InstanceState;
use crate::state::observed::Role;
use crate::state::ports::Bound;

/// Containers are not made with less left on the engine's disk, in bytes.
const DISK_WANTED: u64 = 64 << 20;

/// All obstacles, in the order of the file's names.
pub(super) fn check(view: &View<'_>) -> Vec<Obstacle> {
    let mut found = Vec::new();
    disk(view, &mut found);
    published_ports(view, &mut found);
    networks(view, &mut found);
    age::obstacles(view, &mut found);
    volumes(view, &mut found);
    for one in view.services.iter().filter(|one| one.in_scope) {
        service(view, one, &mut found);
        // On the way back it is told what is missing, whatever that is.
        let recorded = held::is_recorded(view, one) && !view.input.options.backwards;
        let starts = one.creates() || one.starts();
        found.extend(held::obstacle(view, one).filter(|_| recorded && starts));
    }
    found
}

/// Room for what makes a container: an engine that runs out of it half-way can write no
/// record either.
fn disk(view: &View<'_>, found: &mut Vec<Obstacle>) {
    let options = view.input.options;
    // Half-way, and on the way back, to go on is the better choice.
    if options.backwards || options.learned.begun {
        return;
    }
    let makes = view
        .services
        .iter()
        .any(|one| one.in_scope && one.creates());
    let Some(free) = view.input.observed.disk_free.filter(|_| makes) else {
        return;
    };
    if free < DISK_WANTED {
        found.push(Obstacle {
            place: String::new(),
            message: format!(
                "no space is left on the engine's disk: {} MiB free in {}, at least {} MiB are needed",
                free >> 20,
                view.input.observed.engine.root,
                DISK_WANTED >> 20
            ),
            hint: "see what takes the space: docker system df".to_owned(),
        });
    }
}

/// Ports that a gateway is to publish and does not yet.
fn published_ports(view: &View<'_>, found: &mut Vec<Obstacle>) {
    let observed = view.input.observed;
    for port in gateway::active_ports(view) {
        let Some(number) = port.host_port else {
            continue;
        };
        let published = observed
            .instances
            .iter()
            .any(|one| one.role == Role::Gateway && one.listens.contains_key(&port.id));
        if published {
            continue;
        }
        let wanted = Bound::new(&port.host_ip, number, "tcp");
        if let Some(holder) = holder(view, &wanted) {
            found.push(taken(&port.place, &port.id, &holder));
        } else if held_by_a_process(view, &wanted) {
            found.push(busy(&port.place, &wanted));
        }
    }
}

/// Who holds a host port and will not give it up in this plan.
fn holder(view: &View<'_>, wanted: &Bound) -> Option<String> {
    let observed = view.input.observed;
    let clashes = |ports: &BTreeSet<String>| {
        ports
            .iter()
            .filter_map(|text| Bound::parse(text))
            .any(|held| held.clashes(wanted))
    };
    let foreign = observed
        .foreign
        .iter()
        .find(|one| clashes(&one.host_ports))
        .map(|one| one.name.clone());
    foreign.or_else(|| {
        observed
            .instances
            .iter()
            .filter(|one| one.role == Role::Service && one.state == InstanceState::Running)
            .filter(|one| !view.input.desired.services.contains_key(&one.service))
            .find(|one| clashes(&one.host_ports))
            .map(|one| one.name.clone())
    })
}

/// Whether something listens there that is no container.
fn held_by_a_process(view: &View<'_>, wanted: &Bound) -> bool {
    let observed = view.input.observed;
    let clashes = |text: &String| Bound::parse(text).is_some_and(|held| held.clashes(wanted));
    let ours = observed
        .instances
        .iter()
        .flat_map(|one| one.host_ports.iter().chain(one.listens.keys()));
    observed.busy_ports.iter().any(clashes) && !ours.into_iter().any(clashes)
}

fn busy(place: &str, port: &Bound) -> Obstacle {
    Obstacle {
        place: place.to_owned(),
        message: format!(
            "port {} of the host is taken by another process",
            port.number()
        ),
        hint: format!(
            "ss -tlnp sport = :{}, or publish another port",
            port.number()
        ),
    }
}

fn taken(place: &str, port: &str, holder: &str) -> Obstacle {
    Obstacle {
        place: place.to_owned(),
        message: format!("port {port} of the host is taken by container {holder}"),
        hint: format!("docker stop {holder}, or publish another port"),
    }
}

fn networks(view: &View<'_>, found: &mut Vec<Obstacle>) {
    for (key, spec) in &view.input.desired.networks {
        match (view.input.observed.networks.get(&spec.name), spec.external) {
            (None, true) => found.push(Obstacle {
                place: String::new(),
                message: format!(
                    "network {key}: the external network {} does not exist",
                    spec.name
                ),
                hint: format!("docker network create {}", spec.name),
            }),
            (Some(network), false) if !network.of_stack => found.push(Obstacle {
                place: String::new(),
                message: format!(
                    "network {key}: {} exists and does not belong to this stack",
                    spec.name
                ),
                hint: format!(
                    "set `external: true` on it, or docker network rm {}",
                    spec.name
                ),
            }),
            _ => {}
        }
    }
}

fn volumes(view: &View<'_>, found: &mut Vec<Obstacle>) {
    for (key, spec) in &view.input.desired.volumes {
        if spec.external && !view.input.observed.volumes.contains_key(&spec.name) {
            found.push(Obstacle {
                place: String::new(),
                message: format!(
                    "volume {key}: the external volume {} does not exist",
                    spec.name
                ),
                hint: format!("docker volume create {}", spec.name),
            });
        }
    }
}

fn service(view: &View<'_>, one: &ServiceView<'_>, found: &mut Vec<Obstacle>) {
    let name = &one.service.name;
    let mut report = |message: String, hint: String| {
        found.push(Obstacle {
            place: one.service.place.clone(),
            message,
            hint,
        });
    };
    image(view, one, &mut report);
    let several = one.count.replicas > 1;
    if several && let Some(fixed) = &one.service.container_name {
        report(
            format!(
                "service {name}: {} replicas cannot share the container_name {fixed}",
                one.count.replicas
            ),
            "remove container_name, or ask for one replica".to_owned(),
        );
    }
    let fixed_ports = one.service.container.ports.iter();
    for (number, port) in fixed_ports.filter_map(|port| Some((port.host_port?, port))) {
        if several {
            report(
                format!(
                    "service {name}: {} replicas cannot share port {number} of the host",
                    one.count.replicas
                ),
                "publish it through the gateway, or ask for one replica".to_owned(),
            );
        }
        let wanted = Bound::new(&port.host_ip, number, &port.protocol);
        if one.creates()
            && let Some(holder) = holder(view, &wanted)
        {
            report(
                format!("port {number} of the host is taken by container {holder}"),
                format!("docker stop {holder}, or publish another port"),
            );
        } else if one.creates() && held_by_a_process(view, &wanted) {
            let obstacle = busy("", &wanted);
            report(obstacle.message, obstacle.hint);
        }
    }
    for slot in one.slots.keys().filter(|_| one.creates()) {
        let wanted = one.service.container_name.clone().unwrap_or_else(|| {
            names::instance(&view.input.desired.stack, name, *slot, &one.revision.digest)
        });
        if view
            .input
            .observed
            .foreign
            .iter()
            .any(|other| other.name == wanted)
        {
            report(
                format!("container {wanted} exists and does not belong to this stack"),
                format!("docker rename {wanted} {wanted}-old"),
            );
        }
    }
}

fn image(view: &View<'_>, one: &ServiceView<'_>, report: &mut impl FnMut(String, String)) {
    let name = &one.service.name;
    match &one.service.image {
        ImageSource::Unset => report(
            format!("service {name} has neither image nor build"),
            "add `image:` or `build:` to it".to_owned(),
        ),
        ImageSource::Pull { reference, policy } => {
            let missing = one.revision.image == KnownImage::Absent
                && !view.input.observed.images.contains_key(reference);
            if *policy == PullPolicy::Never && missing && one.creates() {
                report(
                    format!(
                        "service {name}: image {reference} is not on the engine, and pull_policy is never"
                    ),
                    format!("docker pull {reference}"),
                );
            }
        }
        ImageSource::Build { .. } => {}
    }
}
