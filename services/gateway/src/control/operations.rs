//! What a running gateway, and a prober, do when asked.
//!
//! Test: `tests/gateway/control.rs`, `tests/gateway/switch.rs`.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::Mutex;

use super::probe::probe;
use super::server::Operations;
use super::server::content;
use crate::plane::doors::Doors;
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
use crate::report::Event;
use crate::report::Report;
use crate::routing::snapshot::validate;
use crate::routing::table::Table;
use crate::routing::target::Target;
use crate::store::Store;
use crate::upstream::resolve::Names;

/// What is ended at a drain deadline has gone within this time.
const LAST_WORDS: Duration = Duration::from_millis(500);

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
        }
    }

    /// Persist, switch, close what rests; then answer.
    async fn apply(&self, config: Config) -> Result<Applied, Fault> {
        validate(&config)?;
        let _switching = self.switching.lock().await;
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

    async fn drain(&self, target: &str, deadline: Duration) -> Drained {
        let targets = self.table.find(target);
        let left = join_all(targets.iter().map(|target| drained(target, deadline))).await;
        Drained {
            in_flight: left.iter().sum(),
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
            Op::Apply { .. } | Op::Drain { .. } | Op::Stats | Op::Cancel { .. } => Err(Fault::new(
                FaultKind::Unsupported,
                "a prober has no data plane",
            )),
        }
    }
}
