//! How fast a service may change: order and batch size, by what the file asks, what
//! the containers bear, and what the capacity allows.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::view::ServiceView;
use super::view::View;
use crate::capacity::demand::Load;
use crate::capacity::ratio;
use crate::capacity::report::CapacityReport;
use crate::state::desired::RolloutOrder;
use crate::state::spec::NetworkMode;
use crate::state::strategy::Staged;
use crate::state::strategy::StagedKind;
use crate::state::strategy::TrafficStage;

/// Order and batch size of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pace {
    /// New first or old first.
    pub(super) order: RolloutOrder,
    /// Why old first, where it is.
    pub(super) why: Option<String>,
    /// Replicas at a time.
    pub(super) parallelism: usize,
    /// Successors beside all old replicas, where the rollout is one in stages.
    pub(super) staged: Option<usize>,
    /// Waits for the rollout of the service before.
    pub(super) one_by_one: bool,
}

impl Pace {
    /// What the file asks for and the containers bear, capacity aside.
    pub(super) fn of(one: &ServiceView<'_>) -> Self {
        let rollout = &one.rollout;
        let why = stop_first_reason(one);
        let slots = one.slots.len().max(1);
        let stages = rollout
            .staged
            .as_ref()
            .filter(|_| why.is_none() && one.routed());
        let most = |staged: &Staged| {
            let successors = |stage: &TrafficStage| staged.successors(stage.percent, slots);
            staged.stages.iter().map(successors).max()
        };
        Self {
            order: match why {
                Some(_) => RolloutOrder::StopFirst,
                None => RolloutOrder::StartFirst,
            },
            why,
            parallelism: match rollout.parallelism {
                0 => slots,
                some => usize::try_from(some).unwrap_or(slots).min(slots),
            },
            staged: stages.and_then(most),
            one_by_one: false,
        }
    }

    /// Containers beside those that are replaced.
    fn surge(&self) -> usize {
        match self.order {
            RolloutOrder::StartFirst => self.parallelism.max(self.staged.unwrap_or(0)),
            RolloutOrder::StopFirst => 0,
        }
    }
}

/// Why two containers of a service cannot run side by side for a moment.
fn stop_first_reason(one: &ServiceView<'_>) -> Option<String> {
    let spec = &one.service.container;
    if let Some(name) = &one.service.container_name {
        return Some(format!("only one container can have the name {name}"));
    }
    if let Some(port) = spec.ports.iter().find_map(|port| port.host_port) {
        return Some(format!(
            "only one container can bind port {port} of the host"
        ));
    }
    if let Some(volume) = one.service.exclusive_volumes.first() {
        return Some(format!("volume {volume} bears one writer at a time"));
    }
    match &spec.network {
        NetworkMode::Host => return Some("it uses the host's network".to_owned()),
        NetworkMode::Networks(endpoints) => {
            let fixed = endpoints.values().find_map(|end| {
                let ip = end.ipv4.as_ref().or(end.ipv6.as_ref());
                ip.or(end.link_local.first()).or(end.mac_address.as_ref())
            });
            if let Some(address) = fixed.or(spec.mac_address.as_ref()) {
                return Some(format!("only one container can have the address {address}"));
            }
        }
        _ => {}
    }
    (one.rollout.order == RolloutOrder::StopFirst)
        .then(|| format!("{}.order is stop-first", one.rollout_key))
}

/// Loads of all services with the surge that the file asks for.
pub(super) fn loads(view: &View<'_>) -> Vec<Load> {
    view.services
        .iter()
        .map(|one| {
            let pace = Pace::of(one);
            let at_once = u32::try_from(pace.surge()).unwrap_or(u32::MAX);
            one.load(one.replacements().min(at_once))
        })
        .collect()
}

/// Fits the surge into the capacity: first as asked, then one service after
/// another, then fewer replicas at a time, then stop-first. Says so where it gives way.
pub(super) fn fit(
    view: &View<'_>,
    report: &CapacityReport,
    loads: &mut [Load],
    draft: &mut Draft,
) -> BTreeMap<String, Pace> {
    let policy = view.policy();
    let mut paces: BTreeMap<String, Pace> = BTreeMap::new();
    let changing: Vec<&ServiceView<'_>> = view
        .services
        .iter()
        .filter(|one| one.in_scope && one.replacements() > 0)
        .collect();
    let together = ratio::surge_fits(report, loads, policy);
    for one in &changing {
        let name = &one.service.name;
        let mut pace = Pace::of(one);
        let declared = one.rollout.order == RolloutOrder::StopFirst;
        if let Some(why) = &pace.why {
            let text = format!("replaced stop-first, with a gap: {why}");
            draft.note(!declared, name, text);
        } else if !together {
            let asked = pace.surge();
            let mut alone: Vec<Load> = loads.to_vec();
            for load in &mut alone {
                load.surge = 0;
            }
            let fitting = (1..=asked).rev().find(|count| {
                set_surge(&mut alone, name, *count);
                ratio::surge_fits(report, &alone, policy)
            });
            pace.one_by_one = true;
            match fitting {
                Some(count) if count < asked => {
                    pace.parallelism = pace.parallelism.min(count);
                    pace.staged = pace.staged.filter(|_| !is_whole(one)).map(|_| count);
                    let text = format!(
                        "{count} instead of {asked} replicas at a time: the capacity has no room for more"
                    );
                    draft.note(true, name, text);
                }
                Some(_) => {}
                None => {
                    pace.order = RolloutOrder::StopFirst;
                    pace.staged = None;
                    let why = "the capacity has no room for a second one";
                    pace.why = Some(why.to_owned());
                    draft.note(
                        true,
                        name,
                        format!("replaced stop-first, with a gap: {why}"),
                    );
                }
            }
            set_surge(loads, name, pace.surge());
        }
        paces.insert(name.clone(), pace);
    }
    if !together && paces.values().filter(|pace| pace.one_by_one).count() > 1 {
        draft.note(
            true,
            "",
            "services are replaced one after another: the capacity has no room for all at once",
        );
        keep_highest(loads);
    }
    paces
}

/// Whether a rollout in stages needs all successors before its first stage.
fn is_whole(one: &ServiceView<'_>) -> bool {
    let staged = one.rollout.staged.as_ref();
    staged.is_some_and(|staged| staged.kind == StagedKind::BlueGreen)
}

fn set_surge(loads: &mut [Load], service: &str, surge: usize) {
    for load in loads.iter_mut().filter(|load| load.service == service) {
        load.surge = u32::try_from(surge).unwrap_or(u32::MAX);
    }
}

/// One service at a time surges, so the height of the change is its largest part.
fn keep_highest(loads: &mut [Load]) {
    let size = |load: &Load| u64::from(load.surge).saturating_mul(load.one.memory.max(1));
    let highest = loads.iter().map(size).max().unwrap_or(0);
    let mut kept = false;
    for load in loads.iter_mut() {
        if kept || size(load) < highest {
            load.surge = 0;
        } else {
            kept = true;
        }
    }
}
