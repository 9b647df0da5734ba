//! M: what the replicas of a service ask for.

use crate::state::desired::Demand;
use crate::state::desired::DemandSource;

/// CPU assumed for one replica when nothing is declared, in thousandths of a core.
pub const ASSUMED_CPU_MILLI: u64 = 100;
/// Memory assumed for one replica when nothing is declared, in bytes.
pub const ASSUMED_MEMORY: u64 = 64 << 20;

/// Demand of one replica with assumptions in place of what is not declared.
pub fn of_one(declared: &Demand) -> Demand {
    let mut demand = declared.clone();
    if demand.cpu_source == DemandSource::Assumed && demand.cpu_milli == 0 {
        demand.cpu_milli = ASSUMED_CPU_MILLI;
    }
    if demand.memory_source == DemandSource::Assumed && demand.memory == 0 {
        demand.memory = ASSUMED_MEMORY;
    }
    demand
}

/// How many replicas of a service there are, and at most will be for a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// Name of the service.
    pub service: String,
    /// Demand of one replica.
    pub one: Demand,
    /// Replicas of the steady state.
    pub replicas: u32,
    /// Replicas above that at the height of the change.
    pub surge: u32,
}

/// Sum of CPU and memory over loads, counting `replicas(load)` of each.
pub fn total(loads: &[Load], replicas: impl Fn(&Load) -> u32) -> (u64, u64) {
    sum(loads, replicas, |_| true, |_| true)
}

/// As [`total`], but only what reservations declare.
pub fn declared(loads: &[Load], replicas: impl Fn(&Load) -> u32) -> (u64, u64) {
    sum(
        loads,
        replicas,
        |one| one.cpu_source == DemandSource::Reservation,
        |one| one.memory_source == DemandSource::Reservation,
    )
}

fn sum(
    loads: &[Load],
    replicas: impl Fn(&Load) -> u32,
    cpu: impl Fn(&Demand) -> bool,
    memory: impl Fn(&Demand) -> bool,
) -> (u64, u64) {
    loads.iter().fold((0, 0), |(cpu_sum, memory_sum), load| {
        let count = u64::from(replicas(load));
        let part = |counts: bool, one: u64| if counts { one.saturating_mul(count) } else { 0 };
        (
            u64::saturating_add(cpu_sum, part(cpu(&load.one), load.one.cpu_milli)),
            u64::saturating_add(memory_sum, part(memory(&load.one), load.one.memory)),
        )
    })
}
