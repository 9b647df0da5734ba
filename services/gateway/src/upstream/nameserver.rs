//! Whether the name server is there at all.
//!
//! A failed look-up says the same for a name that nobody knows and for a server that
//! is gone, and the difference matters: a container that was removed is not to be found
//! at its old address, one whose engine died is. A datagram to a closed port comes back.
//! Test: here.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const DNS: u16 = 53;
/// A refusal comes at once; who says nothing may be busy.
const PATIENCE: Duration = Duration::from_millis(100);
/// A query (RFC 1035, section 4.1) for the root's name servers.
const QUERY: [u8; 17] = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

/// True only where the first name server of this system refuses to be asked.
pub(super) async fn is_gone() -> bool {
    let Ok(text) = tokio::fs::read_to_string(RESOLV_CONF).await else {
        return false;
    };
    match first(&text) {
        Some(server) => refuses(SocketAddr::new(server, DNS)).await,
        None => false,
    }
}

fn first(resolv_conf: &str) -> Option<IpAddr> {
    let mut lines = resolv_conf.lines();
    lines.find_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok())
}

async fn refuses(server: SocketAddr) -> bool {
    let ask = async {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(server).await?;
        socket.send(&QUERY).await?;
        let mut answer = [0; 512];
        socket.recv(&mut answer).await
    };
    matches!(
        timeout(PATIENCE, ask).await,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_server_counts() {
        let text = "# made by the engine\nsearch lan\nnameserver 127.0.0.11\nnameserver 10.0.0.1\n";
        assert_eq!(first(text), Some([127, 0, 0, 11].into()));
        assert_eq!(first("options ndots:0\n"), None);
    }

    #[tokio::test]
    async fn only_a_closed_port_is_gone() {
        let open = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = open.local_addr().expect("bound");
        assert!(!refuses(address).await, "it is only slow");
        drop(open);
        assert!(refuses(address).await);
    }
}
