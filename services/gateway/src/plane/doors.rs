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
use std::net::TcpListener;
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
use crate::succession::estate::Held;
use crate::succession::estate::clones;
use crate::upstream::resolve::Names;

/// How long the own name in a network may take to be known, after the network is joined.
const LEARN: Duration = Duration::from_secs(2);
/// Between two questions for it.
const BETWEEN: Duration = Duration::from_millis(20);

/// The doors of one gateway.
pub(crate) struct Doors {
    table: Arc<Table>,
    names: Arc<Names>,
    /// The sockets of ports that are open, among others.
    held: Held,
    /// Own addresses, each with the name of its network's listeners.
    own: Mutex<BTreeMap<IpAddr, String>>,
}

impl Doors {
    pub(crate) fn new(table: Arc<Table>, names: Arc<Names>, held: Held) -> Self {
        Self {
            table,
            names,
            held,
            own: Mutex::default(),
        }
    }

    /// Opens the ports that a configuration names and that are not open yet: before it
    /// comes into force, so that one that cannot be had changes nothing.
    pub(crate) fn open(&self, config: &Config, workers: &[Worker]) -> Result<(), Error> {
        for (port, sockets) in self.bind(config, workers.len())? {
            admit(workers, port, sockets);
        }
        Ok(())
    }

    /// The same without letting anybody in: at a start, before everything else is there.
    pub(crate) fn bind(
        &self,
        config: &Config,
        threads: usize,
    ) -> Result<Vec<(u16, Vec<TcpListener>)>, Error> {
        let mut held = self.held.lock();
        let Some(estate) = held.as_mut() else {
            return Ok(Vec::new());
        };
        let mut opened = Vec::new();
        let mut new = BTreeMap::new();
        for port in ports(config) {
            if estate.doors.contains_key(&port) {
                continue;
            }
            let id = "between services".to_owned();
            let address = None;
            let sockets = bind(&ListenSpec { id, address, port }, threads)?;
            let own = clones(&sockets).map_err(Error::system("opening a door"))?;
            opened.push((port, own));
            new.insert(port, sockets);
        }
        // All or none: one that is held and not admitted from would let clients hang.
        estate.doors.append(&mut new);
        Ok(opened)
    }

    /// Lets in what comes to the ports that are open.
    pub(crate) fn resume(&self, workers: &[Worker]) -> Result<(), Error> {
        let held = self.held.lock();
        let doors = held.iter().flat_map(|estate| &estate.doors);
        for (port, sockets) in doors {
            let sockets = clones(sockets).map_err(Error::system("opening a door"))?;
            admit(workers, *port, sockets);
        }
        Ok(())
    }

    /// Closes the ports that the configuration in force does not name.
    pub(crate) fn close(&self, config: &Config, workers: &[Worker]) {
        let wanted = ports(config);
        let mut held = self.held.lock();
        let Some(estate) = held.as_mut() else {
            return;
        };
        estate.doors.retain(|port, _| {
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

/// Each thread admits from its own socket.
fn admit(workers: &[Worker], port: u16, sockets: Vec<TcpListener>) {
    for (worker, socket) in workers.iter().zip(sockets) {
        worker.open(port, socket);
    }
}

/// Ports of the listeners that belong to a network.
fn ports(config: &Config) -> BTreeSet<u16> {
    let doors = config.listeners.iter().filter(|one| one.bind.is_some());
    doors.filter_map(|one| one.port).collect()
}
