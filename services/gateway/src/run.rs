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
use crate::succession::successor::Successors;
use crate::upstream::resolve::Names;
use crate::upstream::resolve::Resolve;
use crate::upstream::resolve::SystemResolver;
use crate::upstream::watch::watch;

/// More cores than this are of no use to one stack's gateway.
const MOST_THREADS: usize = 4;
const STATS_EVERY: Duration = Duration::from_secs(1);
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
    let gateway = Gateway::start(options)?;
    tokio::select! {
        () = signals.next() => {}
        () = gateway.operations.legacy.is_done() => {
            let successors = gateway.operations.legacy.successors();
            gateway.farewell().await;
            return match successors.filter(|_| is_first) {
                Some(successors) => mind(successors, signals).await,
                None => Ok(()),
            };
        }
    }
    report(Event::Stopping);
    let successors = gateway.operations.legacy.successors();
    let others = async {
        match successors.filter(|_| is_first) {
            Some(successors) => {
                successors.ask_to_end();
                successors.ended().await
            }
            None => Ok(()),
        }
    };
    tokio::select! {
        ((), ended) = async { tokio::join!(gateway.stop(), others) } => ended,
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
}

impl Gateway {
    /// Restores the last configuration, opens the ports or takes them over. Needs a tokio
    /// runtime.
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
        let held = Held::new(estate);
        let table = Arc::new(Table::default());
        restore(&store, &table, &options.report);
        let names = Arc::new(Names::new(Arc::clone(&options.resolver)));
        let doors = Doors::new(Arc::clone(&table), Arc::clone(&names), held.clone());
        let doors = Arc::new(doors);
        let (workers, listens) = start_workers(&options, &table, &names, &doors, &held)?;
        if options.doors {
            doors.resume(&workers)?;
            doors.open(&table.config(), &workers)?;
        }
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
            calls: watch::Sender::new(Calls::Answered),
            legacy: Legacy::new(options.succession, held),
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
        if let Some(heir) = heir {
            heir.serves()?;
        }
        Ok(Self {
            operations,
            grace: options.grace,
            tasks,
            answering,
        })
    }

    /// Where it listens.
    pub fn listens(&self) -> &[Listen] {
        &self.operations.listens
    }

    /// Accepts no more, and waits for open connections for the grace period.
    pub async fn stop(mut self) {
        self.operations.legacy.release();
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

fn start_workers(
    options: &RunOptions,
    table: &Arc<Table>,
    names: &Arc<Names>,
    doors: &Arc<Doors>,
    held: &Held,
) -> Result<(Vec<Worker>, Vec<Listen>), Error> {
    let held = held.lock();
    let estate = held.as_ref();
    let mut setups: Vec<Setup> = (0..estate.map_or(0, |estate| estate.threads))
        .map(|_| Setup {
            table: Arc::clone(table),
            names: Arc::clone(names),
            connect_limit: options.connect_limit,
            sockets: Vec::new(),
            doors: Arc::clone(doors),
        })
        .collect();
    let mut listens = Vec::new();
    for (id, sockets) in estate.iter().flat_map(|estate| &estate.listens) {
        let sockets = clones(sockets).map_err(Error::system("listening"))?;
        let bound = sockets.first().and_then(|socket| socket.local_addr().ok());
        listens.push(Listen {
            id: id.clone(),
            port: bound.map_or(0, |address| address.port()),
        });
        for (setup, socket) in setups.iter_mut().zip(sockets) {
            setup.sockets.push((id.clone(), socket));
        }
    }
    let workers = setups
        .into_iter()
        .enumerate()
        .map(|(number, setup)| Worker::start(number, setup))
        .collect::<Result<_, _>>()
        .map_err(Error::system("starting a thread"))?;
    Ok((workers, listens))
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
