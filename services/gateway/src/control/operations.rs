//! What a running gateway, and a prober, do when asked.
//!
//! Test: `tests/gateway/control.rs`, `tests/gateway/switch.rs`.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::timeout;

use super::probe::probe;
use super::server::Operations;
use super::server::content;
use super::socket::Calls;
use crate::plane::doors::Doors;
use crate::plane::worker::Phase;
use crate::plane::worker::Worker;
use crate::protocol::Applied;
use crate::protocol::Config;
use crate::protocol::Drained;
use crate::protocol::Draining;
use crate::protocol::Fault;
use crate::protocol::FaultKind;
use crate::protocol::Hello;
use crate::protocol::Listen;
use crate::protocol::Op;
use crate::protocol::PROTOCOL;
use crate::protocol::Stats;
use crate::protocol::Upgraded;
use crate::report::Event;
use crate::report::Report;
use crate::routing::snapshot::validate;
use crate::routing::table::Table;
use crate::routing::target::Target;
use crate::store::Store;
use crate::succession::legacy::Legacy;
use crate::upstream::resolve::Names;

/// What is ended at a drain deadline has gone within this time.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// So long an idle connection is left open for one more request, when another program
/// takes over.
const LAST_REQUEST: Duration = Duration::from_secs(5);

/// A running gateway, as its control connections see it.
pub(crate) struct GatewayOperations {
    pub(crate) name: String,
    pub(crate) listens: Vec<Listen>,
    pub(crate) table: Arc<Table>,
    pub(crate) names: Arc<Names>,
    pub(crate) store: Store,
    pub(crate) workers: Vec<Worker>,
    /// None: this gateway lets in what comes to its published ports, and nothing else.
    pub(crate) doors: Option<Arc<Doors>>,
    pub(crate) report: Report,
    /// One switch at a time: what is persisted is what is in force.
    pub(crate) switching: Mutex<()>,
    /// What happens to who calls.
    pub(crate) calls: watch::Sender<Calls>,
    pub(crate) legacy: Legacy,
    /// Becomes true when nothing is under way in the program before this one.
    pub(crate) alone: watch::Receiver<bool>,
}

impl Operations for GatewayOperations {
    async fn perform(&self, op: Op) -> Result<Value, Fault> {
        match op {
            Op::Hello => content(&self.hello()),
            Op::Apply { config } => content(&self.apply(config).await?),
            Op::Drain {
                target,
                deadline_ms,
            } => content(
                &self
                    .drain(&target, Duration::from_millis(deadline_ms))
                    .await,
            ),
            Op::Stats => content(&self.stats()),
            Op::Probe {
                target,
                port,
                http,
                deadline_ms,
            } => {
                let deadline = Duration::from_millis(deadline_ms);
                content(&probe(&self.names, &target, port, http.as_deref(), deadline).await?)
            }
            Op::Upgrade {
                program,
                deadline_ms,
            } => {
                let deadline = Duration::from_millis(deadline_ms);
                content(&self.upgrade(program, deadline).await?)
            }
            // The connection knows its requests; see `server`.
            Op::Cancel { .. } => Err(Fault::internal("`cancel` came too far")),
        }
    }
}

impl GatewayOperations {
    fn hello(&self) -> Hello {
        let (lock, generation) = self.table.age();
        Hello {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            lock,
            generation,
            listens: self.listens.clone(),
            program: self.legacy.program(),
        }
    }

    /// Persist, switch, close what rests; then answer.
    async fn apply(&self, config: Config) -> Result<Applied, Fault> {
        validate(&config)?;
        let _switching = self.switching.lock().await;
        if self.legacy.is_left() {
            return Err(Fault::internal("another program serves by now"));
        }
        let current = self.table.config();
        let (lock, generation) = (config.lock, config.generation);
        if current != config {
            if (lock, generation) <= (current.lock, current.generation) {
                return Err(Fault::new(
                    FaultKind::Stale,
                    format!(
                        "generation {} of lock {} is in force",
                        current.generation, current.lock
                    ),
                ));
            }
            if let Some(doors) = &self.doors {
                let opened = doors.open(&config, &self.workers);
                opened.map_err(|error| Fault::internal(causes(&error)))?;
            }
            let (store, saved) = (self.store.clone(), config.clone());
            tokio::task::spawn_blocking(move || store.save(&saved))
                .await
                .map_err(|error| Fault::internal(error.to_string()))??;
            let removed = self.table.replace(config);
            if let Some(doors) = &self.doors {
                doors.close(&self.table.config(), &self.workers);
            }
            let keys: Arc<[u64]> = removed.iter().map(|target| target.key).collect();
            if !keys.is_empty() {
                join_all(
                    self.workers
                        .iter()
                        .map(|worker| worker.purge(Arc::clone(&keys))),
                )
                .await;
            }
            (self.report)(Event::Applied { lock, generation });
        }
        let draining = self.table.draining();
        Ok(Applied {
            generation,
            draining: draining
                .iter()
                .map(|target| Draining {
                    target: target.id.clone(),
                    in_flight: target.in_flight(),
                })
                .collect(),
        })
    }

