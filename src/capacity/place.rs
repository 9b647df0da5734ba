//! Whether replicas find room on single nodes: a demand that fits the sum of all nodes may
//! fit none of them.
//!
//! Replicas are put down by size, the largest first, each on the first node with room for
//! it. That is quick and good, and not always the best that can be done, so only what fits
//! no node even alone is certain. Labels, spreading and the like are the cluster's to judge.

use std::cmp::Reverse;

use crate::state::cluster::Node;
use crate::state::desired::DemandSource;

use super::demand::Load;
use super::ratio;
use super::ratio::Policy;

/// Why not all replicas find a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// In a sentence.
    pub text: String,
    /// One replica alone fits on no node. Else the cluster may still find a way.
    pub is_certain: bool,
}

/// What is free on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Free {
    cpu_milli: u64,
    memory: u64,
    pods: u64,
}

/// What a replica needs of a node, as far as it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Need {
    cpu_milli: u64,
    memory: u64,
}

/// Where replicas went: of a load on a node, by their places in both lists, so many.
type Placed = Vec<(usize, usize, u64)>;

/// By what replicas are ordered.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// The resource of which they need the larger share.
    Share,
    Cpu,
    Memory,
}

/// Why not all replicas find a node; `None` where all do, or where no nodes can be seen.
/// What counts is what counts for the sum: declared demand, or all where that is strict.
pub fn obstacle(nodes: &[Node], loads: &[Load], policy: Policy) -> Option<Obstacle> {
    if nodes.is_empty() {
        return None;
    }
    let all: Vec<Free> = nodes.iter().map(|node| free(node, policy)).collect();
    let needs: Vec<Need> = loads.iter().map(|load| need(load, policy)).collect();
    for (load, need) in loads.iter().zip(&needs) {
        if load.replicas > 0
            && let Some(text) = alone(*need, &all)
        {
            return Some(Obstacle {
                text: format!("{} {text}", load.service),
                is_certain: true,
            });
        }
    }
    let mut first = None;
    for order in [Order::Share, Order::Cpu, Order::Memory] {
        let mut left = all.clone();
        let (placed, failed) = place(&mut left, loads, &needs, order);
        let failed = failed?;
        first.get_or_insert_with(|| beside(&loads[failed], failed, &placed, &left));
    }
    first.map(|text| Obstacle {
        text,
        is_certain: false,
    })
}

/// Puts replicas down; what was placed, and the first load that was not in full.
fn place(free: &mut [Free], loads: &[Load], needs: &[Need], by: Order) -> (Placed, Option<usize>) {
    let whole = |of: fn(&Free) -> u64| free.iter().map(of).fold(0, u64::saturating_add);
    let (cpu, memory) = (whole(|it| it.cpu_milli), whole(|it| it.memory));
    let size = |need: Need| match by {
        Order::Share => ratio::milli(need.cpu_milli, cpu).max(ratio::milli(need.memory, memory)),
        Order::Cpu => need.cpu_milli,
        Order::Memory => need.memory,
    };
    let mut order: Vec<usize> = (0..loads.len()).collect();
    order.sort_by_key(|&at| Reverse((size(needs[at]), needs[at].cpu_milli, needs[at].memory)));
    let mut placed = Placed::new();
    for at in order {
        let mut left = u64::from(loads[at].replicas);
        for (number, node) in free.iter_mut().enumerate() {
            let count = node.room(needs[at]).min(left);
            if count > 0 {
                node.take(needs[at], count);
                placed.push((at, number, count));
                left -= count;
            }
        }
        if left > 0 {
            return (placed, Some(at));
        }
    }
    (placed, None)
}

impl Free {
    /// So many replicas have room here.
    fn room(&self, need: Need) -> u64 {
        let of = |free: u64, one: u64| free.checked_div(one).unwrap_or(u64::MAX);
        of(self.cpu_milli, need.cpu_milli)
            .min(of(self.memory, need.memory))
            .min(self.pods)
    }

    fn take(&mut self, need: Need, count: u64) {
        self.cpu_milli -= need.cpu_milli * count;
        self.memory -= need.memory * count;
        self.pods -= count;
    }
}

fn free(node: &Node, policy: Policy) -> Free {
    let cpu = node.cpu_milli.saturating_sub(node.foreign.cpu_milli);
    let cpu = u128::from(cpu) * u128::from(policy.cpu_percent) / 100;
    Free {
        cpu_milli: u64::try_from(cpu).unwrap_or(u64::MAX),
        memory: node.memory.saturating_sub(node.foreign.memory),
        pods: node.pods.saturating_sub(node.foreign.pods),
    }
}

fn need(load: &Load, policy: Policy) -> Need {
    let counts = |source: DemandSource| policy.strict || source == DemandSource::Reservation;
    let part = |counts: bool, amount: u64| if counts { amount } else { 0 };
    Need {
        cpu_milli: part(counts(load.one.cpu_source), load.one.cpu_milli),
        memory: part(counts(load.one.memory_source), load.one.memory),
    }
}

