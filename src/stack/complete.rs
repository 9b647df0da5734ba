//! Fills in what a merged tree implies: names, the default network, defaults
//! of long forms, dependencies that follow from other keys, and the variables
//! and labels of files.
//!
//! Works on the tree, so that `config` prints what the typed stack is made of.

use std::path::Path;

use super::assemble::Assembler;
use super::assemble::Environment;
use super::assemble::unread;
use super::dotenv;
use super::report::At;
use super::source::Span;
use super::yaml::Entry;
use super::yaml::Map;
use super::yaml::Node;
use super::yaml::Value;

/// Completes the tree of a whole stack.
pub(crate) fn complete(tree: &mut Node, name: &str, environment: &Environment) {
    let Some(map) = tree.as_map_mut() else {
        return;
    };
    map.remove("version");
    let mut uses_default = false;
    if let Some(services) = section_mut(map, "services") {
        for entry in services.values_mut() {
            uses_default |= service(&mut entry.node, environment);
        }
    }
    if uses_default {
        let networks = map.entry("networks".to_owned()).or_insert_with(|| Entry {
            key: Span::default(),
            node: Node::new(Value::Map(Map::new()), Span::default()),
        });
        networks.node.set_default("default", Value::Null);
    }
    for section in ["networks", "volumes", "secrets", "configs"] {
        for (key, entry) in section_mut(map, section).into_iter().flatten() {
            resource(&mut entry.node, key, name);
        }
    }
    map.insert(
        "name".to_owned(),
        Entry {
            key: Span::default(),
            node: Node::text(name, Span::default()),
        },
    );
}

/// A section of the stack by its key.
pub(crate) fn section_mut<'m>(map: &'m mut Map, name: &str) -> Option<&'m mut Map> {
    map.get_mut(name)?.node.as_map_mut()
}

/// Gives a network, volume, secret or config its name on the engine.
fn resource(node: &mut Node, key: &str, stack: &str) {
    if node.is_null() {
        node.value = Value::Map(Map::new());
    }
    let external = node
        .get("external")
        .is_some_and(|node| node.value == Value::Bool(true));
    let name = if external {
        key.to_owned()
    } else {
        format!("{stack}_{key}")
    };
    node.set_default("name", Value::Text(name));
}

/// Completes one service; the answer is whether it joins the default network.
fn service(node: &mut Node, environment: &Environment) -> bool {
    let Some(map) = node.as_map_mut() else {
        return false;
    };
    if let Some(policy) = map.get_mut("pull_policy")
        && policy.node.as_text() == Some("if_not_present")
    {
        policy.node.value = Value::Text("missing".to_owned());
    }
    if let Some(build) = map.get_mut("build") {
        build_defaults(&mut build.node, environment);
    }
    fill_values(map.get_mut("environment"), environment);
    dependencies(map);
    for port in list_mut(map, "ports") {
        port.set_default("protocol", Value::Text("tcp".to_owned()));
        port.set_default("mode", Value::Text("ingress".to_owned()));
    }
    for grant in list_mut(map, "secrets") {
        let source = grant.text_of("source").unwrap_or_default();
        let target = format!("/run/secrets/{source}");
        grant.set_default("target", Value::Text(target));
    }
    for mount in list_mut(map, "volumes") {
        if let Some(bind) = mount.as_map_mut().and_then(|map| map.get_mut("bind")) {
            bind.node.set_default("create_host_path", Value::Bool(true));
        }
    }
    if let Some(Value::List(servers)) = map.get_mut("dns").map(|entry| &mut entry.node.value) {
        servers.retain(|server| server.as_text() != Some(""));
    }
    for request in list_mut(map, "gpus") {
        device_count(request);
    }
    let devices = ["deploy", "resources", "reservations"]
        .iter()
        .try_fold(&mut *map, |map, key| section_mut(map, key));
    for request in devices.into_iter().flat_map(|map| list_mut(map, "devices")) {
        device_count(request);
    }
    joins_default(map)
}

fn joins_default(map: &mut Map) -> bool {
    if map.contains_key("provider") || map.contains_key("network_mode") {
        return false;
    }
    let networks = map.entry("networks".to_owned()).or_insert_with(|| Entry {
        key: Span::default(),
        node: Node::new(Value::Map(Map::new()), Span::default()),
    });
    let Some(networks) = networks.node.as_map_mut() else {
        return false;
    };
    if networks.is_empty() {
        networks.insert(
            "default".to_owned(),
            Entry {
                key: Span::default(),
                node: Node::new(Value::Null, Span::default()),
            },
        );
    }
    networks.contains_key("default")
}

fn device_count(request: &mut Node) {
    if request.get("device_ids").is_none() {
        request.set_default("count", Value::Int(-1));
    }
}

fn list_mut<'m>(map: &'m mut Map, key: &str) -> impl Iterator<Item = &'m mut Node> {
    match map.get_mut(key).map(|entry| &mut entry.node.value) {
        Some(Value::List(list)) => list.iter_mut(),
        _ => [].iter_mut(),
    }
}

fn build_defaults(build: &mut Node, environment: &Environment) {
    if build.get("dockerfile_inline").is_none() {
        build.set_default("dockerfile", Value::Text("Dockerfile".to_owned()));
    }
    let Some(map) = build.as_map_mut() else {
        return;
    };
    fill_values(map.get_mut("args"), environment);
    if let Some(args) = section_mut(map, "args") {
        args.retain(|_, entry| !entry.node.is_null());
    }
}

