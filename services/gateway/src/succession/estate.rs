//! What a gateway holds for its whole life, and hands over at its end: its sockets.
//!
//! Threads listen on clones of them, so that they can be handed over without asking a
//! thread. Whoever stops to accept lets go of these too: a connection that the kernel
//! takes in for a socket nobody accepts from is lost.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use super::channel::Channel;
use super::channel::Message;

/// The sockets of a gateway.
pub(crate) struct Estate {
    /// Threads of the data plane.
    pub(crate) threads: usize,
    /// By id of the listener: one for each thread.
    pub(crate) listens: Vec<(String, Vec<TcpListener>)>,
    /// By port: one for each thread.
    pub(crate) doors: BTreeMap<u16, Vec<TcpListener>>,
    /// Where shopctl calls.
    pub(crate) control: UnixListener,
}

impl Estate {
    pub(super) fn send(&self, channel: &Channel) -> io::Result<()> {
        let threads = self.threads;
        channel.send(&Message::Threads { threads }, None)?;
        for (id, sockets) in &self.listens {
            let message = Message::Listen { id: id.clone() };
            for socket in sockets {
                channel.send(&message, Some(socket.as_fd()))?;
            }
        }
        for (port, sockets) in &self.doors {
            for socket in sockets {
                channel.send(&Message::Door { port: *port }, Some(socket.as_fd()))?;
            }
        }
        channel.send(&Message::Control, Some(self.control.as_fd()))?;
        channel.send(&Message::All, None)
    }

    pub(super) fn receive(channel: &Channel) -> io::Result<Self> {
        let mut listens: Vec<(String, Vec<TcpListener>)> = Vec::new();
        let mut doors: BTreeMap<u16, Vec<TcpListener>> = BTreeMap::new();
        let mut control = None;
        let mut threads = 1;
        while let Some((message, socket)) = channel.receive()? {
            let socket = || socket.ok_or_else(|| io::Error::other("a message without its socket"));
            match message {
                Message::Threads { threads: found } => threads = found,
                Message::Listen { id } => {
                    let socket = TcpListener::from(socket()?);
                    match listens.iter_mut().find(|(known, _)| *known == id) {
                        Some((_, sockets)) => sockets.push(socket),
                        None => listens.push((id, vec![socket])),
                    }
                }
                Message::Door { port } => {
                    let socket = TcpListener::from(socket()?);
                    doors.entry(port).or_default().push(socket);
                }
                Message::Control => control = Some(socket()?),
                Message::All => {
                    let control: OwnedFd =
                        control.ok_or_else(|| io::Error::other("no control socket"))?;
                    return Ok(Self {
                        threads,
                        listens,
                        doors,
                        control: control.into(),
                    });
                }
                Message::Serving | Message::Unknown => {}
            }
        }
        Err(io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

/// Clones of sockets, for threads to listen on.
pub(crate) fn clones(sockets: &[TcpListener]) -> io::Result<Vec<TcpListener>> {
    sockets.iter().map(TcpListener::try_clone).collect()
}

/// The estate while the gateway accepts; none from then on.
#[derive(Clone)]
pub(crate) struct Held(Arc<Mutex<Option<Estate>>>);

impl Held {
    pub(crate) fn new(estate: Estate) -> Self {
        Self(Arc::new(Mutex::new(Some(estate))))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Estate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of it.
    pub(crate) fn release(&self) {
        drop(self.lock().take());
    }
}
