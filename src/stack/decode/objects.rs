//! Networks, volumes, secrets and configs of the stack.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Decoder;
use super::entries;
use super::flag;
use super::is_set;
use super::list;
use super::pairs;
use super::text;
use crate::stack::model::FileObject;
use crate::stack::model::FileSource;
use crate::stack::model::Ipam;
use crate::stack::model::IpamPool;
use crate::stack::model::Network;
use crate::stack::model::Volume;
use crate::stack::report::At;
use crate::stack::yaml::Node;

impl Decoder<'_> {
    pub(super) fn networks(&mut self, tree: &Node) -> BTreeMap<String, Network> {
        let root = At::ROOT.key("networks");
        entries(tree, "networks")
            .map(|(key, entry)| {
                let node = &entry.node;
                let network = Network {
                    name: text(node, "name").unwrap_or_default(),
                    external: is_set(node, "external"),
                    driver: text(node, "driver"),
                    driver_opts: pairs(node, "driver_opts"),
                    internal: is_set(node, "internal"),
                    attachable: is_set(node, "attachable"),
                    enable_ipv4: flag(node, "enable_ipv4"),
                    enable_ipv6: flag(node, "enable_ipv6"),
                    labels: pairs(node, "labels"),
                    ipam: self.ipam(node.get("ipam"), &root.key(key)),
                    place: self.place(entry.key),
                };
                (key.clone(), network)
            })
            .collect()
    }

    fn ipam(&mut self, node: Option<&Node>, at: &At<'_>) -> Ipam {
        let Some(node) = node else {
            return Ipam::default();
        };
        for pool in list(node, "config") {
            for key in ["subnet", "ip_range"] {
                if let Some(range) = pool.get(key)
                    && range.as_text().is_some_and(|text| !is_cidr(text))
                {
                    self.unfit(
                        range,
                        &at.key(key),
                        "a range of addresses",
                        "write 10.1.0.0/16",
                    );
                }
            }
        }
        Ipam {
            driver: text(node, "driver"),
            config: list(node, "config")
                .iter()
                .map(|pool| IpamPool {
                    subnet: text(pool, "subnet"),
                    ip_range: text(pool, "ip_range"),
                    gateway: text(pool, "gateway"),
                    aux_addresses: pairs(pool, "aux_addresses"),
                })
                .collect(),
            options: pairs(node, "options"),
        }
    }

    pub(super) fn volumes(&mut self, tree: &Node) -> BTreeMap<String, Volume> {
        entries(tree, "volumes")
            .map(|(key, entry)| {
                let node = &entry.node;
                let volume = Volume {
                    name: text(node, "name").unwrap_or_default(),
                    external: is_set(node, "external"),
                    driver: text(node, "driver"),
                    driver_opts: pairs(node, "driver_opts"),
                    labels: pairs(node, "labels"),
                    place: self.place(entry.key),
                };
                (key.clone(), volume)
            })
            .collect()
    }

    pub(super) fn file_objects(
        &mut self,
        tree: &Node,
        section: &str,
    ) -> BTreeMap<String, FileObject> {
        entries(tree, section)
            .filter_map(|(key, entry)| {
                let node = &entry.node;
                let source = if is_set(node, "external") {
                    FileSource::External
                } else if let Some(file) = text(node, "file") {
                    FileSource::File(PathBuf::from(file))
                } else if let Some(variable) = text(node, "environment") {
                    FileSource::Environment {
                        value: self.environment.get(&variable).cloned(),
                        variable,
                    }
                } else {
                    FileSource::Content(node.text_of("content")?.to_owned())
                };
                let object = FileObject {
                    name: text(node, "name").unwrap_or_default(),
                    source,
                    labels: pairs(node, "labels"),
                    place: self.place(entry.key),
                };
                Some((key.clone(), object))
            })
            .collect()
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let max = match address.parse::<std::net::IpAddr>() {
        Ok(address) if address.is_ipv4() => 32,
        Ok(_) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= max)
}
