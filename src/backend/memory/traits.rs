//! The backend's traits over the world.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

use super::Memory;
use super::control;
use crate::backend::Apply;
use crate::backend::BackendError;
use crate::backend::BuildRequest;
use crate::backend::Change;
use crate::backend::Context;
use crate::backend::Edit;
use crate::backend::EventQuery;
use crate::backend::Events;
use crate::backend::Exec;
use crate::backend::ExecRequest;
use crate::backend::Holder;
use crate::backend::Images;
use crate::backend::KEPT_RELEASES;
use crate::backend::Lease;
use crate::backend::Lock;
use crate::backend::LogLine;
use crate::backend::LogQuery;
use crate::backend::Logs;
use crate::backend::Observe;
use crate::backend::OneOffs;
use crate::backend::Pending;
use crate::backend::Query;
use crate::backend::Rollouts;
use crate::backend::RunRequest;
use crate::backend::Session;
use crate::backend::Store;
use crate::backend::Usage;
use crate::backend::Use;
use crate::backend::Watch;
use crate::plan::action::Action;
use crate::state::happening::Happening;
use crate::state::names;
use crate::state::observed::ImageInfo;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::ObservedState;

/// Bytes a session's pipe holds.
const PIPE: usize = 64 * 1024;
/// A lock that is waited for is looked at this often.
const LOOK: Duration = Duration::from_millis(20);
/// Changes a slow watcher may leave unread.
const CHANGES: usize = 4096;

impl Observe for Memory {
    fn observe<'a>(&'a self, query: &'a Query) -> Pending<'a, ObservedState> {
        Box::pin(async move {
            self.world().is_there()?;
            Ok(self.world().observe(query))
        })
    }

    fn reach(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            let mut world = self.world();
            if std::mem::take(&mut world.faults.stopping) {
                return Err(super::faults::unreachable());
            }
            world.is_there()
        })
    }
}

impl Apply for Memory {
    fn apply<'a>(&'a self, context: &'a Context, action: &'a Action) -> Pending<'a, ()> {
        Box::pin(async move {
            if matches!(
                action,
                Action::BuildImage { .. }
                    | Action::PullImage { .. }
                    | Action::RunTask { .. }
                    | Action::SetListeners { .. }
                    | Action::AddTarget { .. }
                    | Action::SetSplit { .. }
                    | Action::RemoveTarget { .. }
                    | Action::RecordScale { .. }
            ) {
                return Err(BackendError::Unsupported(format!("{action:?}")));
            }
            let before = self.instances();
            let result = self.world().apply(context, action);
            self.tell(&before);
            result
        })
    }
}

impl Memory {
    fn instances(&self) -> BTreeMap<String, Instance> {
        self.world()
            .containers
            .iter()
            .map(|(name, one)| (name.clone(), one.instance.clone()))
            .collect()
    }

    /// Tells watchers what changed.
    fn tell(&self, before: &BTreeMap<String, Instance>) {
        let changes: Vec<Change> = self
            .instances()
            .values()
            .filter(|now| {
                before
                    .get(&now.name)
                    .is_none_or(|old| (&old.state, old.health) != (&now.state, now.health))
            })
            .map(change)
            .collect();
        let mut watchers = self
            .watchers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        watchers.retain(|watcher| {
            changes
                .iter()
                .all(|change| watcher.try_send(change.clone()).is_ok())
        });
    }
}

fn change(instance: &Instance) -> Change {
    Change {
        container: instance.name.clone(),
        state: instance.state.clone(),
        health: instance.health,
    }
}

impl Rollouts for Memory {}

impl OneOffs for Memory {}

impl Watch for Memory {
    fn watch<'a>(&'a self, _stack: &'a str) -> Pending<'a, mpsc::Receiver<Change>> {
        Box::pin(async move {
            self.world().is_there()?;
            let (sender, receiver) = mpsc::channel(CHANGES);
            self.watchers
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(sender);
            Ok(receiver)
        })
    }

