//! Doors between services: ports on which requests come from inside the stack's networks.
//!
//! A door has one socket per thread and port for all networks, open before a network is
//! joined: a name that leads here never leads to a closed port. What a connection may ask
//! for is decided by the address it came to: only that of the network of a listener lets
//! it in, and then only to that listener's routes. Everything else is closed before a byte
//! of it is read.
//!
//! Test: here, and `tests/gateway/doors.rs`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use super::listen::ListenSpec;
use super::listen::bind;
use super::worker::Worker;
use crate::error::Error;
use crate::protocol::Config;
use crate::routing::table::Table;
use crate::upstream::resolve::Names;

/// How long the own name in a network may take to be known, after the network is joined.
const LEARN: Duration = Duration::from_secs(2);
/// Between two questions for it.
const BETWEEN: Duration = Duration::from_millis(20);

/// The doors of one gateway.
pub(crate) struct Doors {
    table: Arc<Table>,
    names: Arc<Names>,
    /// Ports that are open.
    open: Mutex<BTreeSet<u16>>,
    /// Own addresses, each with the name of its network's listeners.
    own: Mutex<BTreeMap<IpAddr, String>>,
}

impl Doors {
    pub(crate) fn new(table: Arc<Table>, names: Arc<Names>) -> Self {
        Self {
            table,
            names,
            open: Mutex::default(),
            own: Mutex::default(),
        }
    }

    /// Opens the ports that a configuration names and that are not open yet: before it
    /// comes into force, so that one that cannot be had changes nothing.
    pub(crate) fn open(&self, config: &Config, workers: &[Worker]) -> Result<(), Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for port in ports(config) {
            if open.contains(&port) {
                continue;
            }
            let spec = ListenSpec {
                id: "between services".to_owned(),
                address: None,
                port,
            };
            for (worker, socket) in workers.iter().zip(bind(&spec, workers.len())?) {
                worker.open(port, socket);
            }
            open.insert(port);
        }
        Ok(())
    }

    /// Closes the ports that the configuration in force does not name.
    pub(crate) fn close(&self, config: &Config, workers: &[Worker]) {
        let wanted = ports(config);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|port| {
            let stays = wanted.contains(port);
            if !stays {
                for worker in workers {
                    worker.close(*port);
                }
            }
            stays
        });
    }

    /// The listener of the network that an own address belongs to.
    pub(crate) async fn listener(&self, at: SocketAddr) -> Option<String> {
        let ip = at.ip().to_canonical();
        let deadline = Instant::now() + LEARN;
        loop {
            if let Some(bind) = self.network_of(ip) {
                return self.table.door(&bind, at.port());
            }
            self.learn(at.port()).await;
            if self.network_of(ip).is_none() {
                if Instant::now() >= deadline {
                    return None;
                }
                // The name server learns of a new address about when packets reach it.
                sleep(BETWEEN).await;
            }
        }
    }

    fn network_of(&self, ip: IpAddr) -> Option<String> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.get(&ip).cloned()
    }

    /// Asks for the own addresses in the networks of a port. Others of this name are of
    /// the same network, so that to remember them does no harm.
    async fn learn(&self, port: u16) {
        for bind in self.table.binds(port) {
            // Not joined yet: there is nothing to learn.
            let Ok(found) = self.names.resolve(&bind).await else {
                continue;
            };
            let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            own.extend(found.iter().map(|ip| (ip.to_canonical(), bind.clone())));
        }
    }
}

/// Ports of the listeners that belong to a network.
fn ports(config: &Config) -> BTreeSet<u16> {
    let doors = config.listeners.iter().filter(|one| one.bind.is_some());
    doors.filter_map(|one| one.port).collect()
}
