//! `doctor`: what is missing on this machine or target, each with the command
//! that mends it. It changes nothing and goes on after a failure.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use super::args::BackendArg;
use super::desk::Desk;
use super::error::CliError;
use super::exit::Exit;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::Query;
use crate::backend::docker::image;
use crate::report::documents::Check;
use crate::report::documents::DoctorDocument;
use crate::report::documents::VERSION;
use crate::report::tables;
use crate::stack::Loaded;
use crate::stack::model::Protocol;
use crate::state::observed::Instance;
use crate::state::observed::ObservedState;
use crate::state::observed::Role;
use crate::state::ports::Bound;

/// Less free space than this is worth a warning.
const SPACE_WANTED: u64 = 2 << 30;

/// Looks at everything and prints what it found.
pub(super) async fn run<B: Backend>(
    desk: &Desk<'_>,
    backend: Result<&B, BackendError>,
) -> Result<Exit, CliError> {
    let mut checks = Vec::new();
    let loaded = stack_file(desk, &mut checks);
    // The backend may not answer; what was asked for is known all the same.
    let meant = match &loaded {
        Some(loaded) => desk.settings.backend_of(&loaded.stack),
        None => desk.settings.backend.unwrap_or(BackendArg::Docker),
    };
    if meant == BackendArg::Kubernetes {
        super::doctor_cluster::look(backend, loaded.as_ref(), &mut checks).await;
        return answer(desk, checks);
    }
    let socket = desk.settings.engine.local_socket();
    if let Some(socket) = &socket {
        checks.push(socket_check(socket));
    }
    let stack = loaded
        .as_ref()
        .map_or_else(String::new, |loaded| loaded.stack.name.clone());
    let query = Query {
        stack,
        foreign: true,
        ports: loaded.as_ref().map(published).unwrap_or_default(),
        ..Query::default()
    };
    let observed = engine(backend, &query, &mut checks).await;
    if let Some(observed) = &observed {
        checks.push(cgroup(observed));
        if let Some(loaded) = &loaded {
            checks.push(builder(loaded, observed));
            checks.push(ports(&published(loaded), observed));
        }
        checks.extend(gateways(observed));
    }
    checks.push(space(Path::new(if socket.is_some() {
        "/var/lib/docker"
    } else {
        "/"
    })));
    checks.push(ok(
        "compose",
        "docker compose ps, logs, exec and `down -p STACK` work on our stacks; `docker compose up` on them is not supported",
    ));
    answer(desk, checks)
}

/// Prints what was found.
fn answer(desk: &Desk<'_>, checks: Vec<Check>) -> Result<Exit, CliError> {
    let document = DoctorDocument {
        version: VERSION.to_owned(),
        healthy: checks.iter().all(|check| check.outcome != "failed"),
        checks,
    };
    desk.answer(&document, tables::doctor)?;
    Ok(if document.healthy {
        Exit::Done
    } else {
        Exit::Pending
    })
}

pub(super) fn ok(name: &str, finding: impl Into<String>) -> Check {
    Check {
        name: name.to_owned(),
        outcome: "ok".to_owned(),
        finding: finding.into(),
        mend: None,
    }
}

pub(super) fn bad(
    name: &str,
    outcome: &str,
    finding: impl Into<String>,
    mend: impl Into<String>,
) -> Check {
    Check {
        name: name.to_owned(),
        outcome: outcome.to_owned(),
        finding: finding.into(),
        mend: Some(mend.into()),
    }
}

fn stack_file(desk: &Desk<'_>, checks: &mut Vec<Check>) -> Option<Loaded> {
    match desk.settings.stack() {
        Ok(loaded) => {
            let files: Vec<String> = loaded
                .stack
                .files
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            checks.push(ok(
                "stack file",
                format!("{} ({})", loaded.stack.name, files.join(", ")),
            ));
            Some(loaded)
        }
        Err(problems) => {
            let error = CliError::from(problems);
            checks.push(bad(
                "stack file",
                "warning",
                error.summary(),
                "shopctl config -q, or for a new one: shopctl init DIR",
            ));
            None
        }
    }
}

/// Whether the engine's socket is there and may be used.
fn socket_check(socket: &Path) -> Check {
    let name = "socket";
    let shown = socket.display();
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => ok(name, shown.to_string()),
        Err(error) => match error.kind() {
            ErrorKind::PermissionDenied => bad(
                name,
                "failed",
                format!("{shown} may not be used by this user"),
                "sudo usermod -aG docker \"$USER\" && newgrp docker",
            ),
            ErrorKind::NotFound => bad(
                name,
                "failed",
                format!("{shown} does not exist: no engine is installed or running"),
                "sudo apt-get install docker.io && sudo systemctl start docker",
            ),
            ErrorKind::ConnectionRefused => bad(
                name,
                "failed",
                format!("nobody listens on {shown}: the engine does not run"),
                "sudo systemctl start docker",
            ),
            _ => bad(
                name,
                "failed",
                format!("{shown}: {error}"),
                "sudo systemctl status docker",
            ),
        },
    }
}

