//! What is drafted so far, shared by all services of a plan.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::action::StepId;
use super::doors::Gateways;
use super::draft::Draft;
use super::ground::Ground;
use super::pace::Pace;
use super::view::ServiceView;
use super::view::View;
use crate::state::desired::Condition;
use crate::state::observed::Instance;
use crate::state::spec::ContainerSpec;
use crate::state::spec::NetworkMode;
use crate::state::spec::VolumesFrom;
use crate::state::spec::VolumesSource;

/// The plan in the making.
pub(super) struct Stage<'v, 'a> {
    /// The comparison.
    pub(super) view: &'v View<'a>,
    /// Steps and notes.
    pub(super) draft: Draft,
    /// Networks, volumes and files.
    pub(super) ground: Ground,
    /// Gateways.
    pub(super) gateways: Gateways,
    /// How fast services with changes may change.
    pub(super) paces: BTreeMap<String, Pace>,
    /// Steps of the services drafted already.
    pub(super) done: BTreeMap<String, ServiceSteps>,
    /// Last steps of the rollout drafted before, where rollouts go one by one.
    pub(super) previous: Vec<StepId>,
    /// Aliases whose target is removed by a step of the plan.
    pub(super) untargeted: BTreeSet<String>,
    /// Steps before replicas of a service may get requests, where its revisions share
    /// them.
    pub(super) holds: BTreeMap<String, StepId>,
    /// On the way back: a service, and one that needs it and so changes first.
    pub(super) reversed: BTreeSet<(String, String)>,
    /// Container names in use or given out.
    names: BTreeSet<String>,
}

/// Steps of one service that others refer to.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceSteps {
    /// Starts, whose gates say that a replica is ready.
    pub(super) starts: Vec<StepId>,
    /// Steps after which a replica gets requests.
    pub(super) serving: Vec<StepId>,
    /// A container was replaced or restarted.
    pub(super) replaced: bool,
    /// Container in slot 1, and the step that makes it, for `network_mode: service:`.
    pub(super) first: Option<(String, Option<StepId>)>,
}

/// Whether a container uses something of a service's: it cannot be made before that.
fn is_lender(spec: &ContainerSpec, service: &str) -> bool {
    spec.lenders().any(|other| other == service)
}

/// Containers whose volumes a container mounts; `find` knows the first of a service.
pub(super) fn lent(spec: &ContainerSpec, find: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let lenders = spec.volumes_from.iter();
    let name = |from: &VolumesFrom| {
        let name = match &from.source {
            VolumesSource::Service(other) => find(other)?,
            VolumesSource::Container(name) => name.clone(),
        };
        let mode = if from.read_only { ":ro" } else { "" };
        Some(format!("{name}{mode}"))
    };
    lenders.filter_map(name).collect()
}

/// How far a start waits for other services.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits {
    /// Steps whose gates count.
    pub(super) needs: Vec<StepId>,
    /// Steps whose gates do not count.
    pub(super) after: Vec<StepId>,
}

impl<'v, 'a> Stage<'v, 'a> {
    /// A stage on which nothing but the ground is drafted.
    pub(super) fn new(
        view: &'v View<'a>,
        draft: Draft,
        ground: Ground,
        gateways: Gateways,
        paces: BTreeMap<String, Pace>,
    ) -> Self {
        let instances = view.input.observed.instances.iter();
        Self {
            view,
            draft,
            ground,
            gateways,
            paces,
            done: BTreeMap::new(),
            previous: Vec::new(),
            untargeted: BTreeSet::new(),
            holds: BTreeMap::new(),
            reversed: BTreeSet::new(),
            names: instances.map(|one| one.name.clone()).collect(),
        }
    }

    /// The steps after which a service's other containers may go. In a handover
    /// nothing can be routed before containers have given up their ports, and to be
    /// ready is all that can be had.
    pub(super) fn proved(&self, steps: &ServiceSteps) -> Vec<StepId> {
        if self.gateways.handover {
            steps.starts.clone()
        } else {
            steps.serving.clone()
        }
    }

    /// Takes a container name; false when it is in use.
    pub(super) fn take_name(&mut self, name: &str) -> bool {
        self.names.insert(name.to_owned())
    }

    /// Gives a name back, because its container goes before anything else is made.
    pub(super) fn free_name(&mut self, found: &Instance) {
        self.names.remove(&found.name);
    }

    /// Steps of other services that a start of this one waits for.
    pub(super) fn waits(&mut self, one: &ServiceView<'_>) -> Waits {
        let mut waits = Waits::default();
        for need in &one.service.needs {
            let free = !need.restart && !is_lender(&one.service.container, &need.service);
            if self.goes_back() && free && self.view.serves(&need.service) {
                let pair = (need.service.clone(), one.service.name.clone());
                self.reversed.insert(pair);
                continue;
            }
            let Some(steps) = self.done.get(&need.service) else {
                continue;
            };
            match need.condition {
                Condition::Started => waits.after.extend(&steps.starts),
                Condition::Healthy | Condition::CompletedSuccessfully => {
                    waits.needs.extend(&steps.starts);
                }
            }
        }
        waits
    }

    /// Whether dependents change before what they need. Not where ports change hands or
    /// rollouts go one by one, which have an order of their own.
    fn goes_back(&self) -> bool {
        let mut instances = self.view.input.observed.instances.iter();
        self.view.input.options.backwards
            && self.gateways.waiting.is_empty()
            && self.gateways.released.is_empty()
            && !self.paces.values().any(|pace| pace.one_by_one)
            && instances.all(|one| one.ours)
    }

    /// Container whose network this service's containers join, and the step that
    /// makes it.
    pub(super) fn joined(&self, one: &ServiceView<'_>) -> Option<&(String, Option<StepId>)> {
        let NetworkMode::Service(other) = &one.service.container.network else {
            return None;
        };
        self.done.get(other)?.first.as_ref()
    }

    /// Containers whose volumes this service's containers mount, as the engine is told.
    pub(super) fn lent(&self, one: &ServiceView<'_>) -> Vec<String> {
        lent(&one.service.container, |other| self.first_of(other))
    }

    /// The first container of a service that is drafted.
    pub(super) fn first_of(&self, service: &str) -> Option<String> {
        let (name, _) = self.done.get(service)?.first.as_ref()?;
        Some(name.clone())
    }

    /// The steps that make the containers that lend this service's something.
    pub(super) fn lending(&self, one: &ServiceView<'_>) -> Vec<StepId> {
        let lenders = one.service.container.lenders();
        lenders
            .filter_map(|other| self.done.get(other)?.first.as_ref()?.1)
            .collect()
    }

    /// A service this one follows that is replaced in this plan: by name.
    pub(super) fn restarted_by<'s>(&self, one: &ServiceView<'s>) -> Option<&'s str> {
        let replaced = |name: &String| self.done.get(name).is_some_and(|steps| steps.replaced);
        one.service
            .needs
            .iter()
            .find(|need| need.restart && replaced(&need.service))
            .map(|need| need.service.as_str())
    }
}
