//! Listening sockets: one per thread and port, between which the kernel spreads
//! new connections.
//!
//! Test: `tests/gateway/http.rs`.

use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::str::FromStr;

use socket2::Domain;
use socket2::Protocol;
use socket2::Socket;
use socket2::Type;

use crate::error::Error;
use crate::upstream::connect::keepalive;

const BACKLOG: i32 = 1024;

/// What to listen on, written `ID=PORT` or `ID=ADDRESS:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSpec {
    /// The published port's id, e.g. `127.0.0.1:8000/tcp`.
    pub id: String,
    /// The address to bind; none: all, of both families where there are two.
    pub address: Option<IpAddr>,
    /// The port to bind; 0: one that is free.
    pub port: u16,
}

impl FromStr for ListenSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Usage(format!("`{text}` is not ID=PORT or ID=ADDRESS:PORT"));
        let (id, at) = text.rsplit_once('=').ok_or_else(wrong)?;
        if id.is_empty() {
            return Err(wrong());
        }
        let (address, port) = match at.parse::<SocketAddr>() {
            Ok(at) => (Some(at.ip()), at.port()),
            Err(_) => (None, at.parse().map_err(|_| wrong())?),
        };
        Ok(Self {
            id: id.to_owned(),
            address,
            port,
        })
    }
}

/// One socket per thread. A port of 0 becomes the same free port for all.
pub(crate) fn bind(spec: &ListenSpec, threads: usize) -> Result<Vec<TcpListener>, Error> {
    let failed = |source| Error::Listen {
        id: spec.id.clone(),
        port: spec.port,
        source,
    };
    let first = bind_one(spec.address, spec.port).map_err(failed)?;
    let at = first.local_addr().map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..threads {
        // As the first one got it, be that of one family or of both.
        sockets.push(bind_one(Some(at.ip()), at.port()).map_err(failed)?);
    }
    Ok(sockets)
}

fn bind_one(address: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    match address {
        Some(address) => open(SocketAddr::new(address, port)),
        None => open((Ipv6Addr::UNSPECIFIED, port).into())
            .or_else(|_| open((Ipv4Addr::UNSPECIFIED, port).into())),
    }
}

fn open(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        // [::] takes IPv4 clients too.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Every accepted connection inherits these two.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn an_id_may_hold_anything_but_the_last_equals_sign() {
        let spec: ListenSpec = "127.0.0.1:8000/tcp=18000".parse().expect("a spec");
        assert_eq!(
            spec,
            ListenSpec {
                id: "127.0.0.1:8000/tcp".to_owned(),
                address: None,
                port: 18000
            }
        );
        let spec: ListenSpec = "x=[::1]:80".parse().expect("a spec");
        assert_eq!(spec.address, Some(IpAddr::from(Ipv6Addr::LOCALHOST)));
        for wrong in ["", "x", "=80", "x=", "x=70000", "x=localhost:80"] {
            assert!(wrong.parse::<ListenSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn unless_told_otherwise_it_listens_on_both_families() {
        let socket = bind_one(None, 0).expect("bound");
        let port = socket.local_addr().expect("an address").port();
        socket.set_nonblocking(false).expect("blocking");
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connected");
        let (accepted, peer) = socket.accept().expect("accepted");
        let client = client.local_addr().expect("an address");
        assert_eq!(peer.ip().to_canonical(), client.ip());
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().expect("read"));
        assert!(accepted.keepalive().expect("read"));
    }

    #[test]
    fn all_threads_share_one_port() {
        let spec: ListenSpec = "x=127.0.0.1:0".parse().expect("a spec");
        let sockets = bind(&spec, 3).expect("bound");
        let port = |socket: &TcpListener| socket.local_addr().expect("an address").port();
        assert!(
            sockets
                .iter()
                .all(|socket| port(socket) == port(&sockets[0]))
        );
    }
}
