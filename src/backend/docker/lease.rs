//! The lock of a stack: a container whose name only one can take, alive for as long
//! as its standard input is held open. The engine removes it when its holder dies;
//! it ends by itself when the holder falls silent.
//!
//! It is taken as soon as its container is made: the name is what only one can have.
//! Its process starts while the run goes on, since that takes the engine longer than
//! all else before the first step; a run outlives no lock that did not start.
//!
//! It carries no labels of Docker Compose, so it is no part of the project.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use bollard::models::ContainerCreateBody;
use bollard::models::ContainerInspectResponse;
use bollard::models::HostConfig;
use bollard::query_parameters::CreateContainerOptionsBuilder;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Docker;
use super::apply::helpers::hardened;
use super::fault;
use super::frames::StdoutOnly;
use super::instance;
use super::raw::Hijacked;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Holder;
use crate::backend::Lease;
use crate::backend::Lock;
use crate::backend::Pending;
use crate::backend::clock::now;
use crate::state::names;
use crate::state::observed::InstanceState;

/// An engine from which nothing comes back for so long is not there: no step of taking or
/// freeing a lock waits for longer.
const LIMIT: Duration = Duration::from_secs(30);
const BEAT: Duration = Duration::from_secs(1);
/// The lock's process gives up after 15 s of silence; we count it as lost before, from
/// what it is known to have heard.
const SILENCE: Duration = Duration::from_secs(12);
/// A lock that was made and never held is left over after this time.
const STALE: Duration = Duration::from_secs(10);
/// A lock that comes from the future by more than this tells of a clock that was set back.
const SKEW: Duration = Duration::from_secs(1);
/// A lock that is still being started counts as ours for so long: well before others
/// may take it for left over. Who changes something later waits for the start.
const STARTING: Duration = Duration::from_secs(5);
/// How long a lock that is being removed may take.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

const WHO: &str = "dev.shopctl.lock.who";
const HOST: &str = "dev.shopctl.lock.host";
const SINCE: &str = "dev.shopctl.lock.since";

impl Lease for Docker {
    fn acquire<'a>(
        &'a self,
        context: &'a Context,
        holder: &'a Holder,
    ) -> Pending<'a, Box<dyn Lock>> {
        Box::pin(async move {
            let taken = timeout(LIMIT, self.take(context, holder)).await;
            let lock = taken.map_err(|_| self.late("take", "the lock"))??;
            Ok(Box::new(lock) as Box<dyn Lock>)
        })
    }

    fn freed<'a>(&'a self, stack: &'a str) -> Pending<'a, ()> {
        Box::pin(async move { self.wait_removed(&names::lock(stack)).await })
    }
}

