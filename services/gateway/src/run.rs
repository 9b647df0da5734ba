//! `run`: a whole gateway, from its start to its end.
//!
//! Test: through everything in `tests/gateway/`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::UnixListener;
use tokio::sync::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::control::health;
use crate::control::operations::GatewayOperations;
use crate::control::socket;
use crate::control::socket::Calls;
use crate::error::Error;
use crate::plane::doors::Doors;
use crate::plane::listen::ListenSpec;
use crate::plane::listen::bind;
use crate::plane::worker::Setup;
use crate::plane::worker::Worker;
use crate::protocol::Listen;
use crate::report::Event;
use crate::report::Report;
use crate::routing::table::Table;
use crate::signal::Signals;
use crate::store::Found;
use crate::store::Store;
use crate::succession::Succession;
use crate::succession::estate::Estate;
use crate::succession::estate::Held;
use crate::succession::estate::clones;
use crate::succession::legacy::Legacy;
use crate::succession::successor;
use crate::succession::successor::Heir;
use crate::succession::successor::Successors;
use crate::upstream::resolve::Names;
use crate::upstream::resolve::Resolve;
use crate::upstream::resolve::SystemResolver;
use crate::upstream::watch::watch;

/// More cores than this are of no use to one stack's gateway.
const MOST_THREADS: usize = 4;
const STATS_EVERY: Duration = Duration::from_secs(1);
/// So long a program that takes over waits to know what its targets are worth.
const LEARN: Duration = Duration::from_secs(2);
/// Between two looks at that.
const LOOK: Duration = Duration::from_millis(10);
/// Whoever asked for a successor reads the answer within this time.
const FAREWELL: Duration = Duration::from_secs(10);

/// What `run` needs to know.
#[derive(Clone)]
pub struct RunOptions {
    /// The gateway's name: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// The stack's store.
    pub directory: PathBuf,
    /// The published ports.
    pub listens: Vec<ListenSpec>,
    /// Let requests in from inside the stack's networks, as the configuration says.
    pub doors: bool,
    /// Threads of the data plane; none: one per core, at most 4.
    pub threads: Option<usize>,
    /// How long open connections may take to end after the signal. Less than
    /// the 10 s after which a container is killed.
    pub grace: Duration,
    /// How long a connect, with its look-up, may take.
    pub connect_limit: Duration,
    /// How names become addresses.
    pub resolver: Arc<dyn Resolve>,
    /// How it makes way for another program; none: it cannot.
    pub succession: Option<Succession>,
    /// Where events go.
    pub report: Report,
}

impl RunOptions {
    /// A gateway without ports.
    pub fn new(name: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            directory: directory.into(),
            listens: Vec::new(),
            doors: false,
            threads: None,
            grace: Duration::from_secs(8),
            connect_limit: Duration::from_secs(1),
            resolver: Arc::new(SystemResolver),
            succession: None,
            report: Arc::new(|_| ()),
        }
    }
}

/// Runs a gateway until SIGTERM or SIGINT; a second one ends it at once. One that another
/// program takes over from ends by itself, but for the first, which ends with the others.
pub async fn run(options: RunOptions) -> Result<(), Error> {
    let report = Arc::clone(&options.report);
    let succession = options.succession.as_ref();
    if let Some((program, error)) = succession.and_then(successor::step_aside) {
        let reason = error.to_string();
        report(Event::NoSuccessor { program, reason });
    }
    let is_first = options
        .succession
        .as_ref()
        .is_none_or(|succession| !succession.take_over);
    let mut signals = Signals::listen()?;
    let mut gateway = Gateway::start(options)?;
    gateway.take_over().await?;
    let operations = Arc::clone(&gateway.operations);
    let legacy = &operations.legacy;
    let successors = || legacy.successors().filter(|_| is_first);
    tokio::select! {
        biased;
        () = signals.next() => {}
        () = legacy.is_done() => {
            let farewell = gateway.farewell();
            let Some(successors) = successors() else {
                farewell.await;
                return Ok(());
            };
            let minding = mind(successors, signals);
            let ((), ended) = tokio::join!(farewell, minding);
            return ended;
        }
        // Nobody accepts any more: whoever starts this again does it best at once.
        ended = legacy.is_lost() => return ended,
    }
    report(Event::Stopping);
    let ending = async {
        // A program that is about to take over has done so, or does not any more.
        legacy.release().await;
        let others = async {
            match successors() {
                Some(successors) => {
                    successors.ask_to_end();
                    successors.ended().await
                }
                None => Ok(()),
            }
        };
        let ((), ended) = tokio::join!(gateway.stop(), others);
        ended
    };
    tokio::select! {
        ended = ending => ended,
        () = signals.next() => Ok(()),
    }
}