/// Why one replica fits on no node, were it the only one.
fn alone(need: Need, all: &[Free]) -> Option<String> {
    if all.iter().any(|node| node.room(need) > 0) {
        return None;
    }
    let largest = |of: fn(&Free) -> u64| all.iter().map(of).max().unwrap_or(0);
    let (cpu, memory) = (largest(|it| it.cpu_milli), largest(|it| it.memory));
    Some(if need.cpu_milli > cpu {
        format!(
            "asks for {} a replica and the largest node has {} free",
            cores(need.cpu_milli),
            decimal(cpu)
        )
    } else if need.memory > memory {
        format!(
            "asks for {} MiB a replica and the largest node has {} MiB free",
            need.memory.div_ceil(1 << 20),
            memory >> 20
        )
    } else if largest(|it| it.pods) == 0 {
        "finds no node that takes one more pod".to_owned()
    } else {
        format!(
            "asks for {} and {} MiB a replica and no node has both free",
            cores(need.cpu_milli),
            need.memory.div_ceil(1 << 20)
        )
    })
}

/// Which replicas find no room beside the others.
fn beside(load: &Load, at: usize, placed: &Placed, left: &[Free]) -> String {
    let found: u64 = placed
        .iter()
        .filter(|(load, ..)| *load == at)
        .map(|(.., count)| count)
        .sum();
    let count = u64::from(load.replicas);
    let service = &load.service;
    let missing = count.saturating_sub(found);
    let node = left
        .iter()
        .max_by_key(|it| (it.pods > 0, it.cpu_milli, it.memory));
    let rest = match node.filter(|node| node.pods > 0) {
        Some(node) => format!(
            "the most that a node has left is {} and {} MiB",
            cores(node.cpu_milli),
            node.memory >> 20
        ),
        None => "no node takes one more pod".to_owned(),
    };
    format!("{missing} of {count} replicas of {service} find no room on a node: {rest}")
}

fn cores(milli: u64) -> String {
    let unit = if milli == 1000 { "core" } else { "cores" };
    format!("{} {unit}", decimal(milli))
}

