//! R = M / C per service and over all, for the steady state and its surge.

use crate::state::observed::Engine;
use crate::state::observed::Foreign;

use super::demand;
use super::demand::Load;
use super::remedy;
use super::report::CapacityReport;
use super::report::ResourceReport;
use super::report::ServiceRatio;
use super::supply;

/// What the check may let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Demand of any source may refuse, not only a reservation.
    pub strict: bool,
    /// CPU demand allowed, in percent of the capacity.
    pub cpu_percent: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            strict: false,
            cpu_percent: 100,
        }
    }
}

/// The whole check.
pub fn check(
    engine: &Engine,
    foreign: &[Foreign],
    loads: &[Load],
    policy: Policy,
) -> CapacityReport {
    let mut cpu = supply::cpu(engine, foreign);
    let mut memory = supply::memory(engine, foreign);
    (cpu.demand, memory.demand) = demand::total(loads, |load| load.replicas);
    (cpu.declared, memory.declared) = demand::declared(loads, |load| load.replicas);
    (cpu.surge, memory.surge) = demand::total(loads, |load| load.replicas + load.surge);
    let mut services: Vec<_> = loads
        .iter()
        .map(|load| row(load, cpu.capacity, memory.capacity))
        .collect();
    services.sort_by(|a, b| {
        let key = |row: &ServiceRatio| row.cpu_ratio_milli.max(row.memory_ratio_milli);
        key(b).cmp(&key(a)).then_with(|| a.service.cmp(&b.service))
    });
    let refused =
        exceeds(&cpu, policy.strict, policy.cpu_percent) || exceeds(&memory, policy.strict, 100);
    let mut report = CapacityReport {
        cpu,
        memory,
        services,
        remedies: Vec::new(),
        refused,
    };
    report.remedies = remedy::list(&report, loads, policy);
    report
}

/// Whether demand that counts exceeds `percent` of the capacity.
fn exceeds(resource: &ResourceReport, strict: bool, percent: u32) -> bool {
    let counted = if strict {
        resource.demand
    } else {
        resource.declared
    };
    u128::from(counted) * 100 > u128::from(resource.capacity) * u128::from(percent)
}

/// Whether declared demand with this surge still fits.
pub fn surge_fits(report: &CapacityReport, loads: &[Load], policy: Policy) -> bool {
    let with_surge = |load: &Load| load.replicas + load.surge;
    let (cpu, memory) = if policy.strict {
        demand::total(loads, with_surge)
    } else {
        demand::declared(loads, with_surge)
    };
    let fits = |demand: u64, capacity: u64, percent: u32| {
        u128::from(demand) * 100 <= u128::from(capacity) * u128::from(percent)
    };
    fits(cpu, report.cpu.capacity, policy.cpu_percent) && fits(memory, report.memory.capacity, 100)
}

/// R in thousandths, rounded up, so that 1000 means it fits exactly. Demand
/// without any capacity is the largest ratio there is.
pub fn milli(demand: u64, capacity: u64) -> u64 {
    if demand == 0 {
        return 0;
    }
    if capacity == 0 {
        return u64::MAX;
    }
    let ratio = (u128::from(demand) * 1000).div_ceil(u128::from(capacity));
    u64::try_from(ratio).unwrap_or(u64::MAX)
}

fn row(load: &Load, cpu: u64, memory: u64) -> ServiceRatio {
    let count = u64::from(load.replicas);
    let cpu_ratio_milli = milli(load.one.cpu_milli.saturating_mul(count), cpu);
    let memory_ratio_milli = milli(load.one.memory.saturating_mul(count), memory);
    ServiceRatio {
        service: load.service.clone(),
        replicas: load.replicas,
        cpu_milli: load.one.cpu_milli,
        cpu_source: load.one.cpu_source,
        memory: load.one.memory,
        memory_source: load.one.memory_source,
        cpu_ratio_milli,
        memory_ratio_milli,
        dominant: if memory_ratio_milli > cpu_ratio_milli {
            "memory".to_owned()
        } else {
            "cpu".to_owned()
        },
    }
}
