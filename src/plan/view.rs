//! The comparison of one stack, per service and slot, before anything is decided.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::adopt;
use super::held;
use super::inner;
use super::inner::Leads;
use super::input::Goal;
use super::input::PlanInput;
use super::order;
use super::scale;
use super::scale::Count;
use crate::capacity::allocate;
use crate::capacity::demand;
use crate::capacity::demand::Load;
use crate::capacity::ratio;
use crate::capacity::ratio::Policy;
use crate::state::change;
use crate::state::change::KnownImage;
use crate::state::change::Revision;
use crate::state::change::Verdict;
use crate::state::desired::DesiredState;
use crate::state::desired::ImageSource;
use crate::state::desired::PullPolicy;
use crate::state::desired::ReadyGate;
use crate::state::desired::Rollout;
use crate::state::desired::Route;
use crate::state::desired::ServiceSpec;
use crate::state::digest;
use crate::state::names;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::Role;
use crate::state::spec::ContainerSpec;
use crate::state::spec::MountSource;
use crate::state::spec::NetworkMode;
use crate::state::strategy::TrafficSplit;

/// The whole comparison.
pub(super) struct View<'a> {
    /// What the planner was given.
    pub(super) input: PlanInput<'a>,
    /// Services in dependency order.
    pub(super) services: Vec<ServiceView<'a>>,
    /// Digest of each file set.
    pub(super) files: BTreeMap<String, String>,
    /// Aliases the gateway routes to now, by service.
    pub(super) targets: BTreeMap<String, BTreeSet<String>>,
    /// Replicas that become targets before names lead to the gateway, by service.
    pub(super) enrolled: Vec<(String, &'a Instance)>,
    /// What the gateways listen on between services now.
    pub(super) doors: BTreeMap<String, Vec<Route>>,
    /// Shares of revisions that a run has left, by service.
    pub(super) splits: BTreeMap<String, TrafficSplit>,
}

/// One service.
pub(super) struct ServiceView<'a> {
    /// What should be.
    pub(super) service: &'a ServiceSpec,
    /// How its replicas are replaced, in the direction of the plan.
    pub(super) rollout: Rollout,
    /// Where the file says so.
    pub(super) rollout_key: &'static str,
    /// Its containers as they should be.
    pub(super) revision: Revision,
    /// How many.
    pub(super) count: Count,
    /// Published through the gateway.
    pub(super) published: bool,
    /// Where its name leads.
    pub(super) leads: Leads,
    /// All its containers are those that Docker Compose made, and they stay.
    pub(super) taken_over: bool,
    /// Part of what the user named (everything when nothing is named).
    pub(super) in_scope: bool,
    /// Slots 1 to the count.
    pub(super) slots: BTreeMap<u32, Slot<'a>>,
    /// Containers of slots above the count.
    pub(super) surplus: Vec<&'a Instance>,
}

/// One slot.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot<'a> {
    /// The container that holds the slot, and what must become of it.
    pub(super) holder: Option<(&'a Instance, Verdict)>,
    /// Others in the same slot, from runs that did not finish.
    pub(super) others: Vec<&'a Instance>,
}

