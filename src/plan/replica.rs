//! How a replica comes: made, started, or restarted, then routed.
//!
//! Protection is an edge: a replica gets requests only after its gate.

use super::action::Action;
use super::action::Cause;
use super::action::Gate;
use super::action::InstanceSpec;
use super::action::StepId;
use super::ground;
use super::hooks;
use super::retire::drain_ms;
use super::retire::of;
use super::retire::remove_target;
use super::stage::ServiceSteps;
use super::stage::Stage;
use super::stage::Waits;
use super::view::ServiceView;
use crate::state::change::KnownImage;
use crate::state::desired::ReadyGate;
use crate::state::labels;
use crate::state::names;
use crate::state::observed::Instance;
use crate::state::ports::Bound;
use crate::state::spec::NetworkMode;

/// How a replica is made.
#[derive(Debug, Clone)]
pub(super) struct Make<'w> {
    /// Its slot.
    pub(super) slot: u32,
    /// Why.
    pub(super) cause: Cause,
    /// Steps before it is created.
    pub(super) create_needs: Vec<StepId>,
    /// Steps before it is started.
    pub(super) start_needs: Vec<StepId>,
    /// Pause before it is created.
    pub(super) delay_ms: u64,
    /// How long it is watched after it got ready.
    pub(super) monitor_ms: u64,
    /// What its start waits for in other services.
    pub(super) waits: &'w Waits,
}

/// The steps of a replica that others wait for.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// Its slot.
    pub(super) slot: u32,
    /// Its container name.
    pub(super) name: String,
    /// Its unique network alias.
    pub(super) alias: String,
    /// It runs and is ready.
    pub(super) started: StepId,
    /// It gets requests.
    pub(super) serving: StepId,
}

impl Made {
    /// The step after which another container may go; see [`Stage::proved`].
    pub(super) fn proved(&self, stage: &Stage<'_, '_>) -> StepId {
        if stage.gateways.handover {
            self.started
        } else {
            self.serving
        }
    }
}

/// Creates and starts a replica, and lets it serve.
pub(super) fn make(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    make: Make<'_>,
    steps: &mut ServiceSteps,
) -> Made {
    let instance = instance(stage, one, make.slot);
    let (name, alias) = (instance.name.clone(), instance.alias.clone());
    let at = (one.service.name.as_str(), make.slot);
    let mut needs = stage.ground.of(stage.view, one);
    needs.extend(&make.create_needs);
    needs.extend(stage.joined(one).and_then(|(_, step)| *step));
    needs.extend(stage.lending(one));
    let action = Action::CreateInstance { instance };
    let created = stage.draft.replica(at, action, make.cause.clone(), &needs);
    stage.draft.delay(created, make.delay_ms);
    if make.slot == 1 {
        steps.first = Some((name.clone(), Some(created)));
    }
    let begun = hooks::per_replica(stage, one, (make.slot, &name), created, make.waits);
    let mut needs = make.start_needs;
    needs.push(created);
    needs.extend(begun);
    let own: Vec<Bound> = one
        .service
        .container
        .ports
        .iter()
        .filter_map(|port| Some(Bound::new(&port.host_ip, port.host_port?, &port.protocol)))
        .collect();
    needs.extend(stage.gateways.released(&own));
    needs.extend(&stage.gateways.named);
    let left = stage.view.has_target(&one.service.name, &alias);
    if left && stage.gateways.exist && !stage.untargeted.contains(&alias) {
        // Its predecessor of the same name is gone and left its target behind.
        needs.push(remove_target(stage, (at, &alias), &Cause::LeftOver, 0, &[]));
    }
    let action = Action::StartContainer {
        container: name.clone(),
    };
    let started = stage.draft.replica(at, action, make.cause.clone(), &needs);
    gate(
        stage,
        one,
        started,
        (&name, &alias),
        make.monitor_ms,
        make.waits,
    );
    steps.starts.push(started);
    let serving = add_target(stage, one, (make.slot, &alias), make.cause, started);
    steps.serving.push(serving);
    Made {
        slot: make.slot,
        name,
        alias,
        started,
        serving,
    }
}

/// Starts a container that exists, or asks a running one to pass its gate.
pub(super) fn start(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    found: &Instance,
    cause: &Cause,
    waits: &Waits,
    steps: &mut ServiceSteps,
) -> Made {
    let action = Action::StartContainer {
        container: found.name.clone(),
    };
    again(stage, one, found, (action, cause), &[], 0, waits, steps)
}

/// Restarts a container in place.
pub(super) fn restart(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    found: &Instance,
    cause: &Cause,
    needs: &[StepId],
    waits: &Waits,
    steps: &mut ServiceSteps,
) -> Made {
    let action = Action::RestartContainer {
        container: found.name.clone(),
    };
    let drain = drain_ms(&one.service.container);
    again(
        stage,
        one,
        found,
        (action, cause),
        needs,
        drain,
        waits,
        steps,
    )
}

