//! Two processes that only last: `keep` keeps a volume in use, `lock` holds a
//! stack's lock for as long as its holder is there.
//!
//! Test: `tests/gateway/lock.rs`.

use std::io::Write;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::control::stdin::Stdin;
use crate::error::Error;
use crate::signal::Signals;

/// Sleeps until SIGTERM or SIGINT.
pub async fn keep() -> Result<(), Error> {
    Signals::listen()?.next().await;
    Ok(())
}

/// What `lock` needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOptions {
    /// A holder that sends nothing for this long is gone, or stopped.
    pub silence: Duration,
}

impl Default for LockOptions {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(15),
        }
    }
}

/// Ends when standard input does, or is silent for too long, or at a signal.
/// Each is the lock's normal end. Gives back what it gets: a holder that hears nothing
/// may have been cut off.
pub async fn lock(options: LockOptions) -> Result<(), Error> {
    let mut signals = Signals::listen()?;
    let stdin = Stdin::open().map_err(Error::system("reading standard input"))?;
    tokio::select! {
        () = lock_on(stdin, std::io::stdout(), &options) => {}
        () = signals.next() => {}
    }
    Ok(())
}

/// The same on any input and output.
pub async fn lock_on(
    mut input: impl AsyncRead + Unpin,
    mut output: impl Write,
    options: &LockOptions,
) {
    let mut buffer = [0; 256];
    while let Ok(Ok(count @ 1..)) = timeout(options.silence, input.read(&mut buffer)).await {
        let echo = buffer.get(..count).unwrap_or_default();
        if output
            .write_all(echo)
            .and_then(|()| output.flush())
            .is_err()
        {
            return;
        }
    }
}
