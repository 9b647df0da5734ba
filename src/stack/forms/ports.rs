//! `ports`: one short entry may stand for several ports.

use std::net::IpAddr;

use crate::stack::canonical::Context;
use crate::stack::canonical::keep_last;
use crate::stack::canonical::object;
use crate::stack::keys::PORT;
use crate::stack::report::At;
use crate::stack::yaml::Node;
use crate::stack::yaml::Tag;
use crate::stack::yaml::Value;

/// The list in long form.
pub(crate) fn ports(node: &mut Node, at: &At<'_>, cx: &mut Context<'_>) {
    let Value::List(entries) = &mut node.value else {
        cx.wrong(node, at, "a list");
        return;
    };
    let mut all = Vec::with_capacity(entries.len());
    for (index, mut entry) in std::mem::take(entries).into_iter().enumerate() {
        let at = at.index(index);
        if entry.tag == Some(Tag::Reset) {
            continue;
        }
        let text = match &entry.value {
            Value::Map(_) => {
                object(&mut entry, &PORT, &at, cx);
                if entry.get("target").is_none() {
                    cx.report
                        .error(
                            "missing-key",
                            entry.span,
                            &at,
                            format!("{at} has no `target`"),
                        )
                        .hint("add `target: 8080`, the port in the container");
                }
                all.push(entry);
                continue;
            }
            Value::Text(text) => text.clone(),
            Value::Int(number) => number.to_string(),
            _ => {
                cx.wrong(&entry, &at, "text like \"8080:80\", a number, or a mapping");
                continue;
            }
        };
        match parse(&text) {
            Ok(short) => all.extend(short.into_iter().map(|port| port.node(&entry))),
            Err(_) if cx.raw && text.contains('$') => all.push(entry),
            Err(reason) => {
                cx.report
                    .error("port", entry.span, &at, format!("{at}: `{text}`: {reason}"))
                    .hint("write \"8080:80\", \"127.0.0.1:8080:80\" or \"8080:80/udp\"");
            }
        }
    }
    keep_last(&mut all, port_identity);
    node.value = Value::List(all);
}

/// The address of the long form.
pub(crate) fn finish_port(node: &mut Node, at: &At<'_>, cx: &mut Context<'_>) {
    let Some(address) = node.get("host_ip") else {
        return;
    };
    if let Some(text) = address.as_text()
        && text.parse::<IpAddr>().is_err()
        && !(cx.raw && text.contains('$'))
    {
        cx.invalid(address, &at.key("host_ip"), "an IP address", "127.0.0.1");
    }
}

/// Two entries for the same place are one: the later one.
pub(crate) fn port_identity(node: &Node) -> String {
    let scalar = |key: &str| node.get(key).and_then(Node::scalar_text);
    format!(
        "{}:{}:{}/{}",
        scalar("host_ip").unwrap_or_else(|| "0.0.0.0".to_owned()),
        scalar("published").unwrap_or_default(),
        scalar("target").unwrap_or_default(),
        scalar("protocol").unwrap_or_else(|| "tcp".to_owned()),
    )
}

#[derive(Debug, PartialEq, Eq)]
struct Short {
    host_ip: String,
    published: String,
    target: u16,
    protocol: String,
}

impl Short {
    fn node(self, entry: &Node) -> Node {
        let span = entry.span;
        let mut keys = vec![
            ("mode", Node::text("ingress", span)),
            ("target", Node::new(Value::Int(self.target.into()), span)),
            ("protocol", Node::text(self.protocol, span)),
        ];
        if !self.host_ip.is_empty() {
            keys.push(("host_ip", Node::text(self.host_ip, span)));
        }
        if !self.published.is_empty() {
            keys.push(("published", Node::text(self.published, span)));
        }
        Node::map(span, keys)
    }
}

/// `[[address:]host:]container[/protocol]`, where host and container may be
/// ranges.
fn parse(text: &str) -> Result<Vec<Short>, String> {
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let protocol = if protocol.is_empty() {
        "tcp".to_owned()
    } else {
        protocol
    };
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("`{protocol}` is none of tcp, udp, sctp"));
    }
    let (host, container) = match rest.rsplit_once(':') {
        Some((host, container)) => (host, container),
        None => ("", rest),
    };
    let (address, published) = match host.rsplit_once(':') {
        Some((address, published)) => (address, published),
        None => ("", host),
    };
    let host_ip = address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(address);
    if !host_ip.is_empty() && host_ip.parse::<IpAddr>().is_err() {
        return Err(format!("`{host_ip}` is no IP address"));
    }
    if container.is_empty() {
        return Err("the port in the container is missing".to_owned());
    }
    let (first, last) = range(container)?;
    let published = if published.is_empty() {
        None
    } else {
        Some(range(published)?)
    };
    if let Some((from, to)) = published
        && to - from != last - first
        && last != first
    {
        return Err(format!(
            "{} ports on the host for {} in the container",
            to - from + 1,
            last - first + 1
        ));
    }
    let mut all: Vec<Short> = (first..=last)
        .map(|target| Short {
            host_ip: host_ip.to_owned(),
            published: match published {
                None => String::new(),
                Some((from, to)) if last == first && to != from => format!("{from}-{to}"),
                Some((from, _)) => (from + (target - first)).to_string(),
            },
            target,
            protocol: protocol.clone(),
        })
        .collect();
    // The peer sorts them as texts, and prints them so.
    all.sort_by_key(|port| port.target.to_string());
    Ok(all)
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let number = |part: &str| {
        part.parse::<u16>()
            .map_err(|_| format!("`{part}` is no port from 1 to 65535"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if last < first {
        return Err(format!("the range {text} goes down"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(all) => all
                .into_iter()
                .map(|port| {
                    format!(
                        "{}|{}|{}/{}",
                        port.host_ip, port.published, port.target, port.protocol
                    )
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(reason) => reason,
        }
    }

    #[test]
    fn short_forms() {
        for (text, wanted) in [
            ("80", "||80/tcp"),
            ("8080:80", "|8080|80/tcp"),
            ("127.0.0.1:8080:80/udp", "127.0.0.1|8080|80/udp"),
            ("127.0.0.1::80", "127.0.0.1||80/tcp"),
            ("[::1]:8080:80", "::1|8080|80/tcp"),
            ("8000-8001:80-81", "|8000|80/tcp |8001|81/tcp"),
            ("8000-8009:80", "|8000-8009|80/tcp"),
            ("9-10", "||10/tcp ||9/tcp"),
            ("80-81:80-82", "2 ports on the host for 3 in the container"),
            ("abc:80", "`abc` is no port from 1 to 65535"),
            ("80/icmp", "`icmp` is none of tcp, udp, sctp"),
            ("1.2.3:80:80", "`1.2.3` is no IP address"),
            ("70000", "`70000` is no port from 1 to 65535"),
            ("82-80", "the range 82-80 goes down"),
            ("8080:", "the port in the container is missing"),
        ] {
            assert_eq!(shown(text), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[0-9a-z:/.\\[\\]-]{0,30}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_pair_of_ports_comes_back(host in 1_u16.., container in 1_u16..) {
            prop_assert_eq!(shown(&format!("{host}:{container}")), format!("|{host}|{container}/tcp"));
        }
    }
}
