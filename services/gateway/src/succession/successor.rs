//! The process that takes a gateway's place, and those after it.
//!
//! All of them are one process group, which the first process of the container minds:
//! it passes signals on, and ends when the last of them has. One that has handed over and
//! ends leaves its successor to the first process, as the system does with orphans.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;
use rustix::process::WaitStatus;
use rustix::process::getpgrp;
use rustix::process::getpid;
use rustix::process::kill_process_group;
use rustix::process::set_child_subreaper;
use rustix::process::waitpgid;
use rustix::process::waitpid;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::watch;

use super::Succession;
use super::channel::Channel;
use super::channel::Message;
use super::estate::Estate;
use super::programs::Programs;
use crate::error::Error;

/// A successor that does not serve within this time never will.
const PATIENCE: Duration = Duration::from_secs(10);
const STACK: usize = 64 * 1024;

/// Where a program is that may be started.
pub(crate) fn find(succession: &Succession, program: &str) -> io::Result<std::path::PathBuf> {
    Programs::new(succession.folder.clone()).whole(program)
}

/// Becomes the program that has taken this one's place, where there is one. Comes back
/// where there is none, and with its name and an error where it cannot be started: then
/// this one is better than none.
pub(crate) fn step_aside(succession: &Succession) -> Option<(String, io::Error)> {
    let programs = Programs::new(succession.folder.clone());
    // One that was told what it follows has been chosen already.
    if succession.base.is_some() || succession.take_over {
        return None;
    }
    let name = programs.after(&succession.program)?;
    let error = match programs.whole(&name) {
        Ok(path) => Command::new(path)
            .args(succession.next_arguments(false))
            .exec(),
        Err(error) => error,
    };
    Some((name, error))
}

/// What the process that started this one hands over.
pub(crate) fn take_over() -> Result<(Estate, Heir), Error> {
    let take = || {
        let channel = Channel::inherited(PATIENCE)?;
        Ok((Estate::receive(&channel)?, Heir(channel)))
    };
    take().map_err(Error::system("taking over"))
}

/// A successor that has yet to say that it serves.
pub(crate) struct Heir(Channel);

impl Heir {
    /// Says it: from then on the other accepts no more. Becomes alone when nothing is under
    /// way in the other any more.
    pub(crate) fn serves(self, alone: watch::Sender<bool>) -> Result<(), Error> {
        let channel = self.0;
        channel
            .send(&Message::Serving, None)
            .map_err(Error::system("taking over"))?;
        let listening = thread::Builder::new()
            .name("predecessor".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                channel.wait_for_end();
                alone.send_replace(true);
            });
        listening
            .map(drop)
            .map_err(Error::system("starting a thread"))
    }
}

/// The processes that have taken this one's place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Successors {
    group: Pid,
    /// The one that this process has started.
    child: Pid,
    /// This process is the first: what becomes of all of them is its own.
    is_first: bool,
}

impl Successors {
    /// Starts a program, hands the estate over, and waits until it serves.
    pub(crate) fn start(
        succession: &Succession,
        path: &Path,
        estate: &Estate,
    ) -> io::Result<(Self, Channel)> {
        let (channel, theirs) = Channel::pair(PATIENCE)?;
        let mut command = Command::new(path);
        command.args(succession.next_arguments(true)).stdin(theirs);
        if !succession.take_over {
            // Their own group, so that a signal to it is not one to this process too.
            command.process_group(0);
            set_child_subreaper(Some(getpid()))?;
        }
        let mut child = command.spawn()?;
        // Its end of the channel is its own from here on: when it ends, that is heard.
        drop(command);
        match hand_over(&channel, estate) {
            Ok(()) => {
                let pid = Pid::from_child(&child);
                let successors = Self {
                    group: if succession.take_over { getpgrp() } else { pid },
                    child: pid,
                    is_first: !succession.take_over,
                };
                Ok((successors, channel))
            }
            Err(error) => {
                let _ = child.kill();
                match child.wait()?.code() {
                    Some(code) => Err(io::Error::other(format!(
                        "it ended with exit code {code} before it served"
                    ))),
                    None => Err(error),
                }
            }
        }
    }

    /// Records that a program serves from now on.
    pub(crate) fn settle(succession: &Succession, program: &str) -> io::Result<()> {
        Programs::new(succession.folder.clone()).settle(succession.first(), program)
    }

    /// Asks all of them to end.
    pub(crate) fn ask_to_end(self) {
        // Those that have ended need not be asked.
        let _ = kill_process_group(self.group, Signal::TERM);
    }

    /// Waits until the last one has ended, or where this process is not the first, the one
    /// that it has started; an error unless that ended well.
    pub(crate) async fn ended(self) -> Result<(), Error> {
        let mut deaths =
            signal(SignalKind::child()).map_err(Error::system("listening to signals"))?;
        let mut last = None;
        loop {
            let ended = if self.is_first {
                waitpgid(self.group, WaitOptions::NOHANG)
            } else {
                waitpid(Some(self.child), WaitOptions::NOHANG)
            };
            match ended {
                Ok(Some((_, status))) => last = Some(status),
                Ok(None) => {
                    deaths.recv().await;
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        match last.and_then(WaitStatus::exit_status) {
            Some(0) => Ok(()),
            _ => Err(Error::System {
                what: "the program that took over",
                source: io::Error::other(last.map_or_else(
                    || "it ended unseen".to_owned(),
                    |status| format!("it ended with {status:?}"),
                )),
            }),
        }
    }
}

fn hand_over(channel: &Channel, estate: &Estate) -> io::Result<()> {
    estate.send(channel)?;
    loop {
        match channel.receive()? {
            Some((Message::Serving, _)) => return Ok(()),
            Some(_) => {}
            None => return Err(io::Error::other("it ended before it served")),
        }
    }
}