    fn state<'a>(&'a self, container: &'a str) -> Pending<'a, Change> {
        Box::pin(async move {
            let mut world = self.world();
            let one = world.get(container)?;
            Ok(change(&one.instance))
        })
    }

    fn check_log<'a>(&'a self, container: &'a str) -> Pending<'a, Vec<String>> {
        Box::pin(async move {
            let world = self.world();
            Ok(world.checks.get(container).cloned().unwrap_or_default())
        })
    }
}

impl Usage for Memory {
    fn usage<'a>(&'a self, containers: &'a [String]) -> Pending<'a, BTreeMap<String, Use>> {
        Box::pin(async move {
            let world = self.world();
            Ok(containers
                .iter()
                .filter(|name| {
                    world
                        .containers
                        .get(*name)
                        .is_some_and(super::Container::runs)
                })
                .map(|name| {
                    let used = Use {
                        cpu: 0.1,
                        memory: 8 << 20,
                    };
                    (name.clone(), used)
                })
                .collect())
        })
    }
}

impl Store for Memory {
    fn read<'a>(&'a self, stack: &'a str) -> Pending<'a, Option<BTreeMap<String, Vec<u8>>>> {
        Box::pin(async move {
            let world = self.world();
            Ok(world
                .volumes
                .contains_key(&names::store(stack))
                .then(|| world.records.get(stack).cloned().unwrap_or_default()))
        })
    }

    fn edit<'a>(&'a self, stack: &'a str, edit: Edit<'a>) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut world = self.world();
            let fault = world.faults.wrap()?;
            if !world.volumes.contains_key(&names::store(stack)) {
                return Err(BackendError::NotFound {
                    what: format!("volume {}", names::store(stack)),
                });
            }
            let stored = world.records.entry(stack.to_owned()).or_default();
            if let Some((number, document)) = edit(stored)? {
                let kept = world.releases.entry(stack.to_owned()).or_default();
                kept.insert(number, document);
                kept.retain(|other, _| other + KEPT_RELEASES > number);
            }
            match fault {
                Some(_) => Err(super::faults::unreachable()),
                None => Ok(()),
            }
        })
    }

    fn seeded<'a>(
        &'a self,
        _context: &'a Context,
        volume: &'a str,
    ) -> Pending<'a, BTreeMap<String, Vec<u8>>> {
        Box::pin(async move {
            let world = self.world();
            let files = world.seeded.get(volume).map(|set| &set.files);
            let content = files.into_iter().flatten();
            Ok(content
                .map(|(path, file)| (path.clone(), file.content.clone()))
                .collect())
        })
    }

    fn releases<'a>(&'a self, stack: &'a str) -> Pending<'a, BTreeMap<u64, Vec<u8>>> {
        Box::pin(async move {
            let world = self.world();
            Ok(world.releases.get(stack).cloned().unwrap_or_default())
        })
    }
}

/// A lock that frees itself.
struct Held {
    memory: Memory,
    stack: String,
    holder: Holder,
    id: u64,
}

impl Held {
    fn free(&self) {
        let mut world = self.memory.world();
        if world.locks.get(&self.stack) == Some(&self.holder) {
            world.locks.remove(&self.stack);
        }
    }
}

impl Lock for Held {
    fn id(&self) -> u64 {
        self.id
    }

    fn confirm(&self) -> Pending<'_, ()> {
        let held = self.memory.world().locks.get(&self.stack) == Some(&self.holder);
        Box::pin(async move { held.then_some(()).ok_or(BackendError::LockLost) })
    }

    fn release(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async move {
            self.free();
            Ok(())
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.free();
    }
}

impl Lease for Memory {
    fn acquire<'a>(
        &'a self,
        context: &'a Context,
        holder: &'a Holder,
    ) -> Pending<'a, Box<dyn Lock>> {
        Box::pin(async move {
            let mut world = self.world();
            world.is_there()?;
            if let Some(happens) = world.before_lock.take() {
                happens(&mut world);
            }
            if let Some(other) = world.locks.get(&context.stack) {
                return Err(BackendError::Locked(other.clone()));
            }
            world.locks.insert(context.stack.clone(), holder.clone());
            world.lock_id += 1;
            let lock: Box<dyn Lock> = Box::new(Held {
                memory: self.clone(),
                stack: context.stack.clone(),
                holder: holder.clone(),
                id: world.lock_id,
            });
            Ok(lock)
        })
    }

    fn freed<'a>(&'a self, stack: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            while self.world().locks.contains_key(stack) {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        })
    }
}