    /// Starts the program, lets it take over, and lets go.
    async fn upgrade(&self, program: String, deadline: Duration) -> Result<Upgraded, Fault> {
        let _switching = self.switching.lock().await;
        if self.legacy.program().as_deref() == Some(program.as_str()) {
            return Ok(Upgraded { cut: 0 });
        }
        // The statistics and the calls are the successor's as soon as it serves.
        self.calls.send_replace(Calls::Waiting);
        if let Err(error) = self.legacy.leave_to(&program).await {
            self.calls.send_replace(Calls::Answered);
            let reason = causes(&error);
            (self.report)(Event::NoSuccessor { program, reason });
            return Err(Fault::internal(causes(&error)));
        }
        self.calls.send_replace(Calls::Over);
        (self.report)(Event::MadeWay {
            program: program.clone(),
        });
        let cut = self.let_go(deadline).await;
        // Not before: a program that has not lasted so long is none to begin with.
        if let Err(error) = self.legacy.settle(&program).await {
            let reason = causes(&error);
            (self.report)(Event::NoSuccessor { program, reason });
        }
        self.legacy.done();
        Ok(Upgraded { cut })
    }

    /// Lets what is under way end; what is left at the deadline is counted, and ended.
    async fn let_go(&self, deadline: Duration) -> u64 {
        let enter = |phase| {
            for worker in &self.workers {
                worker.enter(phase);
            }
        };
        let begun = Instant::now();
        enter(Phase::Leaving);
        let ended = join_all(self.workers.iter().map(Worker::ended));
        tokio::pin!(ended);
        let patience = LAST_REQUEST.min(deadline);
        if timeout(patience, &mut ended).await.is_ok() {
            return 0;
        }
        enter(Phase::Stopping);
        let left = deadline.saturating_sub(begun.elapsed());
        if timeout(left, &mut ended).await.is_ok() {
            return 0;
        }
        let mut targets = self.table.targets();
        targets.extend(self.table.draining());
        let cut = targets.iter().map(|target| target.in_flight()).sum();
        for target in targets {
            target.cut();
        }
        let _ = timeout(LAST_WORDS, ended).await;
        cut
    }

    async fn drain(&self, target: &str, deadline: Duration) -> Drained {
        let begun = Instant::now();
        let mut alone = self.alone.clone();
        // What goes on in the program before this one may be for this target too.
        let alone = timeout(deadline, alone.wait_for(|alone| *alone))
            .await
            .is_ok();
        let deadline = deadline.saturating_sub(begun.elapsed());
        let targets = self.table.find(target);
        let left = join_all(targets.iter().map(|target| drained(target, deadline))).await;
        Drained {
            in_flight: left.iter().sum::<u64>() + u64::from(!alone),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let (lock, generation) = self.table.age();
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Stats {
            name: self.name.clone(),
            at_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            generation,
            lock,
            program: self.legacy.program(),
            refused: self.legacy.refused(),
            services: self.table.stats(),
        }
    }
}

/// Waits until nothing is in flight; what is left at the deadline is counted, and ended
/// here, where each protocol has words for it. Its container would only break it off.
async fn drained(target: &Target, deadline: Duration) -> u64 {
    let left = target.drained(deadline).await;
    if left > 0 && target.is_removed() {
        target.cut();
        target.drained(LAST_WORDS).await;
    }
    left
}

/// An error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", causes(source)),
        None => error.to_string(),
    }
}

/// No data plane: it only looks whether replicas answer, in a network that
/// has no gateway.
pub(crate) struct ProberOperations {
    pub(crate) name: String,
    pub(crate) names: Arc<Names>,
}

impl Operations for ProberOperations {
    async fn perform(&self, op: Op) -> Result<Value, Fault> {
        match op {
            Op::Hello => content(&Hello {
                name: self.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                protocol: PROTOCOL,
                lock: 0,
                generation: 0,
                listens: Vec::new(),
                program: None,
            }),
            Op::Probe {
                target,
                port,
                http,
                deadline_ms,
            } => {
                let deadline = Duration::from_millis(deadline_ms);
                content(&probe(&self.names, &target, port, http.as_deref(), deadline).await?)
            }
            Op::Apply { .. }
            | Op::Drain { .. }
            | Op::Stats
            | Op::Cancel { .. }
            | Op::Upgrade { .. } => Err(Fault::new(
                FaultKind::Unsupported,
                "a prober has no data plane",
            )),
        }
    }
}
