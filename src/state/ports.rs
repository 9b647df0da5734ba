//! Host ports as `ip:port/protocol`, and when two of them clash.

/// A host port: address (`None` for all), port, protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    ip: Option<String>,
    port: u16,
    protocol: String,
}

impl Bound {
    /// A port that is to be bound; an empty address means all.
    pub fn new(ip: &str, port: u16, protocol: &str) -> Self {
        let all = matches!(ip, "" | "*" | "0.0.0.0" | "::" | "[::]");
        let bare = ip.trim_start_matches('[').trim_end_matches(']');
        Self {
            ip: (!all).then(|| bare.to_owned()),
            port,
            protocol: protocol.to_owned(),
        }
    }

    /// Reads `ip:port/protocol`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (ip, port) = address.rsplit_once(':')?;
        Some(Self::new(ip, port.parse().ok()?, protocol))
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.port
    }

    /// Whether both cannot be bound at once.
    pub fn clashes(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip.is_none() || other.ip.is_none() || self.ip == other.ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_clash_by_number_protocol_and_address() {
        let clash = |a: &str, b: &str| {
            let (a, b) = (Bound::parse(a), Bound::parse(b));
            a.zip(b).map(|(a, b)| a.clashes(&b))
        };
        assert_eq!(clash("0.0.0.0:80/tcp", "127.0.0.1:80/tcp"), Some(true));
        assert_eq!(clash("[::]:80/tcp", "127.0.0.1:80/tcp"), Some(true));
        assert_eq!(clash("*:80/tcp", "*:80/udp"), Some(false));
        assert_eq!(clash("127.0.0.1:80/tcp", "127.0.0.2:80/tcp"), Some(false));
        assert_eq!(clash("[::1]:80/tcp", "::1:80/tcp"), Some(true));
        assert_eq!(clash("80", "*:80/tcp"), None);
    }
}