/// Thousandths as a decimal number without needless zeros.
fn decimal(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::desired::Demand;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn node(cpu_milli: u64, memory: u64, pods: u64) -> Node {
        Node {
            cpu_milli,
            memory: memory * MIB,
            pods,
            ..Node::default()
        }
    }

    fn load(service: &str, cpu_milli: u64, memory: u64, replicas: u32) -> Load {
        Load {
            service: service.to_owned(),
            one: Demand {
                cpu_milli,
                cpu_source: DemandSource::Reservation,
                memory: memory * MIB,
                memory_source: DemandSource::Reservation,
            },
            replicas,
            surge: 0,
        }
    }

    fn told(nodes: &[Node], loads: &[Load]) -> Option<(String, bool)> {
        let found = obstacle(nodes, loads, Policy::default())?;
        Some((found.text, found.is_certain))
    }

    #[test]
    fn a_replica_that_fits_no_node_is_told_with_the_largest() {
        let nodes = [node(1900, 4000, 110), node(1500, 8000, 110)];
        let of = |load: Load| told(&nodes, &[load]);
        let certain = |text: &str| Some((text.to_owned(), true));
        assert_eq!(
            of(load("order", 3000, 1, 1)),
            certain("order asks for 3 cores a replica and the largest node has 1.9 free")
        );
        assert_eq!(
            of(load("order", 1, 9000, 1)),
            certain("order asks for 9000 MiB a replica and the largest node has 8000 MiB free")
        );
        assert_eq!(
            of(load("order", 1900, 8000, 1)),
            certain("order asks for 1.9 cores and 8000 MiB a replica and no node has both free")
        );
        assert_eq!(
            told(&[node(1900, 4000, 0)], &[load("order", 1, 1, 1)]),
            certain("order finds no node that takes one more pod")
        );
        assert_eq!(of(load("order", 3000, 1, 0)), None);
        assert_eq!(of(load("order", 1900, 4000, 1)), None);
    }

    #[test]
    fn what_is_split_over_nodes_does_not_fit_though_the_sum_does() {
        let nodes = [node(1000, 1000, 110), node(1000, 1000, 110)];
        let text = "1 of 3 replicas of order find no room on a node: \
            the most that a node has left is 0.4 cores and 900 MiB";
        let loads = [load("order", 600, 100, 3)];
        assert_eq!(told(&nodes, &loads), Some((text.to_owned(), false)));
        let full = [node(1000, 1000, 1)];
        let text = "1 of 2 replicas of order find no room on a node: no node takes one more pod";
        let loads = [load("order", 100, 100, 2)];
        assert_eq!(told(&full, &loads), Some((text.to_owned(), false)));
    }

    #[test]
    fn pods_of_others_take_their_part() {
        let mut taken = node(2000, 1000, 10);
        taken.foreign.cpu_milli = 1500;
        let found = told(&[taken.clone()], &[load("a", 600, 1, 1)]).unwrap();
        let text = "a asks for 0.6 cores a replica and the largest node has 0.5 free";
        assert_eq!(found, (text.to_owned(), true));
        taken.foreign.cpu_milli = 5000;
        taken.foreign.pods = 3;
        taken.foreign.memory = 900 * MIB;
        let left = free(&taken, Policy::default());
        assert_eq!((left.cpu_milli, left.memory, left.pods), (0, 100 * MIB, 7));
    }

    #[test]
    fn only_what_counts_counts() {
        let nodes = [node(1000, 1000, 10)];
        let mut assumed = load("a", 1500, 10, 1);
        assumed.one.cpu_source = DemandSource::Assumed;
        let of = |policy| obstacle(&nodes, &[assumed.clone()], policy).is_some();
        assert!(!of(Policy::default()));
        let strict = Policy {
            strict: true,
            ..Policy::default()
        };
        assert!(of(strict));
        assert!(!of(Policy {
            cpu_percent: 150,
            ..strict
        }));
        assert_eq!(told(&[], &[load("a", 1500, 10, 1)]), None);
    }

    #[test]
    fn another_order_is_tried_before_it_is_given_up() {
        // The one with much memory, if it came first, would take the node with the CPU.
        let nodes = [node(1000, 1000, 10), node(100, 1000, 10)];
        let loads = [load("cpu", 1000, 100, 1), load("memory", 100, 950, 1)];
        assert_eq!(told(&nodes, &loads), None);
        let mut left: Vec<Free> = nodes.iter().map(|it| free(it, Policy::default())).collect();
        let needs: Vec<Need> = loads.iter().map(|it| need(it, Policy::default())).collect();
        let (_, failed) = place(&mut left, &loads, &needs, Order::Memory);
        assert_eq!(failed, Some(0), "this order alone would not do");
    }

    fn nodes() -> impl Strategy<Value = Vec<Node>> {
        let one = (0..4000_u64, 0..4000_u64, 0..20_u64);
        proptest::collection::vec(
            one.prop_map(|(cpu, memory, pods)| node(cpu, memory, pods)),
            1..6,
        )
    }

    fn loads() -> impl Strategy<Value = Vec<Load>> {
        let one = (0..2000_u64, 0..2000_u64, 0..6_u32);
        proptest::collection::vec(
            one.prop_map(|(cpu, memory, count)| load("a", cpu, memory, count)),
            0..6,
        )
    }

    proptest! {
        #[test]
        fn nothing_is_placed_beyond_a_node(nodes in nodes(), loads in loads()) {
            let policy = Policy::default();
            let needs: Vec<Need> = loads.iter().map(|load| need(load, policy)).collect();
            for order in [Order::Share, Order::Cpu, Order::Memory] {
                let mut left: Vec<Free> = nodes.iter().map(|node| free(node, policy)).collect();
                let (placed, failed) = place(&mut left, &loads, &needs, order);
                for (number, node) in nodes.iter().enumerate() {
                    let here = placed.iter().filter(|it| it.1 == number);
                    let sum = |of: &dyn Fn(Need) -> u64| {
                        here.clone().map(|(at, _, count)| of(needs[*at]) * count).sum::<u64>()
                    };
                    prop_assert!(sum(&|it| it.cpu_milli) <= node.cpu_milli);
                    prop_assert!(sum(&|it| it.memory) <= node.memory);
                    prop_assert!(sum(&|_| 1) <= node.pods);
                }
                // And where nothing failed, all of it is somewhere.
                let count: u64 = placed.iter().map(|it| it.2).sum();
                let asked: u64 = loads.iter().map(|it| u64::from(it.replicas)).sum();
                prop_assert_eq!(failed.is_none(), count == asked);
            }
        }

        #[test]
        fn what_one_node_takes_alone_is_placed(loads in loads(), others in nodes()) {
            let sum = |of: fn(&Load) -> u64| loads.iter().map(|it| of(it) * u64::from(it.replicas)).sum::<u64>();
            let mut wide = node(sum(|it| it.one.cpu_milli), 0, sum(|_| 1));
            wide.memory = sum(|it| it.one.memory);
            prop_assert_eq!(told(&[wide.clone()], &loads), None);
            // Nodes beside it that are of no use to anybody change nothing.
            let useless = others.into_iter().map(|it| Node { pods: 0, ..it });
            let all: Vec<Node> = useless.chain([wide]).collect();
            prop_assert_eq!(told(&all, &loads), None);
        }

        #[test]
        fn certain_is_what_fits_nowhere_alone(nodes in nodes(), loads in loads()) {
            let fits = |load: &Load| {
                let takes = |it: &Node| it.cpu_milli >= load.one.cpu_milli
                    && it.memory >= load.one.memory && it.pods > 0;
                load.replicas == 0 || nodes.iter().any(takes)
            };
            let certain = told(&nodes, &loads).is_some_and(|it| it.1);
            prop_assert_eq!(certain, !loads.iter().all(fits));
        }

        #[test]
        fn no_figures_are_too_large(cpu: u64, memory: u64, replicas: u32, percent: u32, pods: u64) {
            let mut load = load("a", cpu, 0, replicas);
            load.one.memory = memory;
            let mut node = node(u64::MAX, 0, pods);
            node.memory = u64::MAX;
            let policy = Policy { strict: true, cpu_percent: percent };
            let _ = obstacle(&[node.clone(), node], &[load], policy);
        }
    }
}