/// Out of rotation, the action, back into rotation.
#[expect(
    clippy::too_many_arguments,
    reason = "start and restart differ in all of them"
)]
fn again(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    found: &Instance,
    (action, cause): (Action, &Cause),
    needs: &[StepId],
    drain_ms: u64,
    waits: &Waits,
    steps: &mut ServiceSteps,
) -> Made {
    let mut needs = needs.to_vec();
    if stage.view.is_target(found) && stage.gateways.exist {
        // Out of rotation no earlier than the start can follow.
        needs.extend(&waits.needs);
        let removed = remove_target(stage, of(found), cause, drain_ms, &needs);
        stage.draft.after(removed, &waits.after);
        needs = vec![removed];
    }
    needs.extend(&stage.gateways.named);
    let at = (one.service.name.as_str(), found.slot);
    let started = stage.draft.replica(at, action, cause.clone(), &needs);
    // What Docker Compose made has no other name of its own.
    let own = Some(&found.alias).filter(|alias| !alias.is_empty());
    let own = own.unwrap_or(&found.name);
    gate(stage, one, started, (&found.name, own), 0, waits);
    steps.starts.push(started);
    let serving = add_target(
        stage,
        one,
        (found.slot, &found.alias),
        cause.clone(),
        started,
    );
    steps.serving.push(serving);
    Made {
        slot: found.slot,
        name: found.name.clone(),
        alias: found.alias.clone(),
        started,
        serving,
    }
}

fn gate(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    started: StepId,
    (container, alias): (&str, &str),
    monitor_ms: u64,
    waits: &Waits,
) {
    let networks = stage.view.networks_of(one.service);
    stage.draft.need(started, &waits.needs);
    stage.draft.after(started, &waits.after);
    match &one.service.ready {
        ReadyGate::Probe { .. } => {
            // Who probes must be there first.
            let probers = stage.gateways.probing.clone();
            stage.draft.need(started, &probers);
        }
        ReadyGate::Healthy { interval_ms, .. } => {
            let text = format!(
                "its health check runs every {}, so it may be found ready that much late",
                seconds(*interval_ms)
            );
            stage.draft.note_once(&one.service.name, text);
        }
        ReadyGate::Running | ReadyGate::Completed { .. } => {}
    }
    stage.draft.gate(
        started,
        Gate::Ready {
            container: container.to_owned(),
            alias: alias.to_owned(),
            networks,
            ready: one.service.ready.clone(),
            monitor_ms,
        },
    );
}

/// Adds a target where the service is routed; gives the step after which it serves.
fn add_target(
    stage: &mut Stage<'_, '_>,
    one: &ServiceView<'_>,
    (slot, alias): (u32, &str),
    cause: Cause,
    started: StepId,
) -> StepId {
    if !one.routed() || alias.is_empty() || !stage.gateways.exist {
        return started;
    }
    let mut needs = vec![started];
    needs.extend(stage.gateways.ready());
    needs.extend(stage.holds.get(&one.service.name));
    let action = Action::AddTarget {
        service: one.service.name.clone(),
        alias: alias.to_owned(),
        group: one.revision.group(),
        check: one.service.ready.check(),
    };
    let at = (one.service.name.as_str(), slot);
    stage.draft.replica(at, action, cause, &needs)
}

fn seconds(millis: u64) -> String {
    if millis.is_multiple_of(1000) {
        format!("{} s", millis / 1000)
    } else {
        format!("{millis} ms")
    }
}

fn instance(stage: &mut Stage<'_, '_>, one: &ServiceView<'_>, slot: u32) -> InstanceSpec {
    let service = &one.service.name;
    let (name, alias) = names_of(stage, one, slot);
    let mut spec = one.revision.spec.clone();
    spec.share(|other| stage.first_of(other));
    let mut labels = labels::of_replica(
        stage.view.input.desired,
        service,
        slot,
        &alias,
        &one.revision,
    );
    if one.leads.nameless {
        // Who has the name is no part of the revision: it changes with what runs.
        if let NetworkMode::Networks(endpoints) = &mut spec.network {
            for endpoint in endpoints.values_mut() {
                endpoint.aliases.clear();
            }
        }
        labels.insert(names::NAME.to_owned(), "gateway".to_owned());
    }
    InstanceSpec {
        service: service.clone(),
        slot,
        revision: one.revision.digest.clone(),
        image_id: image_id(one),
        spec,
        networks: ground::network_names(stage.view, one),
        volumes: ground::volumes_of(stage.view, one),
        files: ground::files_of(stage.view, one),
        join: stage.joined(one).map(|(container, _)| container.clone()),
        volumes_from: stage.lent(one),
        labels,
        name,
        alias,
    }
}

/// The image id that a container must have, where it is known already.
pub(super) fn image_id(one: &ServiceView<'_>) -> Option<String> {
    match &one.revision.image {
        KnownImage::Id(id) => Some(id.clone()),
        KnownImage::Absent | KnownImage::Unnamed => None,
    }
}

/// A free name and alias. The revision decides both; where a container of the same
/// revision still has the name (another image under the same reference, a limit
/// that could not be lifted), the digest is taken once more.
fn names_of(stage: &mut Stage<'_, '_>, one: &ServiceView<'_>, slot: u32) -> (String, String) {
    let stack = &stage.view.input.desired.stack;
    let service = &one.service.name;
    let mut key = one.revision.digest.clone();
    loop {
        let alias = names::alias(stack, service, slot, &key);
        if let Some(fixed) = &one.service.container_name {
            stage.take_name(fixed);
            return (fixed.clone(), alias);
        }
        let name = names::instance(stack, service, slot, &key);
        if stage.take_name(&name) {
            return (name, alias);
        }
        key = names::hex(key.as_bytes());
    }
}
