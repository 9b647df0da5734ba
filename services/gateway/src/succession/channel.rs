//! Messages between a gateway and its successor, each with at most one socket: over the
//! successor's standard input, which is one end of a pair of sockets.

use std::io;
use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::AddressFamily;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::recvmsg;
use rustix::net::sendmsg;
use rustix::net::socketpair;
use rustix::net::sockopt::Timeout;
use rustix::net::sockopt::set_socket_timeout;
use serde::Deserialize;
use serde::Serialize;

/// Longer than any message: the id of a listener is the longest part of one.
const LONGEST: usize = 4096;

/// What is said. Messages are added, never changed: programs of different versions
/// understand each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Message {
    /// How many threads there are; each has a socket of every port.
    Threads { threads: usize },
    /// A socket of a listener, one for each thread.
    Listen { id: String },
    /// A socket of a door, one for each thread.
    Door { port: u16 },
    /// The socket on which shopctl calls.
    Control,
    /// There is nothing more to take.
    All,
    /// The successor serves.
    Serving,
    /// Something that a later version says.
    #[serde(other)]
    Unknown,
}

/// One end.
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// A gateway's end, and the one that becomes its successor's standard input.
    pub(super) fn pair(limit: Duration) -> io::Result<(Self, OwnedFd)> {
        let (one, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self::new(one, limit)?, other))
    }

    /// The successor's end.
    pub(super) fn inherited(limit: Duration) -> io::Result<Self> {
        Self::new(io::stdin().as_fd().try_clone_to_owned()?, limit)
    }

    /// Neither end waits for longer than the limit.
    fn new(socket: OwnedFd, limit: Duration) -> io::Result<Self> {
        set_socket_timeout(&socket, Timeout::Recv, Some(limit))?;
        set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
        Ok(Self(socket))
    }

    pub(super) fn send(&self, message: &Message, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let sockets: Vec<BorrowedFd<'_>> = socket.into_iter().collect();
        if !sockets.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::Error::other("no room for a socket"));
        }
        sendmsg(
            &self.0,
            &[IoSlice::new(&text)],
            &mut rights,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// Waits until the other end is closed, whatever it says before.
    pub(super) fn wait_for_end(&self) {
        loop {
            match self.receive() {
                Ok(Some(_)) => {}
                Err(error)
                    if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted]
                        .contains(&error.kind()) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// The next message; none when the other end is closed.
    pub(super) fn receive(&self) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
        let mut text = [0; LONGEST];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut text)],
            &mut rights,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let mut socket = None;
        for message in rights.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                socket = sockets.last();
            }
        }
        let text = text.get(..received.bytes).unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(text)?, socket)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_socket_goes_with_a_message_and_stays_the_same_one() {
        let (one, other) = Channel::pair(Duration::from_secs(5)).expect("a pair");
        let other = Channel::new(other, Duration::from_secs(5)).expect("an end");
        let socket = TcpListener::bind("127.0.0.1:0").expect("bound");
        let message = Message::Listen { id: "x".to_owned() };
        one.send(&message, Some(socket.as_fd())).expect("sent");
        one.send(&Message::All, None).expect("sent");
        drop(one);
        let (said, taken) = other.receive().expect("read").expect("a message");
        assert_eq!(said, message);
        let taken = TcpListener::from(taken.expect("a socket"));
        assert_eq!(taken.local_addr().ok(), socket.local_addr().ok());
        let last = other.receive().expect("read").expect("a message");
        assert_eq!((last.0, last.1.is_none()), (Message::All, true));
        assert!(other.receive().expect("read").is_none());
    }

    #[test]
    fn what_a_later_version_says_is_no_error() {
        let message: Message = serde_json::from_str(r#"{"is":"sung","by":3}"#).expect("read");
        assert_eq!(message, Message::Unknown);
    }
}
