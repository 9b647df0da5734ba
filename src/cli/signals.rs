//! Ctrl-C and SIGTERM.

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::exit::Exit;

/// The signals that ask a command to stop.
pub(super) struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    /// The last one that came.
    pub(super) last: Option<Exit>,
}

impl Signals {
    /// Listens from now on; from now on neither ends the process by itself.
    pub(super) fn new() -> Self {
        Self {
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
            last: None,
        }
    }

    /// The next one, as the exit code it asks for.
    pub(super) async fn next(&mut self) -> Exit {
        let exit = tokio::select! {
            () = came(&mut self.interrupt) => Exit::Interrupted,
            () = came(&mut self.terminate) => Exit::Terminated,
        };
        self.last = Some(exit);
        exit
    }
}

async fn came(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}