/// Ends with the processes that have taken this one's place, and passes signals on.
async fn mind(successors: Successors, mut signals: Signals) -> Result<(), Error> {
    let ended = successors.ended();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            ended = &mut ended => return ended,
            () = signals.next() => successors.ask_to_end(),
        }
    }
}

/// A running gateway within this process. Dropping it ends its control plane,
/// and its threads without ado.
pub struct Gateway {
    operations: Arc<GatewayOperations>,
    grace: Duration,
    tasks: JoinSet<()>,
    /// Answers calls.
    answering: JoinSet<()>,
    /// What it takes over from, until it has, and who is told when that has ended.
    before: Option<(Heir, watch::Sender<bool>)>,
}

impl Gateway {
    /// Restores the last configuration, opens the ports and serves; one that takes over
    /// serves when it has. Needs a tokio runtime.
    pub fn start(options: RunOptions) -> Result<Self, Error> {
        check_name(&options.name)?;
        let store = Store::new(&options.directory, &options.name);
        store.prepare()?;
        let takes_over = options.succession.as_ref().is_some_and(|one| one.take_over);
        let (estate, heir) = if takes_over {
            let (estate, heir) = successor::take_over()?;
            (estate, Some(heir))
        } else {
            (open(&options)?, None)
        };
        let control = calls(&estate)?;
        let table = Arc::new(Table::default());
        restore(&store, &table, &options.report);
        let names = Arc::new(Names::new(Arc::clone(&options.resolver)));
        let threads = estate.threads;
        let listens = listens(&estate);
        let held = Held::new(estate);
        let doors = Doors::new(Arc::clone(&table), Arc::clone(&names), held.clone());
        let doors = Arc::new(doors);
        let workers = start_workers(threads, options.connect_limit, &table, &names, &doors)?;
        if options.doors {
            doors.bind(&table.config(), threads)?;
        }
        let (sender, alone) = watch::channel(heir.is_none());
        (options.report)(Event::Started {
            name: options.name.clone(),
            listens: listens.clone(),
            generation: table.age().1,
        });
        let operations = Arc::new(GatewayOperations {
            name: options.name,
            listens,
            table: Arc::clone(&table),
            names: Arc::clone(&names),
            store,
            workers,
            doors: options.doors.then_some(doors),
            report: options.report,
            switching: Mutex::new(()),
            // Until it has taken over, the other one answers.
            calls: watch::Sender::new(if heir.is_some() {
                Calls::Waiting
            } else {
                Calls::Answered
            }),
            legacy: Legacy::new(options.succession, held.clone()),
            alone,
        });
        let mut answering = JoinSet::new();
        let calls = operations.calls.subscribe();
        answering.spawn(socket::listen(control, Arc::clone(&operations), calls));
        let mut tasks = JoinSet::new();
        tasks.spawn(health::watch(Arc::clone(&table), Arc::clone(&names)));
        tasks.spawn(watch(table, names, options.connect_limit));
        tasks.spawn(write_stats(Arc::clone(&operations)));
        // Whoever looks at them next sees what runs from now on.
        if let Err(error) = operations.store.write_stats(&operations.stats()) {
            let reason = error.to_string();
            (operations.report)(Event::StatsFailed { reason });
        }
        let gateway = Self {
            operations,
            grace: options.grace,
            tasks,
            answering,
            before: heir.map(|heir| (heir, sender)),
        };
        if gateway.before.is_none() {
            gateway.accept(&held)?;
        }
        Ok(gateway)
    }

    /// Takes over from the program before, where there is one: everything that can fail is
    /// done by then, and what its targets are worth is known as far as that takes no time.
    async fn take_over(&mut self) -> Result<(), Error> {
        let Some((heir, alone)) = self.before.take() else {
            return Ok(());
        };
        let table = &self.operations.table;
        let known = async {
            while !table.checked().iter().all(|(target, _)| target.is_known()) {
                sleep(LOOK).await;
            }
        };
        let _ = timeout(LEARN, known).await;
        heir.serves(alone)?;
        self.accept(&self.operations.legacy.held())?;
        self.operations.calls.send_replace(Calls::Answered);
        Ok(())
    }

