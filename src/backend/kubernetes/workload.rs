//! The replicas of a service as a workload that the cluster keeps up and rolls.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::apps::v1::DeploymentSpec;
use k8s_openapi::api::apps::v1::DeploymentStrategy;
use k8s_openapi::api::apps::v1::RollingUpdateDeployment;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::apps::v1::StatefulSetSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Making;
use super::names;
use super::names::dns;
use super::scaling;
use super::storage;
use crate::state::desired::Class;
use crate::state::desired::RolloutOrder;
use crate::state::desired::ServiceSpec;
use crate::state::spec::Mount;
use crate::state::spec::MountSource;

/// So many old revisions a cluster keeps.
const HISTORY: i32 = 5;
/// A rollout that gets no further for so long has failed, at least.
const PROGRESS_SECONDS: u64 = 60;

impl Making<'_> {
    /// The workload, and how much of it may be taken away at a time.
    pub(super) fn workload(&mut self, service: &ServiceSpec) {
        // One pod at a time may have its volumes: the file says so, or their claims do.
        let claimed = |mount: &Mount| match &mount.source {
            MountSource::Volume { key, .. } => storage::pods_of(self.desired, key) == 1,
            _ => false,
        };
        let alone =
            !service.exclusive_volumes.is_empty() || service.container.mounts.iter().any(claimed);
        let several = scaling::most(service) > 1;
        let kind = if service.class == Class::Stateful || (alone && several) {
            self.stateful(service);
            "StatefulSet"
        } else {
            self.deployment(service, alone);
            "Deployment"
        };
        self.stages(service, kind, alone);
        self.scaling(service, kind);
        if kind == "StatefulSet" || !alone {
            self.budget(service);
        }
    }

    fn deployment(&mut self, service: &ServiceSpec, alone: bool) {
        let template = self.pods(service);
        let deadline = service.ready.deadline_ms().unwrap_or_default();
        let deadline = deadline.div_ceil(1000) + service.rollout.monitor_ms.div_ceil(1000);
        let spec = DeploymentSpec {
            replicas: self.count(service),
            selector: names::matching(names::selector(self.desired, service)),
            strategy: Some(strategy(service, alone)),
            min_ready_seconds: watched(service),
            progress_deadline_seconds: i32::try_from(deadline + PROGRESS_SECONDS).ok(),
            revision_history_limit: Some(HISTORY),
            template,
            ..DeploymentSpec::default()
        };
        self.add(&Deployment {
            metadata: self.meta(service),
            spec,
            ..Deployment::default()
        });
    }

    fn stateful(&mut self, service: &ServiceSpec) {
        let template = self.pods(service);
        let spec = StatefulSetSpec {
            replicas: self.count(service),
            selector: names::matching(names::selector(self.desired, service)),
            service_name: Some(dns(&service.name)),
            pod_management_policy: Some("Parallel".to_owned()),
            min_ready_seconds: watched(service),
            revision_history_limit: Some(HISTORY),
            template,
            ..StatefulSetSpec::default()
        };
        self.add(&StatefulSet {
            metadata: self.meta(service),
            spec,
            ..StatefulSet::default()
        });
    }
}

/// New before old, or old before new, so many at a time.
fn strategy(service: &ServiceSpec, alone: bool) -> DeploymentStrategy {
    let rollout = &service.rollout;
    if alone || (rollout.order == RolloutOrder::StopFirst && service.replicas <= 1) {
        return DeploymentStrategy {
            type_: Some("Recreate".to_owned()),
            ..DeploymentStrategy::default()
        };
    }
    let batch = match rollout.parallelism {
        // However many there are when it is replaced.
        0 => IntOrString::String("100%".to_owned()),
        some => IntOrString::Int(i32::try_from(some).unwrap_or(i32::MAX)),
    };
    let (surge, unavailable) = match rollout.order {
        RolloutOrder::StartFirst => (Some(batch), Some(IntOrString::Int(0))),
        RolloutOrder::StopFirst => (Some(IntOrString::Int(0)), Some(batch)),
    };
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: surge,
            max_unavailable: unavailable,
        }),
    }
}

/// How long a replica must have been ready to count.
fn watched(service: &ServiceSpec) -> Option<i32> {
    let seconds = service.rollout.monitor_ms.div_ceil(1000);
    i32::try_from(seconds).ok().filter(|seconds| *seconds > 0)
}
