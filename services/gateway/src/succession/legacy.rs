//! What a running gateway knows of its succession.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::watch;

use super::Succession;
use super::channel::Channel;
use super::estate::Held;
use super::successor::Successors;
use super::successor::find;
use crate::error::Error;

/// How far it is.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Serving,
    /// Others serve, and something is under way here.
    Leaving(Successors),
    /// Nothing is under way here any more.
    Done(Successors),
}

/// What becomes of a gateway.
pub(crate) struct Legacy {
    /// None: it cannot make way.
    succession: Option<Succession>,
    held: Held,
    stage: Arc<watch::Sender<Stage>>,
    /// The way to the successor: open for as long as something is under way here.
    link: Arc<Mutex<Option<Channel>>>,
    /// The program that could not take over.
    refused: Mutex<Option<String>>,
}

impl Legacy {
    pub(crate) fn new(succession: Option<Succession>, held: Held) -> Self {
        Self {
            succession,
            held,
            stage: Arc::new(watch::Sender::new(Stage::Serving)),
            link: Arc::default(),
            refused: Mutex::default(),
        }
    }

    /// The program that runs; none: it cannot make way for another.
    pub(crate) fn program(&self) -> Option<String> {
        Some(self.succession.as_ref()?.program.clone())
    }

    /// The program that could not take over.
    pub(crate) fn refused(&self) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }

    pub(crate) fn held(&self) -> Held {
        self.held.clone()
    }

    /// Whether another program serves.
    pub(crate) fn is_left(&self) -> bool {
        self.successors().is_some()
    }

    pub(crate) fn successors(&self) -> Option<Successors> {
        match *self.stage.borrow() {
            Stage::Serving => None,
            Stage::Leaving(successors) | Stage::Done(successors) => Some(successors),
        }
    }

    /// Starts another program and leaves the estate to it. On an error nothing has
    /// changed.
    pub(crate) async fn leave_to(&self, program: &str) -> io::Result<()> {
        let left = self.try_to_leave(program).await;
        let refused = left.is_err().then(|| program.to_owned());
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        left
    }

    async fn try_to_leave(&self, program: &str) -> io::Result<()> {
        if self.is_left() {
            return Err(io::Error::other("another program serves by now"));
        }
        let succession = self.succession.clone();
        let succession =
            succession.ok_or_else(|| io::Error::other("this gateway has no store of programs"))?;
        let (held, program) = (self.held.clone(), program.to_owned());
        let (stage, link) = (Arc::clone(&self.stage), Arc::clone(&self.link));
        blocking(move || {
            let path = find(&succession, &program)?;
            let mut locked = held.lock();
            let estate = locked.as_ref();
            let estate = estate.ok_or_else(|| io::Error::other("the gateway ends"))?;
            let (successors, channel) = Successors::start(&succession, &path, estate)?;
            // Whoever waits for the estate, to end, knows of them by then.
            *link.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
            stage.send_replace(Stage::Leaving(successors));
            drop(locked.take());
            Ok(())
        })
        .await
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
        drop(
            self.link
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        if let Some(successors) = self.successors() {
            self.stage.send_replace(Stage::Done(successors));
        }
    }

    /// Waits until another program serves, and nothing is under way here.
    pub(crate) async fn is_done(&self) {
        let is_done = |stage: &Stage| matches!(stage, Stage::Done(_));
        // The sender is here.
        let _ = self.stage.subscribe().wait_for(is_done).await;
    }

    /// Waits until another program serves, and then for its end: nobody serves from then on.
    pub(crate) async fn is_lost(&self) -> Result<(), Error> {
        let is_left = |stage: &Stage| !matches!(stage, Stage::Serving);
        let _ = self.stage.subscribe().wait_for(is_left).await;
        match self.successors() {
            Some(successors) => successors.ended().await,
            None => Ok(()),
        }
    }

    /// Accepts no more; waits for a program that is about to take over.
    pub(crate) async fn release(&self) {
        let held = self.held.clone();
        // A thread that cannot be had is one that holds nothing.
        let _ = tokio::task::spawn_blocking(move || held.release()).await;
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).flatten()
}
