//! SIGTERM and SIGINT. The first process of a container gets no default
//! handling of them: without this it would have to be killed.

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::error::Error;

/// The two signals that ask for an end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they no longer end the process.
    pub(crate) fn listen() -> Result<Self, Error> {
        let failed = Error::system;
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed("listening to signals"))?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed("listening to signals"))?,
        })
    }

    /// Waits for one of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