impl<'a> View<'a> {
    /// Compares.
    pub(super) fn new(input: PlanInput<'a>) -> Self {
        let desired = input.desired;
        let files = file_digests(desired);
        let known = input
            .observed
            .store
            .as_ref()
            .and_then(|store| store.routes.clone())
            .unwrap_or_default();
        let mut targets = known.targets;
        let mut counts = scale::counts(&input);
        let scope = scope(&input);
        let mut services: Vec<ServiceView<'a>> = order::by_dependency(&desired.services)
            .into_iter()
            .map(|name| {
                let service = &desired.services[name];
                let count = counts.remove(name).unwrap_or_default();
                let revision = revision(&input, service, &files);
                let published = desired
                    .ports
                    .iter()
                    .any(|port| port.routes.iter().any(|route| route.service == name));
                let live_targets = targets.get(name);
                let holders = held::holders(&input, service, &files);
                let judge = |one: &Instance| {
                    let verdict = adopt::judge(&input, service, change::judge(&revision, one), one);
                    let verdict = held::judge(verdict, one, &holders);
                    let named = service.inner.is_empty();
                    named_verdict(verdict, one, named)
                };
                let (mut slots, surplus) = slots(
                    input.observed.instances.iter(),
                    name,
                    &count,
                    |one| live_targets.is_some_and(|known| known.contains(&one.alias)),
                    judge,
                );
                let taken_over = adopt::taken_over(&mut slots, &surplus, published);
                let in_scope = scope.as_ref().is_none_or(|names| names.contains(name));
                let leads = inner::leads(&input, service, in_scope, &slots);
                let (rollout, rollout_key) = match &service.rollout.back {
                    Some(_) if input.options.backwards => {
                        (service.rollout.backwards(), "rollback_config")
                    }
                    _ => (service.rollout.clone(), "update_config"),
                };
                ServiceView {
                    service,
                    rollout,
                    rollout_key,
                    revision,
                    count,
                    published,
                    leads,
                    taken_over,
                    in_scope,
                    slots,
                    surplus,
                }
            })
            .collect();
        adopt::share_ports(&input, &mut services);
        let mut enrolled = Vec::new();
        for one in &services {
            let name = &one.service.name;
            if input.options.goal == Goal::Deploy && one.in_scope && !targets.contains_key(name) {
                enrolled.extend(inner::enrolled(&input, one).map(|found| (name.clone(), found)));
            }
        }
        for (service, found) in &enrolled {
            let known = targets.entry(service.clone()).or_default();
            known.insert(found.alias.clone());
        }
        let doors = known.listeners.into_iter();
        Self {
            input,
            services,
            files,
            enrolled,
            doors: doors
                .filter(|(id, _)| names::parse_door(id).is_some())
                .map(|(id, (_, routes))| (id, routes))
                .collect(),
            targets,
            splits: known.splits,
        }
    }

    /// Whether the gateway sends requests to this container.
    pub(super) fn is_target(&self, one: &Instance) -> bool {
        !one.alias.is_empty() && self.has_target(&one.service, &one.alias)
    }

    /// Whether the gateway sends requests for a service to this alias.
    pub(super) fn has_target(&self, service: &str, alias: &str) -> bool {
        self.targets
            .get(service)
            .is_some_and(|known| known.contains(alias))
    }

    /// Whether its gate has opened in this run, or a run that ended well had this
    /// revision of the service.
    pub(super) fn is_proved(&self, one: &Instance) -> bool {
        if self.input.options.learned.proved.contains(&one.name) {
            return true;
        }
        let store = self.input.observed.store.as_ref();
        store.and_then(|store| store.head.proved.get(&one.service)) == Some(&one.revision)
    }

    /// Whether a container of this service answers as far as one look can tell.
    pub(super) fn serves(&self, service: &str) -> bool {
        let mut instances = self.input.observed.instances.iter();
        instances.any(|one| one.service == service && change::serves(one))
    }

    /// Name of the container whose network others join: the service's first.
    pub(super) fn holder_of(&self, service: &str) -> Option<String> {
        let one = self
            .services
            .iter()
            .find(|one| one.service.name == service)?;
        let (found, _) = one.slots.get(&1)?.holder.as_ref()?;
        Some(found.name.clone())
    }

    /// Whether a service asks for a limit of its swap that the engine cannot set.
    pub(super) fn has_vain_swap(&self, service: &ServiceSpec) -> bool {
        self.input.observed.engine.no_swap_limit && service.container.live.memory_swap.is_some()
    }

    /// Engine names of the networks a service's containers are attached to.
    pub(super) fn networks_of(&self, service: &ServiceSpec) -> Vec<String> {
        let NetworkMode::Networks(endpoints) = &service.container.network else {
            return Vec::new();
        };
        endpoints
            .keys()
            .filter_map(|key| self.input.desired.networks.get(key))
            .map(|network| network.name.clone())
            .collect()
    }
}

