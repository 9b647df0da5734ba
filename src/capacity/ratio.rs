//! R = M / C per service and over all, for the steady state and its surge.

use crate::state::cluster::Node;
use crate::state::observed::Engine;
use crate::state::observed::Foreign;

use super::demand;
use super::demand::Load;
use super::remedy;
use super::report::CapacityReport;
use super::report::NodeRatio;
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

/// The whole check, on an engine.
pub fn check(
    engine: &Engine,
    foreign: &[Foreign],
    loads: &[Load],
    policy: Policy,
) -> CapacityReport {
    let supply = (
        supply::cpu(engine, foreign),
        supply::memory(engine, foreign),
    );
    of_supply(supply, loads, policy)
}

/// The whole check, against a supply of CPU and memory.
pub fn of_supply(
    (mut cpu, mut memory): (ResourceReport, ResourceReport),
    loads: &[Load],
    policy: Policy,
) -> CapacityReport {
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
        nodes: Vec::new(),
        misfit: None,
    };
    report.remedies = remedy::list(&report, loads);
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

/// R of each node as it is now, dominant ratio first: what the stack's pods there ask for
/// over what pods outside the stack leave of it. A pod that has no node yet is in no row,
/// and a node's own pods may be of a revision that is on its way out.
pub fn of_nodes(nodes: &[Node]) -> Vec<NodeRatio> {
    let row = |node: &Node| {
        let cpu_capacity = node.cpu_milli.saturating_sub(node.foreign.cpu_milli);
        let memory_capacity = node.memory.saturating_sub(node.foreign.memory);
        NodeRatio {
            node: node.name.clone(),
            cpu_capacity,
            cpu_demand: node.own.cpu_milli,
            memory_capacity,
            memory_demand: node.own.memory,
            pods: node.own.pods,
            cpu_ratio_milli: milli(node.own.cpu_milli, cpu_capacity),
            memory_ratio_milli: milli(node.own.memory, memory_capacity),
        }
    };
    let mut rows: Vec<NodeRatio> = nodes.iter().map(row).collect();
    rows.sort_by(|a, b| {
        let key = |row: &NodeRatio| row.cpu_ratio_milli.max(row.memory_ratio_milli);
        key(b).cmp(&key(a)).then_with(|| a.node.cmp(&b.node))
    });
    rows
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::cluster::Asked;
    use crate::state::desired::Demand;
    use crate::state::desired::DemandSource;
    use proptest::prelude::*;

    fn engine(cpus: u32, memory: u64) -> Engine {
        Engine {
            cpus,
            memory,
            ..Engine::default()
        }
    }

    fn load(service: &str, cpu_milli: u64, memory: u64, replicas: u32) -> Load {
        Load {
            service: service.to_owned(),
            one: Demand {
                cpu_milli,
                cpu_source: DemandSource::Reservation,
                memory,
                memory_source: DemandSource::Reservation,
            },
            replicas,
            surge: 1,
        }
    }

    #[test]
    fn a_reserve_is_kept_for_the_host() {
        let small = check(&engine(1, 1 << 30), &[], &[], Policy::default());
        assert_eq!((small.cpu.capacity, small.cpu.reserve), (900, 100));
        assert_eq!(small.memory.reserve, 256 << 20);
        let large = check(&engine(64, 1 << 40), &[], &[], Policy::default());
        assert_eq!(large.cpu.reserve, 3200);
        assert_eq!(
            large.memory.reserve,
            (1 << 40) / 100 * 6 + (1_u64 << 40) % 100 * 6 / 100
        );
    }

    #[test]
    fn foreign_containers_take_their_part_and_never_more_than_all() {
        let foreign = Foreign {
            cpu_milli: 10_000,
            memory: 1 << 28,
            ..Foreign::default()
        };
        let report = check(&engine(2, 1 << 30), &[foreign], &[], Policy::default());
        assert_eq!(report.cpu.capacity, 0);
        assert_eq!(report.memory.capacity, (1 << 30) - (256 << 20) - (1 << 28));
    }

    #[test]
    fn exactly_full_fits_and_one_more_does_not() {
        let fits = |cpu| {
            let loads = [load("a", cpu, 0, 1)];
            !check(&engine(1, 1 << 30), &[], &loads, Policy::default()).refused
        };
        assert!(fits(900));
        assert!(!fits(901));
    }

    #[test]
    fn surge_alone_refuses_nothing() {
        let loads = [load("a", 900, 0, 1)];
        let report = check(&engine(1, 1 << 30), &[], &loads, Policy::default());
        assert!(!report.refused);
        assert_eq!(report.cpu.surge, 1800);
        assert!(!surge_fits(&report, &loads, Policy::default()));
    }

    #[test]
    fn the_dominant_service_comes_first() {
        let loads = [load("a", 100, 1 << 20, 1), load("b", 100, 1 << 29, 1)];
        let report = check(&engine(4, 1 << 30), &[], &loads, Policy::default());
        let rows: Vec<_> = report
            .services
            .iter()
            .map(|row| (row.service.as_str(), row.memory_ratio_milli > 500))
            .collect();
        assert_eq!(rows, [("b", true), ("a", false)]);
    }

    #[test]
    fn nodes_have_a_ratio_of_their_own() {
        let node = |name: &str, cpu_milli: u64, foreign: u64, own: u64, memory: u64| Node {
            name: name.to_owned(),
            cpu_milli,
            memory: 1000,
            pods: 110,
            foreign: Asked {
                cpu_milli: foreign,
                memory: 500,
                pods: 3,
            },
            own: Asked {
                cpu_milli: own,
                memory,
                pods: 2,
            },
            ..Node::default()
        };
        let nodes = [
            node("idle", 4000, 0, 0, 0),
            node("cpu", 4000, 2000, 1000, 100),
            node("memory", 4000, 2000, 1000, 400),
            // Others ask for more than there is.
            node("full", 1000, 2000, 10, 0),
        ];
        let rows = of_nodes(&nodes);
        let told: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.node.as_str(),
                    row.cpu_ratio_milli,
                    row.memory_ratio_milli,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("full", u64::MAX, 0),
                ("memory", 500, 800),
                ("cpu", 500, 200),
                ("idle", 0, 0),
            ]
        );
        let first = &rows[1];
        assert_eq!((first.cpu_capacity, first.cpu_demand), (2000, 1000));
        assert_eq!((first.memory_capacity, first.memory_demand), (500, 400));
        assert_eq!(first.pods, 2);
    }

    proptest! {
        #[test]
        fn remedies_by_scale_make_it_fit(
            cpu in 1..2000_u64, memory in 1..1_u64 << 32, replicas in 1..20_u32,
            cpus in 1..8_u32, total in 1_u64 << 29..1_u64 << 35,
        ) {
            let loads = [load("a", cpu, memory, replicas)];
            let report = check(&engine(cpus, total), &[], &loads, Policy::default());
            for remedy in &report.remedies {
                if let Some(count) = remedy.strip_prefix("shopctl scale a=") {
                    let count: u32 = count.parse().expect("a number");
                    let better = [load("a", cpu, memory, count)];
                    prop_assert!(!check(&engine(cpus, total), &[], &better, Policy::default()).refused);
                    // And not fewer than needed.
                    let more = [load("a", cpu, memory, count + 1)];
                    prop_assert!(check(&engine(cpus, total), &[], &more, Policy::default()).refused);
                }
            }
            prop_assert_eq!(report.refused, !report.remedies.is_empty());
        }

        #[test]
        fn more_capacity_never_refuses_what_fitted(
            cpu in 0..u64::MAX, memory in 0..u64::MAX, replicas in 0..u32::MAX,
            cpus in 0..u32::MAX - 1, total in 0..u64::MAX - 1,
        ) {
            let loads = [load("a", cpu, memory, replicas)];
            let less = check(&engine(cpus, total), &[], &loads, Policy::default());
            let more = check(&engine(cpus + 1, total + 1), &[], &loads, Policy::default());
            prop_assert!(less.refused || !more.refused);
        }

        #[test]
        fn ratios_do_not_depend_on_the_scale(demand in 1..1_u64 << 40, capacity in 1..1_u64 << 40, factor in 1..1000_u64) {
            prop_assert_eq!(milli(demand, capacity), milli(demand * factor, capacity * factor));
        }
    }
}
