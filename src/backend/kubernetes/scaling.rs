//! Counts that follow the load and the clock, and how pods are spread and kept.

use k8s_openapi::api::autoscaling::v2::ContainerResourceMetricSource;
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerSpec;
use k8s_openapi::api::autoscaling::v2::MetricSpec;
use k8s_openapi::api::autoscaling::v2::MetricTarget;
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;
use serde_json::json;

use super::Making;
use super::apis;
use super::names;
use super::names::dns;
use super::support::Finding;
use crate::state::desired::DemandSource;
use crate::state::desired::DesiredState;
use crate::state::desired::ServiceSpec;
use crate::state::scaling::Autoscale;
use crate::state::scaling::Moment;

/// CPU use to aim at where the file names none: what is common, and leaves room until new
/// replicas have come up.
const CPU_PERCENT: u32 = 70;
const KEY: &str = "x-shop.autoscale";

/// Most replicas that a service may have without anybody's doing.
pub(super) fn most(service: &ServiceSpec) -> u32 {
    let bounds = service.autoscale.as_ref().and_then(Autoscale::bounds);
    match bounds {
        Some((_, max)) if !service.one_off => max.max(service.replicas),
        _ => service.replicas,
    }
}

/// Replicas on different nodes where there are several nodes.
pub(super) fn spread(desired: &DesiredState, service: &ServiceSpec) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(names::matching(names::selector(desired, service))),
        ..TopologySpreadConstraint::default()
    }
}

impl Making<'_> {
    /// The count that a workload is made with: none where something else keeps it.
    pub(super) fn count(&self, service: &ServiceSpec) -> Option<i32> {
        if self.bounds(service).is_some() {
            return None;
        }
        i32::try_from(service.replicas).ok()
    }

    /// Fewest and most replicas, where the cluster can keep the count between them.
    fn bounds(&self, service: &ServiceSpec) -> Option<(u32, u32)> {
        let apis = &self.how.apis;
        let served = apis.has(apis::KEDA) || apis.has(apis::AUTOSCALING);
        let (min, max) = service.autoscale.as_ref()?.bounds()?;
        // Neither can wake what has no replica by its CPU.
        served.then_some((min.max(1), max.max(1)))
    }

    /// One replica at a time may be taken away by whoever empties a node. It is asked for
    /// whatever the count: that may change without this object.
    pub(super) fn budget(&mut self, service: &ServiceSpec) {
        if !self.how.apis.has(apis::POLICY) {
            let text = "this cluster is too old to keep replicas when a node is emptied";
            let note = Finding::note(&service.name, "deploy.replicas", text);
            self.findings.push(note);
            return;
        }
        self.add(&PodDisruptionBudget {
            metadata: self.meta(service),
            spec: Some(PodDisruptionBudgetSpec {
                max_unavailable: Some(IntOrString::Int(1)),
                selector: Some(names::matching(names::selector(self.desired, service))),
                ..PodDisruptionBudgetSpec::default()
            }),
            ..PodDisruptionBudget::default()
        });
    }

    /// Who keeps the count of a workload of this kind.
    pub(super) fn scaling(&mut self, service: &ServiceSpec, kind: &'static str) {
        let Some(scale) = &service.autoscale else {
            return;
        };
        let bounds = self.bounds(service);
        let keda = self.how.apis.has(apis::KEDA);
        for text in said(service, scale, bounds.is_some(), keda) {
            let note = Finding::note(&service.name, KEY, text);
            self.findings.push(note);
        }
        let Some((min, max)) = bounds else {
            return;
        };
        // Always the same kind where both are: neither lets the other have its workload.
        if keda {
            self.scaled_object(service, scale, kind, (min, max));
            return;
        }
        let autoscaler = HorizontalPodAutoscaler {
            metadata: self.meta(service),
            spec: HorizontalPodAutoscalerSpec {
                scale_target_ref: CrossVersionObjectReference {
                    api_version: Some("apps/v1".to_owned()),
                    kind: kind.to_owned(),
                    name: dns(&service.name),
                },
                min_replicas: i32::try_from(min).ok(),
                max_replicas: i32::try_from(max).unwrap_or(i32::MAX),
                metrics: Some(vec![metric(service, percent(scale))]),
                ..HorizontalPodAutoscalerSpec::default()
            },
            ..HorizontalPodAutoscaler::default()
        };
        self.add(&autoscaler);
    }

    fn scaled_object(
        &mut self,
        service: &ServiceSpec,
        scale: &Autoscale,
        kind: &'static str,
        (min, max): (u32, u32),
    ) {
        let name = dns(&service.name);
        let mut triggers = vec![json!({
            "type": "cpu",
            "metricType": "Utilization",
            "metadata": { "value": percent(scale).to_string(), "containerName": name },
        })];
        for peak in &scale.peaks {
            let Some((start, end)) = peak.span() else {
                let text = format!("{} is no moment: write 2026-11-11T00:00+08:00", peak.at);
                let finding = Finding::refused(&service.name, KEY, text);
                self.findings.push(finding);
                continue;
            };
            triggers.push(json!({
                "type": "cron",
                "metadata": {
                    "timezone": "Etc/UTC",
                    "start": cron(start),
                    "end": cron(end),
                    "desiredReplicas": peak.replicas.to_string(),
                },
            }));
        }
        let mut metadata = self.meta(service);
        // Where an autoscaler of ours was before, its workload is handed over.
        let handed = "scaledobject.keda.sh/transfer-hpa-ownership";
        metadata.annotations = Some([(handed.to_owned(), "true".to_owned())].into());
        let object: Value = json!({
            "apiVersion": apis::KEDA,
            "kind": "ScaledObject",
            "metadata": metadata,
            "spec": {
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": kind, "name": name },
                "minReplicaCount": min,
                "maxReplicaCount": max,
                "advanced": { "horizontalPodAutoscalerConfig": { "name": name } },
                "triggers": triggers,
            },
        });
        self.objects.push(object);
    }
}