impl Docker {
    async fn take(
        &self,
        context: &Context,
        holder: &Holder,
    ) -> Result<ContainerLock, BackendError> {
        let name = names::lock(&context.stack);
        let subject = format!("container {name}");
        for _ in 0..TRIES {
            let begun = now();
            let options = CreateContainerOptionsBuilder::new().name(&name).build();
            match self
                .api()
                .create_container(Some(options), lock_body(context, holder))
                .await
            {
                Ok(made) => return self.hold(name, made.id, begun).await,
                Err(error) if fault::status(&error) == Some(409) => {}
                Err(error) => return Err(self.fault("create", &subject, error)),
            }
            let Some(found) = self.inspect(&name).await? else {
                continue;
            };
            let id = found.id.clone().unwrap_or_default();
            let state = instance::state(&found.state.clone().unwrap_or_default());
            let theirs = holder_of(&found);
            match state {
                // Our own, after a lost reply; made who knows when.
                InstanceState::Created if theirs.run == holder.run => {
                    return self.hold(name, id, Duration::ZERO).await;
                }
                InstanceState::Created if self.is_left_over(&id, &found).await? => {
                    self.remove_container(&id).await?;
                }
                InstanceState::Created | InstanceState::Running | InstanceState::Paused => {
                    return Err(BackendError::Locked(theirs));
                }
                // On its way out.
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
        let found = self.inspect(&name).await?;
        Err(BackendError::Locked(
            found.as_ref().map(holder_of).unwrap_or_default(),
        ))
    }

    /// Attaches before the start, so that the process never misses its holder.
    async fn hold(
        &self,
        name: String,
        id: String,
        since: Duration,
    ) -> Result<ContainerLock, BackendError> {
        let subject = format!("container {name}");
        let path = format!("/containers/{id}/attach?stream=true&stdin=true&stdout=true");
        let stream = self
            .hijack(&path, &json!({}))
            .await
            .map_err(|error| self.fault("attach to", &subject, error))?;
        let found = self.inspect(&id).await?.ok_or(BackendError::LockLost)?;
        let alive = Arc::new(Mutex::new(None));
        let (phase, phases) = watch::channel(Phase::Starting);
        let why = Why::default();
        let start = Start {
            docker: self.clone(),
            container: id.clone(),
            phase,
            why: Why::clone(&why),
        };
        let task = tokio::spawn(start.run(stream, Arc::clone(&alive)));
        Ok(ContainerLock {
            docker: self.clone(),
            container: id,
            id: created_ms(&found),
            since,
            alive,
            phases,
            why,
            task: task.abort_handle(),
        })
    }

    /// Whether a lock that was made and never held is left over. Where the engine's clock
    /// was set back, its age is not known: then it is watched for as long.
    async fn is_left_over(
        &self,
        id: &str,
        found: &ContainerInspectResponse,
    ) -> Result<bool, BackendError> {
        let now = u64::try_from(self.engine_time().await? / 1_000_000).unwrap_or_default();
        if let Some(age) = age(now, created_ms(found)) {
            return Ok(age > STALE);
        }
        // One that is gone by then is nobody's either.
        let _ = timeout(STALE, self.wait_removed(id)).await;
        let found = self.inspect(id).await?;
        let state = found.and_then(|found| found.state).unwrap_or_default();
        Ok(instance::state(&state) == InstanceState::Created)
    }
}

/// How old a container is by the engine's clock; `None` where that was set back since.
fn age(now_ms: u64, created_ms: u64) -> Option<Duration> {
    let latest = now_ms.saturating_add(u64::try_from(SKEW.as_millis()).unwrap_or_default());
    (created_ms <= latest).then(|| Duration::from_millis(now_ms.saturating_sub(created_ms)))
}

/// When the engine made a container, in milliseconds since the epoch.
fn created_ms(found: &ContainerInspectResponse) -> u64 {
    found
        .created
        .and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok())
        .unwrap_or_default()
}

fn lock_body(context: &Context, holder: &Holder) -> ContainerCreateBody {
    let labels = [
        (names::STACK, context.stack.clone()),
        (names::ROLE, "lock".to_owned()),
        (names::RUN, holder.run.clone()),
        (WHO, holder.who.clone()),
        (HOST, holder.host.clone()),
        (SINCE, holder.since.to_string()),
    ];
    ContainerCreateBody {
        image: Some(context.helper_image.clone()),
        cmd: Some(vec!["gateway".to_owned(), "lock".to_owned()]),
        user: Some("65532:65532".to_owned()),
        labels: Some(
            labels
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        ),
        open_stdin: Some(true),
        stdin_once: Some(true),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            auto_remove: Some(true),
            ..hardened()
        }),
        ..ContainerCreateBody::default()
    }
}

fn holder_of(found: &ContainerInspectResponse) -> Holder {
    let labels = found
        .config
        .as_ref()
        .and_then(|config| config.labels.clone())
        .unwrap_or_default();
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    Holder {
        who: label(WHO),
        host: label(HOST),
        run: label(names::RUN),
        since: created_ms(found),
    }
}

/// Until when the lock is known to be ours; `None` when it is lost.
type Alive = Arc<Mutex<Option<Duration>>>;

/// How far a lock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Started,
    Failed,
}

/// Why a lock never started.
type Why = Arc<Mutex<Option<BackendError>>>;

/// Starts the lock's process, then says that the holder lives.
struct Start {
    docker: Docker,
    container: String,
    phase: watch::Sender<Phase>,
    why: Why,
}

impl Start {
    async fn run(self, stream: Hijacked, alive: Alive) {
        let begun = now();
        let started = timeout(LIMIT, self.start(begun)).await;
        let late = || Err(self.docker.late("start", "the lock"));
        if let Err(error) = started.unwrap_or_else(|_| late()) {
            // Nobody else could take it for some seconds.
            let _ = timeout(SILENCE, self.docker.remove_container(&self.container)).await;
            *locked(&self.why) = Some(error);
            self.phase.send_replace(Phase::Failed);
            return;
        }
        *locked(&alive) = Some(now() + STARTING);
        self.phase.send_replace(Phase::Started);
        drop(self);
        beat(stream, alive).await;
    }

