//! `run`: a whole gateway, from its start to its end.
//!
//! Test: through everything in `tests/gateway/`.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;

use crate::control::health;
use crate::control::operations::GatewayOperations;
use crate::control::socket;
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
use crate::upstream::resolve::Names;
use crate::upstream::resolve::Resolve;
use crate::upstream::resolve::SystemResolver;
use crate::upstream::watch::watch;

/// More cores than this are of no use to one stack's gateway.
const MOST_THREADS: usize = 4;
const STATS_EVERY: Duration = Duration::from_secs(1);

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
            report: Arc::new(|_| ()),
        }
    }
}

/// Runs a gateway until SIGTERM or SIGINT; a second one ends it at once.
pub async fn run(options: RunOptions) -> Result<(), Error> {
    let mut signals = Signals::listen()?;
    let report = Arc::clone(&options.report);
    let gateway = Gateway::start(options)?;
    signals.next().await;
    report(Event::Stopping);
    tokio::select! {
        () = gateway.stop() => {}
        () = signals.next() => {}
    }
    Ok(())
}

/// A running gateway within this process. Dropping it ends its control plane,
/// and its threads without ado.
pub struct Gateway {
    operations: Arc<GatewayOperations>,
    grace: Duration,
    tasks: JoinSet<()>,
}

impl Gateway {
    /// Restores the last configuration, opens the ports. Needs a tokio runtime.
    pub fn start(options: RunOptions) -> Result<Self, Error> {
        check_name(&options.name)?;
        let store = Store::new(&options.directory, &options.name);
        store.prepare()?;
        // Before the ports, so that two gateways of one name never share them.
        let control = socket::bind(&options.name)?;
        let table = Arc::new(Table::default());
        restore(&store, &table, &options.report);
        let names = Arc::new(Names::new(Arc::clone(&options.resolver)));
        let doors = Arc::new(Doors::new(Arc::clone(&table), Arc::clone(&names)));
        let (workers, listens) = start_workers(&options, &table, &names, &doors)?;
        if options.doors {
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
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(socket::listen(control, Arc::clone(&operations)));
        tasks.spawn(health::watch(Arc::clone(&table), Arc::clone(&names)));
        tasks.spawn(watch(table, names, options.connect_limit));
        tasks.spawn(write_stats(Arc::clone(&operations)));
        Ok(Self {
            operations,
            grace: options.grace,
            tasks,
        })
    }

    /// Where it listens.
    pub fn listens(&self) -> &[Listen] {
        &self.operations.listens
    }

    /// Accepts no more, and waits for open connections for the grace period.
    pub async fn stop(mut self) {
        let workers = &self.operations.workers;
        join_all(workers.iter().map(|worker| worker.stop(self.grace))).await;
        self.tasks.shutdown().await;
    }
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
) -> Result<(Vec<Worker>, Vec<Listen>), Error> {
    let threads = options.threads.unwrap_or_else(|| {
        available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS))
    });
    let threads = threads.max(1);
    let mut setups: Vec<Setup> = (0..threads)
        .map(|_| Setup {
            table: Arc::clone(table),
            names: Arc::clone(names),
            connect_limit: options.connect_limit,
            sockets: Vec::new(),
            doors: Arc::clone(doors),
        })
        .collect();
    let mut listens = Vec::new();
    for spec in &options.listens {
        let sockets = bind(spec, threads)?;
        let bound = sockets.first().and_then(|socket| socket.local_addr().ok());
        listens.push(Listen {
            id: spec.id.clone(),
            port: bound.map_or(spec.port, |address| address.port()),
        });
        for (setup, socket) in setups.iter_mut().zip(sockets) {
            setup.sockets.push((spec.id.clone(), socket));
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