impl Exec for Memory {
    fn session<'a>(&'a self, container: &'a str, _command: &'a [String]) -> Pending<'a, Session> {
        Box::pin(async move {
            self.world().is_there()?;
            if !self.world().get(container)?.runs() {
                return Err(BackendError::NotFound {
                    what: format!("running container {container}"),
                });
            }
            let (ours, input) = tokio::io::duplex(PIPE);
            let (theirs, output) = tokio::io::duplex(PIPE);
            tokio::spawn(control::serve(
                self.clone(),
                container.to_owned(),
                input,
                output,
            ));
            Ok(Session {
                output: Box::new(theirs),
                input: Box::new(ours),
            })
        })
    }

    fn exec<'a>(
        &'a self,
        request: &'a ExecRequest,
        _stdin: Option<Box<dyn AsyncRead + Send + Unpin>>,
        mut stdout: Box<dyn AsyncWrite + Send + Unpin>,
        _stderr: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Pending<'a, i64> {
        Box::pin(async move {
            use tokio::io::AsyncWriteExt as _;
            self.world().get(&request.container)?;
            let line = format!("{}\n", request.command.join(" "));
            let written = stdout.write_all(line.as_bytes()).await;
            Ok(i64::from(written.is_err()))
        })
    }

    fn run<'a>(
        &'a self,
        request: &'a RunRequest,
        _stdin: Option<Box<dyn AsyncRead + Send + Unpin>>,
        mut stdout: Box<dyn AsyncWrite + Send + Unpin>,
        _stderr: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Pending<'a, i64> {
        Box::pin(async move {
            use tokio::io::AsyncWriteExt as _;
            let code = self.run_once(&request.container)?;
            // Nobody may be reading.
            let _ = stdout.write_all(b"it ran\n").await;
            Ok(code)
        })
    }

    fn signal<'a>(&'a self, _container: &'a str, _name: &'a str) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl Memory {
    /// Starts a one-off container, which ends at once and goes; its exit code.
    fn run_once(&self, container: &str) -> Result<i64, BackendError> {
        let mut world = self.world();
        let context = Context::default();
        let container = container.to_owned();
        let start = Action::StartContainer {
            container: container.clone(),
        };
        world.apply(&context, &start)?;
        let state = world.get(&container)?.instance.state.clone();
        world.apply(&context, &Action::RemoveContainer { container })?;
        match state {
            InstanceState::Exited { code, .. } => Ok(code),
            _ => Ok(0),
        }
    }
}

impl Logs for Memory {
    fn logs<'a>(
        &'a self,
        container: &'a str,
        query: &'a LogQuery,
    ) -> Pending<'a, mpsc::Receiver<LogLine>> {
        Box::pin(async move {
            let lines = self
                .world()
                .logs
                .get(container)
                .cloned()
                .unwrap_or_default();
            let tail = query.tail.map_or(lines.len(), |tail| {
                usize::try_from(tail).unwrap_or(usize::MAX)
            });
            let (sender, receiver) = mpsc::channel(lines.len().max(1));
            for text in lines.iter().skip(lines.len().saturating_sub(tail)) {
                let line = LogLine {
                    container: container.to_owned(),
                    stderr: false,
                    text: text.clone(),
                };
                // The channel has room for every line.
                let _ = sender.try_send(line);
            }
            Ok(receiver)
        })
    }
}

