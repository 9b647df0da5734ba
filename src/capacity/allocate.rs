//! What a replica gets: weights from its demand, limits only from the file.
//!
//! CPU weight and memory reservation tell the kernel who comes first when it gets
//! tight. A hard limit that the file does not declare is never set.

use crate::state::desired::Class;
use crate::state::desired::DemandSource;
use crate::state::desired::ServiceSpec;
use crate::state::spec::ContainerSpec;

use super::demand;

/// Smallest CPU weight of the engine.
const SHARES_MIN: u64 = 2;
/// Largest CPU weight of the engine.
const SHARES_MAX: u64 = 262_144;

/// Smallest memory reservation of the engine; a smaller demand still counts as
/// declared, it is only the kernel's hint that is rounded up.
const RESERVATION_MIN: i64 = 6 << 20;

/// The service's container with weights and reservations filled in. What the
/// file sets itself stays.
pub fn container(service: &ServiceSpec) -> ContainerSpec {
    let mut spec = service.container.clone();
    let demand = demand::of_one(&service.demand);
    spec.live.cpu_shares = spec.live.cpu_shares.or(Some(cpu_shares(demand.cpu_milli)));
    if demand.memory_source == DemandSource::Reservation {
        spec.live.memory_reservation = spec
            .live
            .memory_reservation
            .or_else(|| i64::try_from(demand.memory).ok());
    }
    spec.live.memory_reservation = spec
        .live
        .memory_reservation
        .map(|bytes| bytes.max(RESERVATION_MIN));
    spec.oom_score_adj = spec.oom_score_adj.or(oom_score_adj(service.class));
    spec
}

/// CPU weight of a demand: 1024 for a whole core.
pub fn cpu_shares(milli: u64) -> i64 {
    let shares = (milli.saturating_mul(1024) / 1000).clamp(SHARES_MIN, SHARES_MAX);
    i64::try_from(shares).unwrap_or(i64::MAX)
}

/// Who the kernel kills first when memory runs out, by class alone: the engine
/// cannot change it on a running container, so it must not follow the figures.
fn oom_score_adj(class: Class) -> Option<i64> {
    match class {
        Class::Latency => None,
        Class::Batch => Some(500),
        Class::Stateful => Some(-500),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::desired::Demand;

    #[test]
    fn shares_stay_within_what_the_engine_takes() {
        assert_eq!(cpu_shares(0), 2);
        assert_eq!(cpu_shares(1), 2);
        assert_eq!(cpu_shares(250), 256);
        assert_eq!(cpu_shares(1000), 1024);
        assert_eq!(cpu_shares(u64::MAX), 262_144);
    }

    #[test]
    fn limits_come_from_the_file_alone() {
        let mut service = ServiceSpec {
            demand: Demand {
                cpu_milli: 500,
                cpu_source: DemandSource::Limit,
                memory: 1 << 20,
                memory_source: DemandSource::Limit,
            },
            ..ServiceSpec::default()
        };
        let live = container(&service).live;
        assert_eq!(live.cpu_shares, Some(512));
        assert_eq!((live.memory, live.nano_cpus, live.pids), (None, None, None));
        assert_eq!(live.memory_reservation, None);
        service.demand.memory_source = DemandSource::Reservation;
        assert_eq!(container(&service).live.memory_reservation, Some(1 << 20));
        service.container.live.cpu_shares = Some(7);
        assert_eq!(container(&service).live.cpu_shares, Some(7));
    }

    #[test]
    fn the_class_alone_decides_who_is_killed_first() {
        let of = |class| {
            let service = ServiceSpec {
                class,
                ..ServiceSpec::default()
            };
            container(&service).oom_score_adj.unwrap_or(0)
        };
        assert!(of(Class::Batch) > of(Class::Latency));
        assert!(of(Class::Latency) > of(Class::Stateful));
    }
}
