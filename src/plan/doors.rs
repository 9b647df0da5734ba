//! The steps about gateways that other steps wait for.

use std::collections::BTreeSet;

use super::action::StepId;
use super::draft::Draft;
use super::view::View;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::Role;
use crate::state::ports::Bound;

/// What the services' steps need to know of the gateways.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    /// A gateway runs, or will.
    pub(super) exist: bool,
    /// Nothing can be routed before containers of the stack have given up their
    /// ports: there is no gateway but the one that waits for them.
    pub(super) handover: bool,
    /// Steps that bring a gateway which can probe.
    pub(super) probing: Vec<StepId>,
    /// The step after which gateways can be upgraded.
    pub(super) program: Option<StepId>,
    /// Steps before routes may change, ports that are waited for aside.
    pub(super) ready: Vec<StepId>,
    /// Gateways that wait for ports, with the names of the containers that hold them.
    pub(super) waiting: Vec<(StepId, BTreeSet<String>)>,
    /// The gateway between services that this plan makes.
    pub(super) inner: Option<String>,
    /// Steps after which the names of services lead where they should: who may call one
    /// starts after that.
    pub(super) named: Vec<StepId>,
    /// Ports that a gateway gives up, and the step after which they are free.
    pub(super) released: Vec<(StepId, Vec<Bound>)>,
}

impl Gateways {
    /// The gateways as they are, where a plan changes nothing about them.
    pub(super) fn running(view: &View<'_>) -> Self {
        let instances = &view.input.observed.instances;
        Self {
            exist: instances
                .iter()
                .any(|one| one.role == Role::Gateway && one.state == InstanceState::Running),
            ..Self::default()
        }
    }

    /// Steps before routes may change.
    pub(super) fn ready(&self) -> Vec<StepId> {
        if self.handover {
            self.all()
        } else {
            self.ready.clone()
        }
    }

    /// Steps before every helper is as it should be.
    pub(super) fn all(&self) -> Vec<StepId> {
        let waiting = self.waiting.iter().map(|(step, _)| *step);
        self.ready.iter().copied().chain(waiting).collect()
    }

    /// A step stops this container: what waits for its ports waits for that.
    pub(super) fn freed(&self, draft: &mut Draft, found: &Instance, stop: StepId) {
        for (step, holders) in &self.waiting {
            if holders.contains(&found.name) {
                draft.need(*step, &[stop]);
            }
        }
    }

    /// Steps after which gateways have given up these ports.
    pub(super) fn released(&self, ports: &[Bound]) -> Vec<StepId> {
        self.released
            .iter()
            .filter(|(_, held)| {
                held.iter()
                    .any(|one| ports.iter().any(|port| port.clashes(one)))
            })
            .map(|(step, _)| *step)
            .collect()
    }
}