impl View<'_> {
    /// What the capacity check may let pass.
    pub(super) fn policy(&self) -> Policy {
        self.input.policy()
    }

    /// Whether one more replica of this service fits beside everything else.
    pub(super) fn has_room_for(&self, one: &ServiceView<'_>) -> bool {
        let loads: Vec<Load> = self
            .services
            .iter()
            .map(|other| {
                let same = other.service.name == one.service.name;
                other.load(u32::from(same))
            })
            .collect();
        let observed = self.input.observed;
        let report = ratio::check(&observed.engine, &observed.foreign, &loads, self.policy());
        ratio::surge_fits(&report, &loads, self.policy())
    }
}

impl ServiceView<'_> {
    /// Whether it gets its requests through the gateway.
    pub(super) fn routed(&self) -> bool {
        (self.published && !self.taken_over) || self.leads.here || self.leads.leaves
    }

    /// Its load with a surge.
    pub(super) fn load(&self, surge: u32) -> Load {
        Load {
            service: self.service.name.clone(),
            one: demand::of_one(&self.service.demand),
            replicas: self.count.replicas,
            surge,
        }
    }

    /// Whether a container of it has to be made.
    pub(super) fn creates(&self) -> bool {
        let made = |slot: &Slot<'_>| match &slot.holder {
            None => true,
            Some((_, verdict)) => !verdict.stays(),
        };
        self.in_scope && self.slots.values().any(made)
    }

    /// Whether there is any container of it.
    pub(super) fn exists(&self) -> bool {
        self.slots.values().any(|slot| slot.holder.is_some())
    }

    /// Whether a container of it has to be started that exists.
    pub(super) fn starts(&self) -> bool {
        let mut holders = self.slots.values().filter_map(|slot| slot.holder.as_ref());
        self.in_scope
            && holders.any(|(_, verdict)| {
                matches!(
                    verdict,
                    Verdict::Start(_) | Verdict::Restart(_) | Verdict::Unhealthy
                )
            })
    }

    /// Slots whose serving container is to be replaced by another.
    pub(super) fn replacements(&self) -> u32 {
        let count = self
            .slots
            .values()
            .filter(|slot| {
                matches!(
                    &slot.holder,
                    Some((one, Verdict::ImageChanged | Verdict::Changed(_))) if change::serves(one)
                )
            })
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// Names of the services that may change; `None` for all.
fn scope(input: &PlanInput<'_>) -> Option<BTreeSet<String>> {
    order::scope(input.desired, |name| {
        let mut instances = input.observed.instances.iter();
        instances.any(|one| one.service == name && one.state == InstanceState::Running)
    })
}

fn file_digests(desired: &DesiredState) -> BTreeMap<String, String> {
    desired
        .files
        .iter()
        .map(|(name, set)| (name.clone(), digest::file_set(set)))
        .collect()
}

/// The digests of the file sets that a container mounts.
fn files_of(spec: &ContainerSpec, files: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mounted = spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Files { set, .. } => files.get_key_value(set),
        _ => None,
    });
    mounted
        .map(|(set, digest)| (set.clone(), digest.clone()))
        .collect()
}

fn revision(
    input: &PlanInput<'_>,
    service: &ServiceSpec,
    files: &BTreeMap<String, String>,
) -> Revision {
    let mut spec = allocate::container(service);
    if input.observed.engine.no_swap_limit {
        spec.live.memory_swap = None;
    }
    let used = files_of(&spec, files);
    Revision {
        digest: digest::revision(&spec, &used),
        fields: digest::fields(&spec, &used),
        image: known_image(input, service),
        image_content: image_content(input, service),
        compose_hash: service.compose_hash.clone(),
        one_off: service.one_off || matches!(service.ready, ReadyGate::Completed { .. }),
        spec,
    }
}

