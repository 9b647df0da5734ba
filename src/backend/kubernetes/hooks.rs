//! Hooks, as jobs. They are no part of what a stack is: a plan makes one when it is due, and
//! takes it away when it has ended.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::batch::v1::JobSpec;

use super::Making;
use super::names;
use super::names::dns;
use crate::state::cluster::Manifest;
use crate::state::cluster::ObjectRef;
use crate::state::cluster::Task;
use crate::state::desired::ServiceSpec;
use crate::state::digest;
use crate::state::hooks::Hook;
use crate::state::hooks::Hooks;
use crate::state::hooks::Moment;
use crate::state::task;

const MOMENTS: [Moment; 3] = [Moment::PreDeploy, Moment::PostDeploy, Moment::OnRollback];

impl Making<'_> {
    /// All hooks of the stack.
    pub(super) fn hooks(&mut self) -> Vec<Task> {
        let desired = self.desired;
        let mut tasks = Vec::new();
        for service in desired.services.values() {
            self.hooks_of(&service.name, service, &service.hooks, &mut tasks);
        }
        let own = desired.hooks.as_ref();
        if let Some(own) = own
            && let Some(service) = desired.services.get(&own.service)
        {
            self.hooks_of("", service, &own.hooks, &mut tasks);
        }
        tasks
    }

    fn hooks_of(
        &mut self,
        owner: &str,
        service: &ServiceSpec,
        hooks: &Hooks,
        tasks: &mut Vec<Task>,
    ) {
        for moment in MOMENTS {
            let Some(hook) = hooks.at(moment) else {
                continue;
            };
            // What its pods lack was said of the service.
            let said = self.findings.len();
            let object = self.hook(owner, service, moment, hook);
            self.findings.truncate(said);
            // Typed objects have string keys alone, so serialising cannot fail.
            let manifest = serde_json::to_value(object).unwrap_or_default();
            tasks.push(Task {
                owner: owner.to_owned(),
                service: service.name.clone(),
                moment,
                timeout_ms: hook.timeout_ms,
                object: ObjectRef::of(&manifest),
                manifest: Manifest(manifest),
                digest: String::new(),
            });
        }
    }

    /// A job that runs the command once.
    fn hook(&mut self, owner: &str, service: &ServiceSpec, moment: Moment, hook: &Hook) -> Job {
        let mut once = service.clone();
        once.container = task::one_off(&service.container);
        // The command names its program, so the image's entrypoint takes no part.
        once.container.entrypoint = Some(hook.command.clone());
        once.container.command = None;
        once.container.environment.extend(hook.environment.clone());
        let seconds = i64::try_from(hook.timeout_ms.div_ceil(1000)).unwrap_or(i64::MAX);
        let spec = JobSpec {
            backoff_limit: Some(0),
            active_deadline_seconds: Some(seconds.max(1)),
            template: self.pod_alone(once),
            ..JobSpec::default()
        };
        let whose = if owner.is_empty() { "stack" } else { owner };
        let name = format!("{whose}-{}-{}", moment.key(), &digest::of(&spec)[..8]);
        let mut labels = names::of_stack(self.desired);
        labels.insert(names::TASK.to_owned(), dns(moment.key()));
        Job {
            metadata: names::meta(self.desired, &dns(&name), labels),
            spec: Some(spec),
            ..Job::default()
        }
    }
}
