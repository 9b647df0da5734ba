//! C: what the engine has, less a reserve for the host and foreign containers.

use crate::state::cluster::Node;
use crate::state::observed::Engine;
use crate::state::observed::Foreign;

use super::report::ResourceReport;

/// Least CPU kept back for the host, in thousandths of a core.
const CPU_RESERVE_MILLI: u64 = 100;
/// Share of the CPU kept back for the host, in percent.
const CPU_RESERVE_PERCENT: u64 = 5;
/// Least memory kept back for the host, in bytes.
const MEMORY_RESERVE: u64 = 256 << 20;
/// Share of the memory kept back for the host, in percent.
const MEMORY_RESERVE_PERCENT: u64 = 6;

/// Capacity for CPU in thousandths of a core; demand is left at zero.
pub fn cpu(engine: &Engine, foreign: &[Foreign]) -> ResourceReport {
    let total = u64::from(engine.cpus) * 1000;
    let taken = foreign.iter().map(|one| one.cpu_milli).sum();
    resource(
        total,
        CPU_RESERVE_MILLI.max(percent(total, CPU_RESERVE_PERCENT)),
        taken,
    )
}

/// Capacity for memory in bytes; demand is left at zero.
pub fn memory(engine: &Engine, foreign: &[Foreign]) -> ResourceReport {
    let taken = foreign.iter().map(|one| one.memory).sum();
    resource(
        engine.memory,
        MEMORY_RESERVE.max(percent(engine.memory, MEMORY_RESERVE_PERCENT)),
        taken,
    )
}

/// Capacity of nodes for CPU and memory: what their pods may ask for, from which each
/// has kept back its own already, less what pods outside the stack ask for.
pub fn of_nodes(nodes: &[Node]) -> (ResourceReport, ResourceReport) {
    let sum = |of: fn(&Node) -> u64| nodes.iter().map(of).fold(0, u64::saturating_add);
    (
        resource(sum(|it| it.cpu_milli), 0, sum(|it| it.foreign.cpu_milli)),
        resource(sum(|it| it.memory), 0, sum(|it| it.foreign.memory)),
    )
}

fn resource(total: u64, reserve: u64, foreign: u64) -> ResourceReport {
    ResourceReport {
        total,
        reserve,
        foreign,
        capacity: total.saturating_sub(reserve).saturating_sub(foreign),
        ..ResourceReport::default()
    }
}

fn percent(whole: u64, part: u64) -> u64 {
    // Divided first: a hundredth of u64::MAX times 100 still fits.
    whole / 100 * part + whole % 100 * part / 100
}
