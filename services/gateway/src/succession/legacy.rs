//! What a running gateway knows of its succession.

use std::io;
use std::sync::OnceLock;

use tokio::sync::watch;

use super::Succession;
use super::estate::Held;
use super::successor::Successors;
use super::successor::find;

/// What becomes of a gateway.
pub(crate) struct Legacy {
    /// None: it cannot make way.
    succession: Option<Succession>,
    held: Held,
    successors: OnceLock<Successors>,
    done: watch::Sender<bool>,
}

impl Legacy {
    pub(crate) fn new(succession: Option<Succession>, held: Held) -> Self {
        Self {
            succession,
            held,
            successors: OnceLock::new(),
            done: watch::Sender::new(false),
        }
    }

    /// The program that runs; none: it cannot make way for another.
    pub(crate) fn program(&self) -> Option<String> {
        Some(self.succession.as_ref()?.program.clone())
    }

    /// Whether another program serves.
    pub(crate) fn is_left(&self) -> bool {
        self.successors.get().is_some()
    }

    pub(crate) fn successors(&self) -> Option<Successors> {
        self.successors.get().copied()
    }

    /// Starts another program and leaves the estate to it. On an error nothing has
    /// changed.
    pub(crate) async fn leave_to(&self, program: &str) -> io::Result<()> {
        if self.is_left() {
            return Err(io::Error::other("another program serves by now"));
        }
        let succession = self.succession.clone();
        let succession =
            succession.ok_or_else(|| io::Error::other("this gateway has no store of programs"))?;
        let (held, program) = (self.held.clone(), program.to_owned());
        let started = blocking(move || {
            let path = find(&succession, &program)?;
            let estate = held.lock();
            let estate = estate.as_ref();
            let estate = estate.ok_or_else(|| io::Error::other("the gateway ends"))?;
            Successors::start(&succession, &path, estate)
        });
        let successors = started.await?;
        let _ = self.successors.set(successors);
        self.held.release();
        Ok(())
    }

    /// Records which program the container starts with from now on.
    pub(crate) async fn settle(&self, program: &str) -> io::Result<()> {
        let Some(succession) = self.succession.clone() else {
            return Ok(());
        };
        let program = program.to_owned();
        blocking(move || Successors::settle(&succession, &program)).await
    }

    /// Nothing is under way here any more.
    pub(crate) fn done(&self) {
        self.done.send_replace(true);
    }

    /// Waits until another program serves, and nothing is under way here.
    pub(crate) async fn is_done(&self) {
        // The sender is here.
        let _ = self.done.subscribe().wait_for(|done| *done).await;
    }

    /// Accepts no more.
    pub(crate) fn release(&self) {
        self.held.release();
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).flatten()
}
