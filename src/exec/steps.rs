//! One step: its action at the module it belongs to, then its gate.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::broadcast;
use tokio::sync::mpsc;

use super::Emitter;
use super::Job;
use super::StepError;
use super::gates::Gatekeeper;
use super::lifecycle;
use super::rolled;
use super::task;
use super::verdict::Watch;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::Change;
use crate::event::EventKind;
use crate::gateway::Fleet;
use crate::gateway::GatewayError;
use crate::plan;
use crate::plan::action::Action;
use crate::plan::action::Gate;
use crate::plan::action::InstanceSpec;
use crate::plan::action::Step;
use crate::plan::action::StepId;
use crate::release;
use crate::state::desired::ReadyGate;
use crate::state::observed::Role;

/// Mutating engine calls in flight at a time; the engine gains little beyond.
const CALLS: usize = 8;
/// Creations among them: fewer, so that a container starts while the next are made,
/// and is not left waiting behind all of them.
const CREATIONS: usize = 2;
/// Stops in flight: each mostly waits for a container to end by itself, or for the pods of
/// a workload.
const STOPS: usize = 32;
/// A gate that takes longer says what it waits for.
const TELL_AFTER: Duration = Duration::from_millis(250);
/// Hooks that run at a time: each may need what a replica needs.
const TASKS: usize = 4;
/// Image builds and pulls in flight.
const IMAGES: usize = 4;

/// What all steps of one run share.
pub(super) struct Runner<'a, B> {
    pub(super) backend: &'a B,
    pub(super) job: &'a Job<'a>,
    pub(super) fleet: Fleet<'a, B>,
    pub(super) emitter: &'a Emitter,
    pub(super) changes: broadcast::Sender<Change>,
    acted: mpsc::UnboundedSender<StepId>,
    calls: Semaphore,
    creations: Semaphore,
    stops: Semaphore,
    images: Semaphore,
    tasks: Semaphore,
    /// Networks and gateways that would not change; see [`Learned`](crate::plan::Learned).
    stuck: Mutex<BTreeSet<String>>,
    /// Replicas of each service that failed.
    losses: Mutex<BTreeMap<String, u32>>,
}

impl<'a, B: Backend> Runner<'a, B> {
    pub(super) fn new(
        backend: &'a B,
        job: &'a Job<'a>,
        emitter: &'a Emitter,
        changes: broadcast::Sender<Change>,
        acted: mpsc::UnboundedSender<StepId>,
    ) -> Self {
        Self {
            backend,
            job,
            fleet: Fleet::new(backend, job.context, job.fence, job.observed),
            emitter,
            changes,
            acted,
            calls: Semaphore::new(CALLS),
            creations: Semaphore::new(CREATIONS),
            stops: Semaphore::new(STOPS),
            images: Semaphore::new(IMAGES),
            tasks: Semaphore::new(TASKS),
            stuck: Mutex::default(),
            losses: Mutex::default(),
        }
    }