    /// Lets requests in.
    fn accept(&self, held: &Held) -> Result<(), Error> {
        let workers = &self.operations.workers;
        let locked = held.lock();
        let listens = locked.iter().flat_map(|estate| &estate.listens);
        for (id, sockets) in listens {
            let sockets = clones(sockets).map_err(Error::system("listening"))?;
            for (worker, socket) in workers.iter().zip(sockets) {
                worker.listen(id, socket);
            }
        }
        drop(locked);
        match &self.operations.doors {
            Some(doors) => doors.resume(workers),
            None => Ok(()),
        }
    }

    /// Where it listens.
    pub fn listens(&self) -> &[Listen] {
        &self.operations.listens
    }

    /// Accepts no more, and waits for open connections for the grace period.
    pub async fn stop(mut self) {
        self.operations.legacy.release().await;
        let workers = &self.operations.workers;
        join_all(workers.iter().map(|worker| worker.stop(self.grace))).await;
        self.tasks.shutdown().await;
        self.answering.shutdown().await;
    }

    /// Ends after another program has taken over: whoever called has been answered.
    async fn farewell(mut self) {
        self.tasks.shutdown().await;
        let _ = timeout(FAREWELL, self.answering.join_next()).await;
    }
}

/// Opens everything that a gateway holds for its whole life.
fn open(options: &RunOptions) -> Result<Estate, Error> {
    // Before the ports, so that two gateways of one name never share them.
    let control = socket::bind(&options.name)?;
    let threads = options.threads.unwrap_or_else(|| {
        available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS))
    });
    let listens = options.listens.iter().map(|spec| {
        let sockets = bind(spec, threads.max(1))?;
        Ok((spec.id.clone(), sockets))
    });
    Ok(Estate {
        threads: threads.max(1),
        listens: listens.collect::<Result<_, Error>>()?,
        doors: BTreeMap::new(),
        control,
    })
}

fn calls(estate: &Estate) -> Result<UnixListener, Error> {
    let control = estate.control.try_clone();
    control
        .and_then(UnixListener::from_std)
        .map_err(Error::system("opening the control socket"))
}

/// The name is part of a file's name.
fn check_name(name: &str) -> Result<(), Error> {
    let fine = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    if (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(fine) {
        Ok(())
    } else {
        Err(Error::Usage(format!("`{name}` is not a gateway's name")))
    }
}

fn restore(store: &Store, table: &Table, report: &Report) {
    let (config, unusable) = match store.load() {
        Found::Nothing => return,
        Found::Current(config) => (Some(config), None),
        Found::LastGood { config, reason } => (Some(config), Some(reason)),
        Found::Unusable { reason } => (None, Some(reason)),
    };
    if let Some(reason) = unusable {
        let instead = config.as_ref().map(|config| config.generation);
        report(Event::RoutesUnusable { reason, instead });
    }
    if let Some(config) = config {
        table.restore(config);
    }
}

/// Where a gateway with these sockets listens.
fn listens(estate: &Estate) -> Vec<Listen> {
    let listens = estate.listens.iter().map(|(id, sockets)| {
        let bound = sockets.first().and_then(|socket| socket.local_addr().ok());
        Listen {
            id: id.clone(),
            port: bound.map_or(0, |address| address.port()),
        }
    });
    listens.collect()
}

fn start_workers(
    threads: usize,
    connect_limit: Duration,
    table: &Arc<Table>,
    names: &Arc<Names>,
    doors: &Arc<Doors>,
) -> Result<Vec<Worker>, Error> {
    (0..threads)
        .map(|number| {
            let setup = Setup {
                table: Arc::clone(table),
                names: Arc::clone(names),
                connect_limit,
                doors: Arc::clone(doors),
            };
            Worker::start(number, setup)
        })
        .collect::<Result<_, _>>()
        .map_err(Error::system("starting a thread"))
}

async fn write_stats(operations: Arc<GatewayOperations>) {
    let mut ticks = interval(STATS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        ticks.tick().await;
        operations.table.tick();
        if *operations.calls.borrow() != Calls::Answered {
            // The file is another program's, or about to be.
            continue;
        }
        let (store, stats) = (operations.store.clone(), operations.stats());
        let written = tokio::task::spawn_blocking(move || store.write_stats(&stats)).await;
        let error = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let (Some(reason), false) = (&error, failed) {
            let reason = reason.clone();
            (operations.report)(Event::StatsFailed { reason });
        }
        failed = error.is_some();
    }
}
