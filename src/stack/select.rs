//! Which services are meant: profiles, names on the command line, and the
//! resources that only they need.

use std::collections::BTreeSet;

use super::report::At;
use super::report::Report;
use super::report::did_you_mean;
use super::source::Span;
use super::yaml::Map;
use super::yaml::Node;
use super::yaml::Value;

/// The services that are left out, with the profiles that would bring them in.
pub(crate) type Inactive = Map;

/// Takes the services that no active profile and no name selects out of the
/// tree.
pub(crate) fn services(
    tree: &mut Node,
    profiles: &[String],
    names: &[String],
    report: &mut Report,
) -> Inactive {
    let Some(all) = tree
        .as_map_mut()
        .and_then(|map| map.get_mut("services"))
        .and_then(|entry| entry.node.as_map_mut())
    else {
        return Map::new();
    };
    let any = profiles.iter().any(|profile| profile == "*");
    let mut inactive = Map::new();
    for (name, entry) in std::mem::take(all) {
        let own = profiles_of(&entry.node);
        let active = any
            || own.is_empty()
            || own.iter().any(|profile| profiles.contains(profile))
            || names.contains(&name);
        if active {
            all.insert(name, entry);
        } else {
            inactive.insert(name, entry);
        }
    }
    if !names.is_empty() {
        keep_named(all, &mut inactive, names, report);
    }
    inactive
}

/// Keeps the named services and what they depend on.
fn keep_named(all: &mut Map, inactive: &mut Map, names: &[String], report: &mut Report) {
    let mut wanted: Vec<String> = Vec::new();
    let mut next: Vec<String> = names.to_vec();
    while let Some(name) = next.pop() {
        if wanted.contains(&name) {
            continue;
        }
        if let Some(entry) = all.get(&name) {
            let depends_on = entry.node.get("depends_on").and_then(Node::as_map);
            next.extend(depends_on.into_iter().flat_map(|map| map.keys().cloned()));
        } else if names.contains(&name) {
            let meant = did_you_mean(&name, all.keys().map(String::as_str));
            let finding = report.error(
                "unknown-service",
                Span::default(),
                &At::ROOT,
                format!("there is no service `{name}` in this stack"),
            );
            if let Some(meant) = meant {
                finding.hint(format!("did you mean `{meant}`?"));
            }
        }
        wanted.push(name);
    }
    for (name, entry) in std::mem::take(all) {
        if wanted.contains(&name) {
            all.insert(name, entry);
        } else {
            inactive.insert(name, entry);
        }
    }
}

/// Services that are left out, but whose images others are built from.
pub(crate) fn bases(tree: &Node, inactive: &Inactive) -> Map {
    let mut bases = Map::new();
    let services = tree.get("services").and_then(Node::as_map);
    let mut next: Vec<&Node> = services
        .into_iter()
        .flat_map(Map::values)
        .map(|entry| &entry.node)
        .collect();
    while let Some(service) = next.pop() {
        let contexts = service
            .get("build")
            .and_then(|build| build.get("additional_contexts"))
            .and_then(Node::as_map);
        for context in contexts.into_iter().flat_map(Map::values) {
            let place = context.node.as_text().unwrap_or_default();
            if let Some(name) = place.strip_prefix("service:")
                && let Some(entry) = inactive.get(name)
                && !bases.contains_key(name)
            {
                bases.insert(name.to_owned(), entry.clone());
                next.push(&entry.node);
            }
        }
    }
    bases
}

/// The profiles of one service.
pub(crate) fn profiles_of(service: &Node) -> Vec<String> {
    service
        .get("profiles")
        .and_then(Node::as_list)
        .unwrap_or_default()
        .iter()
        .filter_map(|node| node.as_text().map(str::to_owned))
        .collect()
}

/// Takes out networks, volumes, secrets and configs that no service uses.
pub(crate) fn resources(tree: &mut Node, bases: &Map) {
    let mut used: [(&str, BTreeSet<String>); 5] = [
        ("networks", BTreeSet::new()),
        ("volumes", BTreeSet::new()),
        ("secrets", BTreeSet::new()),
        ("configs", BTreeSet::new()),
        ("models", BTreeSet::new()),
    ];
    {
        let services = tree.get("services").and_then(Node::as_map);
        let [networks, volumes, secrets, configs, models] = &mut used;
        let active = services.into_iter().flat_map(|map| map.values());
        for entry in active.chain(bases.values()) {
            let service = &entry.node;
            names(service.get("networks"), &mut networks.1);
            names(service.get("models"), &mut models.1);
            for mount in service
                .get("volumes")
                .and_then(Node::as_list)
                .unwrap_or_default()
            {
                if mount.text_of("type") == Some("volume") {
                    volumes.1.extend(mount.text_of("source").map(str::to_owned));
                }
            }
            sources(service.get("secrets"), &mut secrets.1);
            let build = service.get("build");
            sources(build.and_then(|build| build.get("secrets")), &mut secrets.1);
            sources(service.get("configs"), &mut configs.1);
        }
    }
    for (section, used) in used {
        if let Some(map) = tree.as_map_mut()
            && let Some(Value::Map(all)) = map.get_mut(section).map(|entry| &mut entry.node.value)
        {
            all.retain(|name, _| used.contains(name));
        }
    }
}

fn names(node: Option<&Node>, into: &mut BTreeSet<String>) {
    into.extend(
        node.and_then(Node::as_map)
            .into_iter()
            .flat_map(|map| map.keys().cloned()),
    );
}

fn sources(node: Option<&Node>, into: &mut BTreeSet<String>) {
    for grant in node.and_then(Node::as_list).unwrap_or_default() {
        into.extend(grant.text_of("source").map(str::to_owned));
    }
}
