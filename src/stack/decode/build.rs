//! `build`, ulimits.

use std::collections::BTreeMap;

use super::Decoder;
use super::entries;
use super::hosts;
use super::int;
use super::is_set;
use super::list;
use super::pairs;
use super::text;
use super::texts;
use super::variables;
use crate::stack::model::Build;
use crate::stack::model::BuildSecret;
use crate::stack::model::Ulimit;
use crate::stack::report::At;
use crate::stack::source::Span;
use crate::stack::yaml::Node;

impl Decoder<'_> {
    pub(super) fn build(&mut self, node: &Node, key: Span, at: &At<'_>) -> Build {
        Build {
            context: text(node, "context").unwrap_or_default(),
            dockerfile: text(node, "dockerfile").unwrap_or_else(|| "Dockerfile".to_owned()),
            dockerfile_inline: text(node, "dockerfile_inline"),
            args: variables(node, "args"),
            target: text(node, "target"),
            labels: pairs(node, "labels"),
            tags: texts(node, "tags"),
            cache_from: texts(node, "cache_from"),
            cache_to: texts(node, "cache_to"),
            additional_contexts: pairs(node, "additional_contexts"),
            no_cache: is_set(node, "no_cache"),
            pull: is_set(node, "pull"),
            network: text(node, "network"),
            platforms: texts(node, "platforms"),
            extra_hosts: hosts(node, "extra_hosts"),
            shm_size: self.bytes(node, "shm_size", at),
            ulimits: ulimits(node),
            secrets: list(node, "secrets")
                .iter()
                .filter_map(|grant| {
                    let source = text(grant, "source")?;
                    Some(BuildSecret {
                        target: text(grant, "target").unwrap_or_else(|| source.clone()),
                        source,
                    })
                })
                .collect(),
            ssh: variables(node, "ssh"),
            place: self.place(key),
        }
    }
}

pub(super) fn ulimits(node: &Node) -> BTreeMap<String, Ulimit> {
    entries(node, "ulimits")
        .map(|(name, entry)| {
            let single = int(&entry.node, "single");
            let one = |key: &str| single.or_else(|| int(&entry.node, key)).unwrap_or(0);
            let ulimit = Ulimit {
                soft: one("soft"),
                hard: one("hard"),
            };
            (name.clone(), ulimit)
        })
        .collect()
}
