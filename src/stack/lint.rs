//! Findings about a stack that works: what is dangerous, and what is probably
//! not meant. Each has a name that `x-shop.lint.silence` can list.

use super::model::MountSource;
use super::model::PortMode;
use super::model::Protocol;
use super::model::Service;
use super::model::Stack;
use super::report::At;
use super::report::Report;
use super::source::Span;
use super::yaml::Map;
use super::yaml::Node;

/// Images that keep data and hardly ever belong on every address of a host.
const DATABASES: [&str; 16] = [
    "postgres",
    "mysql",
    "mariadb",
    "percona",
    "mongo",
    "redis",
    "valkey",
    "memcached",
    "rabbitmq",
    "kafka",
    "elasticsearch",
    "opensearch",
    "cassandra",
    "influxdb",
    "clickhouse-server",
    "etcd",
];

/// Parts of names of build arguments that hold secrets.
const SECRET_WORDS: [&str; 6] = [
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "TOKEN",
    "API_KEY",
    "PRIVATE_KEY",
];

/// Ports that speak HTTP more often than not.
const HTTP_PORTS: [u16; 12] = [
    80, 3000, 4000, 5000, 8000, 8001, 8002, 8003, 8080, 8081, 8888, 9000,
];

/// Reports what is found.
pub(crate) fn lint(tree: &Node, stack: &Stack, report: &mut Report) {
    let root = At::ROOT.key("services");
    for (name, service) in &stack.services {
        let Some(node) = tree.get("services").and_then(|services| services.get(name)) else {
            continue;
        };
        let at = root.key(name);
        let mut linter = Linter {
            node,
            service,
            at: &at,
            report,
        };
        linter.isolation();
        linter.image();
        linter.ports();
        linter.build_args();
        linter.life();
    }
}

struct Linter<'l> {
    node: &'l Node,
    service: &'l Service,
    at: &'l At<'l>,
    report: &'l mut Report,
}

impl Linter<'_> {
    fn span(&self, key: &str) -> Span {
        self.node.get(key).map_or(self.node.span, |node| node.span)
    }

    fn warn(&mut self, name: &'static str, span: Span, message: String, hint: &str) {
        self.report.warning(name, span, self.at, message).hint(hint);
    }

    fn isolation(&mut self) {
        let at = self.at;
        if self.service.privileged {
            self.warn(
                "privileged",
                self.span("privileged"),
                format!("{at} runs privileged: it can do anything on the host"),
                "name the capabilities it needs in `cap_add`",
            );
        }
        if self.node.text_of("network_mode") == Some("host") {
            self.warn(
                "host-network",
                self.span("network_mode"),
                format!("{at} uses the host's network: it can reach every local port"),
                "publish the ports it needs with `ports`",
            );
        }
        let mounts = self
            .node
            .get("volumes")
            .and_then(Node::as_list)
            .unwrap_or_default();
        for (mount, node) in self.service.volumes.iter().zip(mounts) {
            if let MountSource::Bind { path, .. } = &mount.source
                && path.ends_with("docker.sock")
            {
                self.warn(
                    "engine-socket",
                    node.span,
                    format!("{at} has the engine's socket: it can do anything on the host"),
                    "leave it out, or put a proxy with few rights before it",
                );
            }
        }
    }

    fn image(&mut self) {
        if self.service.build.is_some() {
            return;
        }
        let Some(image) = &self.service.image else {
            return;
        };
        let name = image.rsplit('/').next().unwrap_or(image);
        if image.contains('@') || name.contains('$') {
            return;
        }
        let at = self.at;
        let message = match name.split_once(':') {
            None => format!("{at}: the image `{image}` has no tag, so it means `latest`"),
            Some((_, "latest")) => format!("{at}: the tag `latest` moves"),
            Some(_) => return,
        };
        let name = name.split(':').next().unwrap_or(name);
        let hint = format!("name a version, like {name}:1.2");
        self.warn("latest-tag", self.span("image"), message, &hint);
    }

    fn is_database(&self) -> bool {
        let image = self.service.image.as_deref().unwrap_or_default();
        let name = image.rsplit('/').next().unwrap_or(image);
        let name = name.split([':', '@']).next().unwrap_or(name);
        DATABASES.contains(&name)
    }

    fn ports(&mut self) {
        let at = self.at;
        let database = self.is_database();
        let nodes = self
            .node
            .get("ports")
            .and_then(Node::as_list)
            .unwrap_or_default();
        for (port, node) in self.service.ports.iter().zip(nodes) {
            if port.published.is_none() {
                continue;
            }
            if database && port.host_ip.is_none_or(|address| address.is_unspecified()) {
                self.warn(
                    "open-database",
                    node.span,
                    format!("{at} publishes a database on every address of the host"),
                    &format!(
                        "write \"127.0.0.1:{}:{}\", or remove the port",
                        port.published.unwrap_or(port.target),
                        port.target
                    ),
                );
            }
            let balanced = port.protocol == Protocol::Tcp && port.mode == PortMode::Ingress;
            if !database
                && balanced
                && port.app_protocol.is_none()
                && HTTP_PORTS.contains(&port.target)
                && !self.service.is_http(port)
            {
                let hint = format!(
                    "write {{target: {}, published: {}, app_protocol: http}}",
                    port.target,
                    port.published.unwrap_or(port.target)
                );
                self.report
                    .advice(
                        "app-protocol",
                        node.span,
                        at,
                        format!(
                            "{at}: port {} is balanced by connection; if it speaks HTTP, \
                             requests can be balanced",
                            port.target
                        ),
                    )
                    .hint(hint);
            }
        }
    }

    fn build_args(&mut self) {
        let args = self
            .node
            .get("build")
            .and_then(|build| build.get("args"))
            .and_then(Node::as_map);
        let named: Vec<(String, Span)> = args
            .into_iter()
            .flatten()
            .filter(|(name, entry)| is_secret(name) && entry.node.as_text() != Some(""))
            .map(|(name, entry)| (name.clone(), entry.key))
            .collect();
        let at = self.at;
        for (name, span) in named {
            self.warn(
                "secret-in-build-args",
                span,
                format!("{at}: the build argument {name} stays readable in the image"),
                "give it to x-shop.build.prepare, which runs on this host, or to the service as a secret",
            );
        }
    }

    fn life(&mut self) {
        let at = self.at;
        if self.node.text_of("restart") == Some("no") && !self.service.is_job() {
            self.warn(
                "restart-no",
                self.span("restart"),
                format!("{at} is not started again when it ends"),
                "write `restart: unless-stopped`",
            );
        }
        if self.service.container_name.is_some() {
            self.warn(
                "container-name",
                self.span("container_name"),
                format!("{at} has a fixed container name: it cannot be replaced without a gap"),
                "remove `container_name`; the service's name finds it",
            );
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_WORDS.iter().any(|word| name.contains(word)) && !name.ends_with("_FILE")
}

/// `version:` at the top of a file.
pub(crate) fn version(document: &Map, report: &mut Report) {
    if let Some(entry) = document.get("version") {
        report
            .warning(
                "version",
                entry.key,
                &At::ROOT.key("version"),
                "`version` has no meaning any more",
            )
            .hint("remove the line");
    }
}