fn known_image(input: &PlanInput<'_>, service: &ServiceSpec) -> KnownImage {
    if let Some(pinned) = &service.pinned {
        return KnownImage::Id(pinned.id.clone());
    }
    let on_engine = |reference: &str| {
        input
            .observed
            .images
            .get(reference)
            .map_or(KnownImage::Absent, |info| KnownImage::Id(info.id.clone()))
    };
    match &service.image {
        ImageSource::Build { tag: None } => KnownImage::Unnamed,
        ImageSource::Build { tag: Some(tag) } => on_engine(tag),
        ImageSource::Pull { .. } if must_pull(input, service) => KnownImage::Absent,
        ImageSource::Pull { reference, .. } => on_engine(reference),
        ImageSource::Unset => KnownImage::Absent,
    }
}

/// What is in the image, where it is on the engine.
fn image_content(input: &PlanInput<'_>, service: &ServiceSpec) -> String {
    let reference = match &service.image {
        _ if service.pinned.is_some() => return String::new(),
        ImageSource::Build { tag: Some(tag) } => tag,
        ImageSource::Pull { reference, .. } => reference,
        ImageSource::Build { tag: None } | ImageSource::Unset => return String::new(),
    };
    let found = input.observed.images.get(reference);
    found.map(|image| image.content.clone()).unwrap_or_default()
}

/// Whether a reference is pulled although the engine has it.
pub(super) fn must_pull(input: &PlanInput<'_>, service: &ServiceSpec) -> bool {
    match &service.image {
        ImageSource::Pull { reference, policy } if service.pinned.is_none() => {
            // One that nobody noted a pull of may be of any age.
            let old = |after: u64| {
                let known = input.observed.images.get(reference);
                known.is_some_and(|info| info.age_secs.is_none_or(|age| age >= after))
            };
            let due = match policy {
                PullPolicy::Always => true,
                PullPolicy::Refresh(after) => old(*after),
                PullPolicy::Missing | PullPolicy::Never => false,
            };
            (due || input.options.pull)
                && *policy != PullPolicy::Never
                && !input.options.learned.pulled.contains(reference)
        }
        _ => false,
    }
}

/// Sorts the containers of one service into slots.
fn slots<'a>(
    instances: impl Iterator<Item = &'a Instance>,
    service: &str,
    count: &Count,
    is_target: impl Fn(&Instance) -> bool,
    judge: impl Fn(&Instance) -> Verdict,
) -> (BTreeMap<u32, Slot<'a>>, Vec<&'a Instance>) {
    let mut by_slot: BTreeMap<u32, Vec<(&Instance, Verdict)>> = BTreeMap::new();
    for one in instances.filter(|one| one.role == Role::Service && one.service == service) {
        by_slot.entry(one.slot).or_default().push((one, judge(one)));
    }
    let mut slots: BTreeMap<u32, Slot<'a>> = (1..=count.replicas)
        .map(|number| (number, Slot::default()))
        .collect();
    let mut surplus = Vec::new();
    for (number, mut found) in by_slot {
        let Some(slot) = slots.get_mut(&number) else {
            surplus.extend(found.into_iter().map(|(one, _)| one));
            continue;
        };
        found.sort_by_key(|(one, verdict)| (rank(verdict, one, is_target(one)), one.name.clone()));
        let mut found = found.into_iter();
        slot.holder = found.next();
        slot.others = found.map(|(one, _)| one).collect();
    }
    // Highest slot first, as they are removed.
    surplus.sort_by_key(|one| (std::cmp::Reverse(one.slot), one.name.clone()));
    (slots, surplus)
}

/// One that lacks its service's name and should have it cannot be given it while it runs.
fn named_verdict(verdict: Verdict, one: &Instance, named: bool) -> Verdict {
    if verdict.stays() && named && one.nameless {
        return Verdict::Changed(vec!["it answers to its service's name itself".to_owned()]);
    }
    verdict
}

/// Who holds a slot that several containers claim: the right one if it runs, then
/// the one that gets requests, then one that runs.
fn rank(verdict: &Verdict, one: &Instance, target: bool) -> u8 {
    let runs = one.state == InstanceState::Running;
    match verdict {
        Verdict::Current | Verdict::Update(_) => 0,
        _ if target && runs => 1,
        _ if runs => 2,
        Verdict::Start(_) | Verdict::Restart(_) => 3,
        Verdict::LeftOver => 5,
        _ => 4,
    }
}
