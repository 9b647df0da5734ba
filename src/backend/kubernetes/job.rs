//! A service that ends by itself, as a job.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::batch::v1::JobSpec;

use super::Making;
use super::names;
use super::names::dns;
use super::support::Finding;
use crate::state::desired::ServiceSpec;
use crate::state::digest;
use crate::state::spec::Restart;

impl Making<'_> {
    /// A job of this revision: a cluster changes none, so another revision is another job.
    pub(super) fn job(&mut self, service: &ServiceSpec) {
        if service.autoscale.is_some() {
            let text = "what ends by itself has no count to keep; it is left out";
            let note = Finding::note(&service.name, "x-shop.autoscale", text);
            self.findings.push(note);
        }
        let mut template = self.pods(service);
        let (policy, retries) = match service.container.live.restart {
            Restart::OnFailure(count) => {
                ("OnFailure", i32::try_from(count).ok().filter(|it| *it > 0))
            }
            _ => ("Never", Some(0)),
        };
        if let Some(pod) = &mut template.spec {
            pod.restart_policy = Some(policy.to_owned());
        }
        let deadline = service.ready.deadline_ms().map(|ms| ms.div_ceil(1000));
        let spec = JobSpec {
            backoff_limit: retries,
            active_deadline_seconds: deadline.and_then(|seconds| i64::try_from(seconds).ok()),
            completions: i32::try_from(service.replicas).ok(),
            parallelism: i32::try_from(service.replicas).ok(),
            template,
            ..JobSpec::default()
        };
        // Whatever of it changes, it is another job.
        let mut named = spec.clone();
        named.template.spec = named.template.spec.as_ref().map(|pod| self.unpinned(pod));
        let name = dns(&format!("{}-{}", service.name, &digest::of(&named)[..8]));
        self.add(&Job {
            metadata: names::meta(
                self.desired,
                &name,
                names::of_service(self.desired, service),
            ),
            spec: Some(spec),
            ..Job::default()
        });
    }
}
