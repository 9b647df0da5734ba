//! A thread of the data plane.
//!
//! Test: through everything in `tests/gateway/`.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::accept::accept;
use super::accept::admit;
use super::doors::Doors;
use super::forward::Front;
use crate::routing::table::Table;
use crate::upstream::pool::Pool;
use crate::upstream::resolve::Names;

const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Look-ups that may hang in the system's resolver at the same time. They cost
/// a thread each, and only while they last.
const LOOKUPS: usize = 16;

/// What a worker is made of.
pub(crate) struct Setup {
    pub(crate) table: Arc<Table>,
    pub(crate) names: Arc<Names>,
    pub(crate) connect_limit: Duration,
    /// Which listener a request from inside a network belongs to.
    pub(crate) doors: Arc<Doors>,
}

/// How far a gateway is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Accepts no more. A connection may bring one more request, whose answer says that
    /// it is the last.
    Leaving,
    /// Connections are closed as soon as nothing is under way on them.
    Stopping,
}

enum Command {
    Listen(String, TcpListener),
    Open(u16, TcpListener),
    Close(u16),
    Purge(Arc<[u64]>, oneshot::Sender<()>),
    Enter(Phase),
    Ended(oneshot::Sender<()>),
}

/// The other threads' end of a worker.
pub(crate) struct Worker(mpsc::UnboundedSender<Command>);

impl Worker {
    pub(crate) fn start(number: usize, setup: Setup) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(LOOKUPS)
            .thread_keep_alive(Duration::from_secs(2))
            .build()?;
        let (sender, commands) = mpsc::unbounded_channel();
        thread::Builder::new()
            .name(format!("gateway-{number}"))
            .spawn(move || {
                LocalSet::new().block_on(&runtime, work(setup, commands));
                // A look-up that hangs must not hold up the end.
                runtime.shutdown_background();
            })?;
        Ok(Self(sender))
    }

    /// Closes idle connections to these targets; ready when they are closed.
    pub(crate) async fn purge(&self, targets: Arc<[u64]>) {
        self.ask(|done| Command::Purge(targets, done)).await;
    }

    /// Accepts connections to a listener, through this thread's socket of it.
    pub(crate) fn listen(&self, id: &str, socket: TcpListener) {
        let _ = self.0.send(Command::Listen(id.to_owned(), socket));
    }

    /// Lets requests in at a door, through this thread's socket of it.
    pub(crate) fn open(&self, port: u16, socket: TcpListener) {
        // A worker that has ended lets nobody in.
        let _ = self.0.send(Command::Open(port, socket));
    }

    /// Shuts a door; open connections go on.
    pub(crate) fn close(&self, port: u16) {
        let _ = self.0.send(Command::Close(port));
    }

    /// Begins a phase of its end.
    pub(crate) fn enter(&self, phase: Phase) {
        let _ = self.0.send(Command::Enter(phase));
    }

    /// Ready when the last connection of a worker that accepts no more has ended.
    pub(crate) async fn ended(&self) {
        self.ask(Command::Ended).await;
    }

    /// Accepts no more; ready when the last connection has ended, or the time is over.
    pub(crate) async fn stop(&self, grace: Duration) {
        self.enter(Phase::Stopping);
        let _ = timeout(grace, self.ended()).await;
    }

    /// A worker that has ended has nothing left to do.
    async fn ask(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, answer) = oneshot::channel();
        if self.0.send(command(done)).is_ok() {
            let _ = answer.await;
        }
    }
}

async fn work(setup: Setup, mut commands: mpsc::UnboundedReceiver<Command>) {
    let pool = Rc::new(Pool::new(setup.names, setup.connect_limit));
    let (phases, phase) = watch::channel(Phase::Serving);
    let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
    // Its listener is that of no port: doors open and close while the gateway runs.
    let mut door = Some(Rc::new(Front {
        table: setup.table,
        pool: Rc::clone(&pool),
        listener: Rc::from(""),
        phase,
    }));
    let mut doors: BTreeMap<u16, JoinHandle<()>> = BTreeMap::new();
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    loop {
        let command = tokio::select! {
            _ = sweep.tick() => {
                pool.sweep();
                continue;
            }
            () = phases.closed(), if !waiting.is_empty() => {
                for done in waiting {
                    let _ = done.send(());
                }
                return;
            }
            command = commands.recv() => command,
        };
        match command {
            Some(Command::Listen(id, socket)) => {
                // Cannot fail but for a runtime without I/O; then nothing is accepted.
                if let (Ok(listener), Some(front)) =
                    (tokio::net::TcpListener::from_std(socket), &door)
                {
                    tokio::task::spawn_local(accept(listener, Rc::new(front.of(&id))));
                }
            }
            Some(Command::Open(port, socket)) => {
                if let (Ok(listener), Some(front)) =
                    (tokio::net::TcpListener::from_std(socket), &door)
                {
                    let (front, which) = (Rc::clone(front), Arc::clone(&setup.doors));
                    let task = tokio::task::spawn_local(admit(listener, front, which));
                    if let Some(before) = doors.insert(port, task) {
                        before.abort();
                    }
                }
            }
            Some(Command::Close(port)) => {
                if let Some(task) = doors.remove(&port) {
                    task.abort();
                }
            }
            Some(Command::Purge(targets, done)) => {
                let pool = Rc::clone(&pool);
                tokio::task::spawn_local(async move {
                    pool.purge(&targets).await;
                    let _ = done.send(());
                });
            }
            Some(Command::Enter(phase)) => {
                // One that ends does not begin to leave.
                phases.send_if_modified(|now| {
                    let later = phase > *now;
                    *now = phase.max(*now);
                    later
                });
                drop(door.take());
            }
            Some(Command::Ended(done)) => waiting.push(done),
            None => return,
        }
    }
}