async fn engine<B: Backend>(
    backend: Result<&B, BackendError>,
    query: &Query,
    checks: &mut Vec<Check>,
) -> Option<ObservedState> {
    let look = async { backend?.observe(query).await };
    match look.await {
        Ok(observed) => {
            let engine = &observed.engine;
            checks.push(ok(
                "engine",
                format!(
                    "{} {}, API {}, {} cores, {}",
                    engine.name,
                    engine.version,
                    engine.api,
                    engine.cpus,
                    tables::bytes(engine.memory)
                ),
            ));
            Some(observed)
        }
        Err(error) => {
            let mend = match &error {
                BackendError::TooOld { .. } => {
                    "install Docker Engine 20.10 or newer: sudo apt-get install docker.io"
                }
                _ => "sudo systemctl start docker, or set DOCKER_HOST to an engine that runs",
            };
            checks.push(bad(
                "engine",
                "failed",
                CliError::from(error).summary(),
                mend,
            ));
            None
        }
    }
}

fn cgroup(observed: &ObservedState) -> Check {
    match observed.engine.cgroup {
        1 => ok(
            "cgroup",
            "version 1: memory limits cannot be lowered below what is in use",
        ),
        2 => ok("cgroup", "version 2"),
        _ => bad(
            "cgroup",
            "warning",
            "the engine does not say which version it uses; limits may be ignored",
            "docker info --format '{{.CgroupVersion}}'",
        ),
    }
}

/// `BuildKit` is part of every engine since 18.09; what a stack needs of it is a
/// matter of its Dockerfiles.
fn builder(loaded: &Loaded, observed: &ObservedState) -> Check {
    let builds = loaded
        .stack
        .services
        .values()
        .filter(|service| service.build.is_some())
        .count();
    let name = "builder";
    if builds == 0 {
        return ok(name, "no service is built");
    }
    let minor: u32 = observed
        .engine
        .api
        .split_once('.')
        .and_then(|(_, minor)| minor.parse().ok())
        .unwrap_or(0);
    if minor >= 39 {
        ok(
            name,
            format!("BuildKit, for {}", tables::plural(builds, "service")),
        )
    } else {
        bad(
            name,
            "warning",
            "the engine has the classic builder alone",
            "install Docker Engine 20.10 or newer",
        )
    }
}

/// Ports that the stack publishes and somebody else holds.
fn ports(wanted: &BTreeSet<String>, observed: &ObservedState) -> Check {
    let name = "ports";
    let clash =
        |text: &String, port: &Bound| Bound::parse(text).is_some_and(|held| held.clashes(port));
    let mut clashes = Vec::new();
    for port in wanted.iter().filter_map(|text| Bound::parse(text)) {
        let mut ours = observed.instances.iter().flat_map(|one| &one.host_ports);
        if ours.any(|text| clash(text, &port)) {
            continue;
        }
        let foreign = observed.foreign.iter();
        let mut holders =
            foreign.filter(|one| one.host_ports.iter().any(|text| clash(text, &port)));
        if let Some(holder) = holders.next() {
            clashes.push(format!(
                "{} is held by container {}",
                port.number(),
                holder.name
            ));
        } else if observed.busy_ports.iter().any(|text| clash(text, &port)) {
            clashes.push(format!("{} is held by another process", port.number()));
        }
    }
    match clashes.as_slice() {
        [] => ok(
            name,
            format!("{} free or ours", tables::plural(wanted.len(), "port")),
        ),
        clashes => bad(
            name,
            "failed",
            clashes.join("; "),
            "ss -ltnp shows who it is; stop it, or publish another port",
        ),
    }
}

/// Host ports that the file publishes.
fn published(loaded: &Loaded) -> BTreeSet<String> {
    let ports = loaded.stack.services.values().flat_map(|one| &one.ports);
    ports
        .filter_map(|port| {
            let ip = port.host_ip.map_or_else(String::new, |ip| ip.to_string());
            let protocol = match port.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Sctp => "sctp",
            };
            Some(format!("{ip}:{}/{protocol}", port.published?))
        })
        .collect()
}

/// Gateways go on with the data plane that they have until the next deploy.
fn gateways(observed: &ObservedState) -> Option<Check> {
    let name = "gateway";
    let all: Vec<_> = observed
        .instances
        .iter()
        .filter(|one| one.role == Role::Gateway)
        .collect();
    let is_other = |one: &&&Instance| match &one.program {
        Some(program) => program != image::program(),
        None => one.image != image::tag(),
    };
    let other: Vec<&str> = all
        .iter()
        .filter(is_other)
        .map(|one| one.name.as_str())
        .collect();
    let upgrades = all
        .iter()
        .filter(is_other)
        .all(|one| one.program.is_some() && one.refused.as_deref() != Some(image::program()));
    match (all.is_empty(), other.is_empty()) {
        (true, _) => None,
        (false, true) => Some(ok(
            name,
            format!("{} of this version", tables::plural(all.len(), "gateway")),
        )),
        (false, false) => Some(bad(
            name,
            "warning",
            format!("{} of another version of shopctl", other.join(", ")),
            if upgrades {
                "the next deploy brings this one's, without a gap: shopctl deploy".to_owned()
            } else {
                format!(
                    "when the published ports may be silent for a second: docker rm -f {}; shopctl deploy",
                    other.join(" ")
                )
            },
        )),
    }
}

fn space(path: &Path) -> Check {
    let path = if path.exists() { path } else { Path::new("/") };
    let name = "disk";
    match rustix::fs::statvfs(path) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let finding = format!("{} free at {}", tables::bytes(free), path.display());
            if free < SPACE_WANTED {
                bad(
                    name,
                    "warning",
                    finding,
                    "docker system df; docker image prune",
                )
            } else {
                ok(name, finding)
            }
        }
        Err(error) => bad(
            name,
            "warning",
            error.to_string(),
            format!("df {}", path.display()),
        ),
    }
}
