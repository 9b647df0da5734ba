//! What can be typed when demand does not fit, best first.

use super::demand::Load;
use super::ratio::Policy;
use super::report::CapacityReport;

/// Remedies for a ratio above 1; empty when everything fits.
pub fn list(report: &CapacityReport, loads: &[Load], policy: Policy) -> Vec<String> {
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
    for row in report.services.iter().take(1) {
        let key = if memory_over { "memory" } else { "cpus" };
        remedies.push(format!(
            "in the stack file: lower deploy.resources.reservations.{key} of {}",
            row.service
        ));
    }
    if report.cpu.foreign > 0 || report.memory.foreign > 0 {
        remedies.push("docker ps: stop containers outside the stack".to_owned());
    }
    let _ = policy;
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

/// The smallest factor with one decimal that lets the CPU demand pass.
fn factor(report: &CapacityReport) -> String {
    let tenths =
        (u128::from(report.cpu.demand) * 10).div_ceil(u128::from(report.cpu.capacity.max(1)));
    format!("{}.{}", tenths / 10, tenths % 10)
}