impl Events for Memory {
    /// All that a test has told; then the stream ends.
    fn events<'a>(&'a self, query: &'a EventQuery) -> Pending<'a, mpsc::Receiver<Happening>> {
        Box::pin(async move {
            let mut world = self.world();
            world.is_there()?;
            let seconds = |at: u64| i64::try_from(at / 1000).unwrap_or(i64::MAX);
            let asked = world.happenings.iter().filter(|one| {
                let at = seconds(one.at);
                query.since.is_none_or(|since| at >= since)
                    && query.until.is_none_or(|until| at <= until)
            });
            let asked: Vec<Happening> = asked.cloned().collect();
            let (sender, receiver) = mpsc::channel(asked.len().max(1));
            for one in asked {
                // The channel has room for every one.
                let _ = sender.try_send(one);
            }
            Ok(receiver)
        })
    }
}

impl Images for Memory {
    fn image<'a>(&'a self, reference: &'a str) -> Pending<'a, Option<ImageInfo>> {
        Box::pin(async move { Ok(self.world().images.get(reference).cloned()) })
    }

    fn built<'a>(&'a self, stack: &'a str) -> Pending<'a, BTreeSet<String>> {
        Box::pin(async move {
            let world = self.world();
            let tags = world.built.iter().filter(|(_, of)| *of == stack);
            Ok(tags.map(|(tag, _)| tag.clone()).collect())
        })
    }

    fn remove_image<'a>(&'a self, tag: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut world = self.world();
            world.faults.wrap()?;
            let used = |one: &super::Container| one.instance.image == tag;
            if !world.containers.values().any(used) {
                let gone = world.images.remove(tag);
                let named = |(name, info): (&String, &ImageInfo)| {
                    gone.as_ref().is_some_and(|gone| gone.id == info.id) && *name != info.id
                };
                if let Some(gone) = &gone
                    && !world.images.iter().any(named)
                {
                    world.images.remove(&gone.id);
                }
                world.built.remove(tag);
            }
            Ok(())
        })
    }

    fn build(
        &self,
        request: BuildRequest,
        progress: mpsc::Sender<String>,
    ) -> Pending<'_, ImageInfo> {
        Box::pin(async move {
            let _ = progress.try_send(format!("built {}", request.tag));
            let mut world = self.world();
            world.faults.wrap()?;
            world.add_image(&request.tag, "");
            if let Some(stack) = request.labels.get(names::IMAGE) {
                world.built.insert(request.tag.clone(), stack.clone());
            }
            let info = super::world::image(&request.tag, "");
            for tag in request.extra_tags {
                world.put_image(&tag, info.clone());
            }
            Ok(info)
        })
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        _platform: Option<&'a str>,
        progress: mpsc::Sender<String>,
    ) -> Pending<'a, ImageInfo> {
        Box::pin(async move {
            let _ = progress.try_send(format!("pulled {reference}"));
            let mut world = self.world();
            world.faults.wrap()?;
            world.pull(reference)?;
            Ok(world.images.get(reference).cloned().unwrap_or_default())
        })
    }

    fn digest<'a>(&'a self, reference: &'a str) -> Pending<'a, String> {
        Box::pin(async move {
            let world = self.world();
            let found = world.registry.get(reference);
            found
                .map(|info| info.id.clone())
                .ok_or_else(|| missing(reference))
        })
    }

    fn tag<'a>(&'a self, image: &'a str, name: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut world = self.world();
            match world.images.get(image).cloned() {
                Some(info) => {
                    world.put_image(name, info);
                    Ok(())
                }
                None => Err(missing(image)),
            }
        })
    }

    fn push<'a>(&'a self, reference: &'a str, _progress: mpsc::Sender<String>) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut world = self.world();
            match world.images.get(reference).cloned() {
                Some(info) => {
                    world.registry.insert(reference.to_owned(), info);
                    Ok(())
                }
                None => Err(missing(reference)),
            }
        })
    }

    fn load(&self, _archive: bytes::Bytes) -> Pending<'_, ()> {
        Box::pin(async move { Ok(()) })
    }
}

fn missing(reference: &str) -> BackendError {
    BackendError::ImageMissing {
        reference: reference.to_owned(),
        reason: "no such image".to_owned(),
    }
}
