//! Whether a port of the host is free, seen from this process.
//!
//! Only where this host is the engine's: a bind here says nothing about a remote
//! engine, nor does one inside a container that was given the engine's socket.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// Whether this process runs on the host of that name, and not in a container there.
pub(super) fn is_this_host(name: &str) -> bool {
    std::fs::read_to_string("/proc/sys/kernel/hostname").is_ok_and(|here| here.trim() == name)
}

/// Those of the ports, as `ip:port/tcp`, that something listens on.
pub(super) fn busy(ports: &BTreeSet<String>) -> BTreeSet<String> {
    ports.iter().filter(|text| is_busy(text)).cloned().collect()
}

fn is_busy(text: &str) -> bool {
    let Some(address) = address(text) else {
        return false;
    };
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let Ok(socket) = socket else {
        return false;
    };
    // Bound and never listening, so no client can connect to it; with the option, ports
    // of connections that have ended do not count.
    let _ = socket.set_reuseaddr(true);
    matches!(socket.bind(address), Err(error) if error.kind() == ErrorKind::AddrInUse)
}

fn address(text: &str) -> Option<SocketAddr> {
    let (host, protocol) = text.split_once('/')?;
    let (ip, port) = host.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let ip = match ip.trim_start_matches('[').trim_end_matches(']') {
        "" | "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        other => other.parse().ok()?,
    };
    (protocol == "tcp").then(|| SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_is_busy_while_somebody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: BTreeSet<String> =
            [format!("127.0.0.1:{port}/tcp"), format!("*:{port}/tcp")].into();
        assert_eq!(busy(&asked), asked);
        drop(listener);
        assert_eq!(busy(&asked), BTreeSet::new());
    }

    #[test]
    fn what_is_no_tcp_port_is_not_looked_at() {
        assert_eq!(address("127.0.0.1:53/udp"), None);
        assert_eq!(address("*:http/tcp"), None);
        assert_eq!(
            address("[::1]:80/tcp"),
            Some(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 80)))
        );
    }
}