    async fn start(&self, begun: Duration) -> Result<(), BackendError> {
        self.docker.start_container(&self.container).await?;
        if now() < begun + STARTING {
            return Ok(());
        }
        // It may have given up on a holder that was stopped meanwhile.
        let found = self.docker.inspect(&self.container).await?;
        let state = found.and_then(|found| found.state).unwrap_or_default();
        match instance::state(&state) {
            InstanceState::Running => Ok(()),
            _ => Err(BackendError::LockLost),
        }
    }
}

/// Says each second that the holder lives, until the lock ends or no longer answers.
async fn beat(stream: Hijacked, alive: Alive) {
    let (output, mut input) = tokio::io::split(stream);
    let mut output = StdoutOnly::new(output);
    let mut ticks = tokio::time::interval(BEAT);
    let mut buffer = [0_u8; 64];
    let mut sent = VecDeque::new();
    let mut until = now() + STARTING;
    loop {
        let lives = tokio::select! {
            _ = ticks.tick() => {
                let written = async {
                    input.write_all(b".").await?;
                    input.flush().await
                };
                sent.push_back(now());
                timeout(SILENCE, written).await.is_ok_and(|it| it.is_ok())
            }
            // It gives back what it gets; an end means that its container ended.
            read = output.read(&mut buffer) => match read {
                // A holder that wakes after being stopped may read old answers before it
                // hears of the end: what was lost stays lost.
                Ok(count @ 1..) if now() < until => {
                    // Its process counts the silence from what it heard, and so do we.
                    let heard = sent.drain(..count.min(sent.len())).next_back();
                    until = heard.map_or(until, |heard| heard + SILENCE);
                    true
                }
                _ => false,
            },
        };
        let lives = lives && now() < until;
        *locked(&alive) = lives.then_some(until);
        if !lives {
            return;
        }
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct ContainerLock {
    docker: Docker,
    container: String,
    id: u64,
    since: Duration,
    alive: Alive,
    phases: watch::Receiver<Phase>,
    why: Why,
    task: AbortHandle,
}

impl ContainerLock {
    /// Waits until its process has started, or cannot.
    async fn is_settled(&self) {
        let mut phases = self.phases.clone();
        // A task that is gone has told its end before.
        let _ = phases.wait_for(|phase| *phase != Phase::Starting).await;
    }
}

impl Drop for ContainerLock {
    /// Ends the connection, and with it the container.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lock for ContainerLock {
    fn id(&self) -> u64 {
        self.id
    }

    /// A holder that was stopped for longer than the silence allows lost the lock,
    /// even if it has not heard so yet.
    fn confirm(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            if now() > self.since + STARTING {
                self.is_settled().await;
            }
            let phase = *self.phases.borrow();
            let held = match phase {
                Phase::Starting => true,
                Phase::Started => locked(&self.alive).is_some_and(|until| now() < until),
                Phase::Failed => false,
            };
            held.then_some(()).ok_or(BackendError::LockLost)
        })
    }

    fn release(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async move {
            // The engine removes it by itself only once it has run.
            self.is_settled().await;
            if let Some(error) = locked(&self.why).take() {
                return Err(error);
            }
            let (docker, container) = (self.docker.clone(), self.container.clone());
            drop(self);
            let freed = timeout(LIMIT, docker.wait_removed(&container)).await;
            freed.map_err(|_| docker.late("free", "the lock"))?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_the_future_has_no_age() {
        assert_eq!(age(20_000, 5_000), Some(Duration::from_secs(15)));
        assert_eq!(age(20_000, 20_900), Some(Duration::ZERO));
        assert_eq!(age(20_000, 3_600_000), None);
    }

    #[test]
    fn a_lock_says_who_holds_it_and_is_no_part_of_the_project() {
        let context = Context {
            stack: "shop".to_owned(),
            helper_image: "shopctl-gateway:1".to_owned(),
            ..Context::default()
        };
        let holder = Holder {
            who: "ana".to_owned(),
            host: "laptop".to_owned(),
            run: "run-1".to_owned(),
            since: 7,
        };
        let body = lock_body(&context, &holder);
        insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!(body) });
    }
}