    /// One more replica of a service has failed; how many have.
    pub(super) fn count_loss(&self, service: &str) -> u32 {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = losses.entry(service.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// What would not change, and is left as it is.
    pub(super) fn into_stuck(self) -> BTreeSet<String> {
        self.stuck
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that is not the lock's own is taken before it is used: two holders that
    /// read the same routes would take the same.
    pub(super) async fn claim(&self) -> Result<(), StepError> {
        let store = self.job.observed.store.as_ref();
        let routes = store.and_then(|store| store.routes.as_ref());
        let known = routes.is_some_and(|routes| routes.lock == self.job.fence);
        if self.job.fence > self.job.lock.id() && !known {
            self.job.lock.confirm().await?;
            self.fleet.claim().await?;
        }
        Ok(())
    }

    /// Ends the connections; the prober goes too, unless it may be another run's by now.
    pub(super) async fn close(&self) {
        let ours = self.job.lock.confirm().await.is_ok();
        self.fleet.close(ours).await;
    }

    /// Does the step and waits for its gate.
    pub(super) async fn perform(&self, step: &Step) -> Result<(), StepError> {
        let mut halt = self.job.stop.clone();
        if step.delay_ms > 0 {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(step.delay_ms)) => {}
                _ = halt.wait_for(|halt| *halt) => return Err(StepError::Stopped { container: String::new() }),
            }
        }
        if let Action::RunTask { task } = &step.action {
            let _turn = self.tasks.acquire().await;
            return task::run(self, step, task).await;
        }
        if let Gate::Ready {
            networks,
            ready: ReadyGate::Probe { .. },
            ..
        } = &step.gate
        {
            self.fleet.ready_to_probe(networks).await?;
        }
        let changes = self.changes.subscribe();
        if let Action::StopContainer { container, .. } | Action::RestartContainer { container } =
            &step.action
        {
            self.job.lock.confirm().await?;
            lifecycle::stopping(self, step, container).await;
        }
        self.act(step).await?;
        if let Action::StartContainer { container } | Action::RestartContainer { container } =
            &step.action
        {
            lifecycle::started(self, step, container).await?;
        }
        // The dispatcher lives as long as its steps, so this cannot fail.
        let _ = self.acted.send(step.id);
        if let Gate::Verdict { .. } = &step.gate {
            return self.watch(step, changes).await;
        }
        if let Gate::RolledOut {
            object,
            deadline_ms,
            watch_ms,
        } = &step.gate
        {
            let limit = Duration::from_millis(*deadline_ms);
            let watch = Duration::from_millis(*watch_ms);
            return rolled::wait(self, step, object, limit, watch).await;
        }
        let Gate::Ready {
            container,
            alias,
            networks,
            ready,
            monitor_ms,
        } = &step.gate
        else {
            return Ok(());
        };
        let gatekeeper = Gatekeeper {
            backend: self.backend,
            fleet: &self.fleet,
            container,
            alias,
            networks,
        };
        let monitor = Duration::from_millis(*monitor_ms);
        let telling = async {
            tokio::time::sleep(TELL_AFTER).await;
            if let Some(text) = waits_for(ready, monitor) {
                self.emitter.emit(EventKind::StepProgress {
                    step: step.id,
                    service: step.service.clone(),
                    text,
                });
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            opened = gatekeeper.wait(ready, monitor, changes) => opened,
            () = telling => Ok(()),
            _ = halt.wait_for(|halt| *halt) => Err(StepError::Stopped { container: container.clone() }),
        }
    }

    /// Watches a stage of a rollout until its verdict, and tells it.
    async fn watch(
        &self,
        step: &Step,
        changes: broadcast::Receiver<Change>,
    ) -> Result<(), StepError> {
        let Gate::Verdict {
            service,
            group,
            containers,
            pause_ms,
            judge,
        } = &step.gate
        else {
            return Ok(());
        };
        let tell = |text| {
            self.emitter.emit(EventKind::StepProgress {
                step: step.id,
                service: step.service.clone(),
                text,
            });
        };
        let pause = Duration::from_millis(*pause_ms);
        let seconds = pause.as_secs_f64();
        tell(format!("watching revision {group} for {seconds} s"));
        let watch = Watch {
            fleet: &self.fleet,
            service,
            group,
            containers,
            judge,
        };
        let mut halt = self.job.stop.clone();
        let seen = tokio::select! {
            seen = watch.wait(pause, changes) => seen?,
            _ = halt.wait_for(|halt| *halt) => {
                return Err(StepError::Stopped { container: containers.join(", ") });
            }
        };
        tell(seen);
        Ok(())
    }

    /// The container with the image that this run has pulled for it: its reference may
    /// mean another by now.
    pub(super) fn settled(&self, instance: &InstanceSpec) -> InstanceSpec {
        let mut instance = instance.clone();
        if instance.image_id.is_none() {
            instance.image_id = self.job.pins.id_of(&instance.spec.image);
        }
        instance
    }

    async fn act(&self, step: &Step) -> Result<(), StepError> {
        let _turn = match &step.action {
            Action::CreateInstance { .. } => Some(self.creations.acquire().await),
            _ => None,
        };
        let _permit = match &step.action {
            Action::BuildImage { .. } | Action::PullImage { .. } => self.images.acquire().await,
            Action::StopContainer { .. }
            | Action::RemoveTarget { .. }
            | Action::DeleteObject { .. } => self.stops.acquire().await,
            _ => self.calls.acquire().await,
        };
        self.job.lock.confirm().await?;
        let stack = self.job.context.stack.as_str();
        match &step.action {
            Action::BuildImage { service, .. } => {
                let build = |lines| self.job.builds.build(service, lines);
                self.with_progress(step, build).await.map(drop)?;
            }
            Action::PullImage {
                reference,
                platform,
            } => {
                let pull = |lines| self.backend.pull(reference, platform.as_deref(), lines);
                let info = self.with_progress(step, pull).await?;
                self.job.pins.pulled(reference, info);
            }
            Action::CreateInstance { instance } => {
                let instance = self.settled(instance);
                let action = Action::CreateInstance { instance };
                self.backend.apply(self.job.context, &action).await?;
            }
            Action::SetListeners { listeners } => self.fleet.set_listeners(listeners).await?,
            Action::AddTarget {
                service,
                alias,
                group,
                check,
            } => {
                let check = check.as_ref();
                self.fleet.add_target(service, alias, group, check).await?;
            }
            Action::SetSplit { service, split, .. } => {
                self.fleet.set_split(service, split.as_ref()).await?;
            }
            Action::RemoveTarget {
                service,
                alias,
                drain_ms,
            } => {
                let left = self
                    .fleet
                    .remove_target(service, alias, Duration::from_millis(*drain_ms))
                    .await?;
                if left > 0 {
                    let message = format!(
                        "{left} requests of {alias} ({service}) were still in flight after the drain deadline"
                    );
                    self.emitter.emit(EventKind::Warning { message });
                }
            }
            Action::UpgradeGateway {
                container,
                program,
                drain_ms,
            } => self.upgrade(container, program, *drain_ms).await?,
            Action::RecordScale { overrides } => {
                release::record_scale(self.backend, stack, overrides).await?;
            }
            Action::CreateHelper {
                name,
                role: Role::Gateway,
                networks,
                ..
            } => {
                self.backend.apply(self.job.context, &step.action).await?;
                self.fleet.joined(name, networks).await;
            }
            Action::RemoveContainer { container } | Action::StopContainer { container, .. } => {
                self.fleet.left(container).await;
                self.backend.apply(self.job.context, &step.action).await?;
            }
            Action::ConnectNetwork {
                container, network, ..
            } => {
                self.backend.apply(self.job.context, &step.action).await?;
                self.fleet.attached(container, network).await;
            }
            Action::DisconnectNetwork { container, network } => {
                self.fleet.detached(container, network).await;
                self.backend.apply(self.job.context, &step.action).await?;
            }
            Action::RemoveNetwork { name } => self.remove_network(step, name).await?,
            action => self.backend.apply(self.job.context, action).await?,
        }
        Ok(())
    }

    /// A gateway that cannot run another data plane goes on with the one that it has.
    async fn upgrade(
        &self,
        container: &str,
        program: &str,
        drain_ms: u64,
    ) -> Result<(), GatewayError> {
        let drain = Duration::from_millis(drain_ms);
        let message = match self.fleet.upgrade(container, program, drain).await {
            Ok(0) => return Ok(()),
            Ok(cut) => format!(
                "{cut} requests of {container} were still in flight after the drain deadline"
            ),
            Err(error) if error.is_absence() => return Err(error),
            Err(error) => {
                self.leave_stuck(container);
                let why = super::dispatch::chain(&error.into());
                format!("{} ({why})", plan::refused(container))
            }
        };
        self.emitter.emit(EventKind::Warning { message });
        Ok(())
    }

    fn leave_stuck(&self, name: &str) {
        let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        stuck.insert(name.to_owned());
    }

    /// One that the engine will not let go can be used again, so a stack is none the
    /// worse for it.
    async fn remove_network(&self, step: &Step, name: &str) -> Result<(), BackendError> {
        let removed = self.backend.apply(self.job.context, &step.action).await;
        let Err(error @ BackendError::StuckNetwork { .. }) = removed else {
            return removed;
        };
        let message = error.to_string();
        self.emitter.emit(EventKind::Warning { message });
        self.leave_stuck(name);
        Ok(())
    }

    /// Runs work that reports lines, and passes each on as an event.
    async fn with_progress<T, F>(
        &self,
        step: &Step,
        work: impl FnOnce(mpsc::Sender<String>) -> F,
    ) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        let (sender, mut lines) = mpsc::channel::<String>(256);
        let forward = async {
            while let Some(line) = lines.recv().await {
                self.emitter.emit(EventKind::StepProgress {
                    step: step.id,
                    service: step.service.clone(),
                    text: self.job.secrets.redact(&line),
                });
            }
        };
        let (result, ()) = tokio::join!(work(sender), forward);
        result
    }
}

/// What a gate waits for, in words; nothing where it only looks once.
fn waits_for(ready: &ReadyGate, monitor: Duration) -> Option<String> {
    let what = match ready {
        ReadyGate::Running => return None,
        ReadyGate::Probe {
            port,
            http: Some(path),
            ..
        } => format!("GET {path} on port {port} to answer 2xx"),
        ReadyGate::Probe { port, .. } => format!("port {port} to accept connections"),
        ReadyGate::Healthy { .. } => "its health check".to_owned(),
        ReadyGate::Completed { .. } => "it to end with 0".to_owned(),
    };
    Some(if monitor.is_zero() {
        format!("waiting for {what}")
    } else {
        let seconds = monitor.as_secs_f64();
        format!("waiting for {what}, then {seconds} s without a failure")
    })
}
