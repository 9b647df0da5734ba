//! What can be typed when demand does not fit, best first.

use super::demand::Load;
use super::report::CapacityReport;
use crate::state::desired::DemandSource;

/// Remedies for a ratio above 1; empty when everything fits.
pub fn list(report: &CapacityReport, loads: &[Load]) -> Vec<String> {
    let cpu_over = report.cpu.demand > report.cpu.capacity;
    let memory_over = report.memory.demand > report.memory.capacity;
    if !cpu_over && !memory_over {
        return Vec::new();
    }
    let mut remedies = Vec::new();
    for row in &report.services {
        let Some(load) = loads.iter().find(|load| load.service == row.service) else {
            continue;
        };
        if let Some(count) = fitting(report, load).filter(|count| *count < load.replicas) {
            remedies.push(format!("shopctl scale {}={count}", load.service));
        }
    }
    if cpu_over && !memory_over {
        remedies.push(format!(
            "shopctl deploy --overcommit cpu={}",
            factor(report)
        ));
    }
    if cpu_over {
        remedies.push(cut(report, loads));
    }
    if memory_over {
        remedies.extend(smaller(report));
    }
    if report.cpu.foreign > 0 || report.memory.foreign > 0 {
        remedies.push("docker ps: stop containers outside the stack".to_owned());
    }
    remedies
}

/// Replicas of one service that fit while all others stay, at least one.
fn fitting(report: &CapacityReport, load: &Load) -> Option<u32> {
    let limit = |demand: u64, capacity: u64, one: u64| {
        if demand <= capacity || one == 0 {
            return Some(load.replicas);
        }
        let others = demand.saturating_sub(one.saturating_mul(u64::from(load.replicas)));
        let room = capacity.checked_sub(others)?;
        u32::try_from(room / one).ok().filter(|count| *count > 0)
    };
    let cpu = limit(report.cpu.demand, report.cpu.capacity, load.one.cpu_milli)?;
    let memory = limit(
        report.memory.demand,
        report.memory.capacity,
        load.one.memory,
    )?;
    Some(cpu.min(memory))
}

/// CPU reservations that fit: all cut by the same share, since CPU can be stretched.
/// Progressive filling with equal weights: the largest t with Σ n·t·M ≤ C.
fn cut(report: &CapacityReport, loads: &[Load]) -> String {
    let declared = |load: &&Load| load.one.cpu_source == DemandSource::Reservation;
    let rest = report.cpu.demand - report.cpu.declared;
    // Nothing is left where what nobody declared is too much already.
    let room = u128::from(report.cpu.capacity.saturating_sub(rest));
    let all = u128::from(report.cpu.declared).max(1);
    let shares: Vec<String> = loads
        .iter()
        .filter(declared)
        .map(|load| {
            let milli = u128::from(load.one.cpu_milli) * room / all;
            (load, milli)
        })
        .filter(|(_, milli)| *milli > 0)
        .map(|(load, milli)| format!("{} {}.{:03}", load.service, milli / 1000, milli % 1000))
        .collect();
    if let Some(first) = loads.first().filter(|_| shares.is_empty()) {
        // Counted though nobody declared it, as `x-shop.capacity: strict` asks.
        let service = &first.service;
        format!("in the stack file: declare deploy.resources.reservations.cpus of {service}")
    } else {
        let shares = shares.join(", ");
        format!("in the stack file: deploy.resources.reservations.cpus: {shares}")
    }
}

/// Memory cannot be stretched: by how much it is short, and who asks for most.
fn smaller(report: &CapacityReport) -> Option<String> {
    let short = report.memory.demand - report.memory.capacity;
    let row = report
        .services
        .iter()
        .max_by_key(|row| row.memory_ratio_milli)?;
    let each = short.div_ceil(u64::from(row.replicas.max(1)));
    let service = &row.service;
    Some(if each < row.memory {
        let mebibytes = each.div_ceil(1 << 20);
        format!(
            "in the stack file: lower deploy.resources.reservations.memory of {service} by {mebibytes} MiB"
        )
    } else {
        let mebibytes = short.div_ceil(1 << 20);
        format!("memory is short by {mebibytes} MiB: move {service} and others to another machine")
    })
}

/// The smallest factor with one decimal that lets the CPU demand pass.
fn factor(report: &CapacityReport) -> String {
    let tenths =
        (u128::from(report.cpu.demand) * 10).div_ceil(u128::from(report.cpu.capacity.max(1)));
    format!("{}.{}", tenths / 10, tenths % 10)
}