/// Gives names without a value the value of the environment.
fn fill_values(entry: Option<&mut Entry>, environment: &Environment) {
    let values = entry.and_then(|entry| entry.node.as_map_mut());
    for (name, entry) in values.into_iter().flatten() {
        if entry.node.is_null()
            && let Some(value) = environment.get(name)
        {
            entry.node.value = Value::Text(value.clone());
        }
    }
}

/// Dependencies that follow from links, shared namespaces and `volumes_from`.
fn dependencies(map: &mut Map) {
    let mut implied: Vec<(String, Span, bool)> = Vec::new();
    for link in list_mut(map, "links") {
        if let Some(text) = link.as_text() {
            let service = text.split(':').next().unwrap_or(text);
            implied.push((service.to_owned(), link.span, true));
        }
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(entry) = map.get(key)
            && let Some(service) = entry
                .node
                .as_text()
                .and_then(|text| text.strip_prefix("service:"))
        {
            implied.push((service.to_owned(), entry.node.span, true));
        }
    }
    for from in list_mut(map, "volumes_from") {
        if let Some(text) = from.as_text()
            && !text.starts_with("container:")
        {
            let service = text.split(':').next().unwrap_or(text);
            implied.push((service.to_owned(), from.span, false));
        }
    }
    if !implied.is_empty() {
        let depends_on = map.entry("depends_on".to_owned()).or_insert_with(|| Entry {
            key: Span::default(),
            node: Node::new(Value::Map(Map::new()), Span::default()),
        });
        if let Some(depends_on) = depends_on.node.as_map_mut() {
            for (service, span, restart) in implied {
                depends_on.entry(service).or_insert_with(|| Entry {
                    key: span,
                    node: Node::map(
                        span,
                        [
                            ("condition", Node::text("service_started", span)),
                            ("restart", Node::new(Value::Bool(restart), span)),
                            ("required", Node::new(Value::Bool(true), span)),
                        ],
                    ),
                });
            }
        }
    }
    for entry in section_mut(map, "depends_on")
        .into_iter()
        .flat_map(|map| map.values_mut())
    {
        entry.node.set_default("required", Value::Bool(true));
    }
}

impl Assembler<'_> {
    /// Reads the `env_file`s and `label_file`s of a service into its
    /// environment and labels, where what the service itself says wins.
    pub(crate) fn read_value_files(
        &mut self,
        service: &mut Node,
        at: &At<'_>,
        environment: &Environment,
    ) {
        if service.get("env_file").is_some() {
            let at = at.key("env_file");
            let mut values = Environment::new();
            let own: Environment = texts(service.get("environment"));
            for (index, file) in entries(service.get("env_file")).into_iter().enumerate() {
                let at = at.index(index);
                let path = file.text_of("path").unwrap_or_default().to_owned();
                let required = file
                    .get("required")
                    .is_none_or(|node| node.value != Value::Bool(false));
                let span = file.get("path").map_or(file.span, |node| node.span);
                let Some((file_id, text)) = self.value_file(&path, required, span, &at) else {
                    continue;
                };
                let parsed = match file.text_of("format") {
                    None => {
                        let known = &values;
                        let lookup = |key: &str| {
                            environment
                                .get(key)
                                .or_else(|| own.get(key))
                                .or_else(|| known.get(key))
                                .cloned()
                        };
                        dotenv::parse(&text, file_id, &lookup, self.report)
                    }
                    Some("raw") => dotenv::parse_raw(&text),
                    Some(other) => {
                        let span = file.get("format").map_or(span, |node| node.span);
                        self.report
                            .error("value", span, &at, format!("{at}: `{other}` is no format"))
                            .hint("the only format to name is `raw`");
                        continue;
                    }
                };
                values.extend(parsed);
            }
            add_values(service, "environment", values);
        }
        if service.get("label_file").is_some() {
            let at = at.key("label_file");
            let mut values = Environment::new();
            for (index, file) in entries(service.get("label_file")).into_iter().enumerate() {
                let at = at.index(index);
                let path = file.as_text().unwrap_or_default().to_owned();
                if let Some((file_id, text)) = self.value_file(&path, true, file.span, &at) {
                    let known = &values;
                    let parsed =
                        dotenv::parse(&text, file_id, &|key| known.get(key).cloned(), self.report);
                    values.extend(parsed);
                }
            }
            add_values(service, "labels", values);
        }
    }

    fn value_file(
        &mut self,
        path: &str,
        required: bool,
        span: Span,
        at: &At<'_>,
    ) -> Option<(u32, String)> {
        let path = Path::new(path);
        if !required && !self.files.exists(path) {
            return None;
        }
        let name = self.files.name(path);
        match self.files.read(path) {
            Ok(text) => Some((self.sources.add(&name, &text), text)),
            Err(why) => {
                let hint = format!("create {name}, or write {{path: {name}, required: false}}");
                unread(why, &name, span, at, &hint, (self.sources, self.report));
                None
            }
        }
    }
}

fn entries(node: Option<&Node>) -> Vec<Node> {
    node.and_then(Node::as_list).unwrap_or_default().to_vec()
}

fn texts(node: Option<&Node>) -> Environment {
    node.and_then(Node::as_map)
        .into_iter()
        .flatten()
        .filter_map(|(name, entry)| Some((name.clone(), entry.node.as_text()?.to_owned())))
        .collect()
}

fn add_values(service: &mut Node, key: &str, values: Environment) {
    if values.is_empty() {
        return;
    }
    service.set_default(key, Value::Map(Map::new()));
    let Some(map) = service.as_map_mut() else {
        return;
    };
    if let Some(own) = section_mut(map, key) {
        for (name, value) in values {
            own.entry(name).or_insert_with(|| Entry {
                key: Span::default(),
                node: Node::text(value, Span::default()),
            });
        }
    }
}