/// What of the key means less there, or nothing.
fn said(service: &ServiceSpec, scale: &Autoscale, acts: bool, keda: bool) -> Vec<String> {
    let mut all = Vec::new();
    if scale.bounds().is_none() {
        all.push("names no max, so the count stays as it is".to_owned());
    } else if !acts {
        all.push("this cluster is too old for it, so the count stays as it is".to_owned());
    } else {
        let percent = percent(scale);
        if scale.rps_per_replica.is_some() {
            all.push(format!(
                "requests are counted by no cluster of itself: the count follows the CPU, {percent}% of what a replica asks for"
            ));
        }
        if service.demand.cpu_source == DemandSource::Assumed {
            all.push(format!(
                "the file does not say what CPU a replica asks for, so {percent}% of an assumption is aimed at: set deploy.resources.reservations.cpus"
            ));
        }
        if scale.min == 0 {
            all.push("without a replica there is no load to see, so one stays".to_owned());
        }
    }
    match (scale.peaks.is_empty(), keda) {
        (true, _) => {}
        (false, true) => all.push(
            "schedules come back each year on their day, until they leave the file".to_owned(),
        ),
        (false, false) => all.push(
            "schedules need KEDA in the cluster, and do nothing without: shopctl render --has keda"
                .to_owned(),
        ),
    }
    all
}

fn percent(scale: &Autoscale) -> u32 {
    scale.cpu_percent.unwrap_or(CPU_PERCENT)
}

/// CPU of the service's own container: another one in its pod, a mesh's, is none of its load.
fn metric(service: &ServiceSpec, percent: u32) -> MetricSpec {
    MetricSpec {
        type_: "ContainerResource".to_owned(),
        container_resource: Some(ContainerResourceMetricSource {
            container: dns(&service.name),
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: i32::try_from(percent).ok(),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

fn cron(it: Moment) -> String {
    format!("{} {} {} {} *", it.minute, it.hour, it.day, it.month)
}
