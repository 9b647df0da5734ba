//! The layers of `src/`, checked by reading it: the table of ARCHITECTURE.md.
//!
//! Each row says which modules and crates a module may name, and holds lines that
//! break it; the test fails when one of those is not caught. Adding an arrow means
//! editing this table in review. It reads text, not types: a dependency that is
//! re-exported through an allowed module would pass, so pure modules re-export
//! nothing foreign.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// One row. The row with the longest matching path holds for a file.
struct Row {
    /// Folder or file stem below `src/`.
    path: &'static str,
    /// Modules it may use, beside itself; `plan::action` allows that part alone.
    modules: &'static [&'static str],
    /// Crates it may name.
    crates: &'static [&'static str],
    /// Plain data in, plain data out.
    pure: bool,
    /// Lines that break the row.
    broken: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        path: "stack",
        modules: &[],
        crates: &[
            "serde",
            "serde_json",
            "serde_yaml",
            "libyaml_safer",
            "miette",
            "sha2",
            "strsim",
        ],
        pure: true,
        broken: &[
            "use crate::state::desired::DesiredState;",
            "use tokio::fs;",
            "let text = std::fs::read_to_string(path);",
            "let now = std::time::SystemTime::now();",
            "let home = std::env::var(\"HOME\");",
            "println!(\"found\");",
        ],
    },
    Row {
        // The only file access of `stack`.
        path: "stack/load",
        modules: &[],
        crates: &[
            "serde",
            "serde_json",
            "serde_yaml",
            "libyaml_safer",
            "miette",
            "sha2",
            "strsim",
        ],
        pure: false,
        broken: &[
            "use crate::state::desired::DesiredState;",
            "use tokio::fs;",
            "let home = std::env::var(\"HOME\");",
        ],
    },
    Row {
        path: "state",
        modules: &["stack"],
        crates: &["serde", "serde_json", "sha2"],
        pure: true,
        broken: &[
            "use crate::plan::action::Cause;",
            "use crate::backend::Query;",
            "use bollard::models::ContainerSummary;",
            "async fn resolve() {}",
            "let digest = read().await;",
            "let bytes = std::fs::read(path);",
        ],
    },
    Row {
        path: "capacity",
        modules: &["state"],
        crates: &["serde"],
        pure: true,
        broken: &[
            "use crate::plan::Options;",
            "use crate::stack::Stack;",
            "let now = Instant::now();",
            "let lucky = rand::random::<u8>();",
        ],
    },
    Row {
        path: "plan",
        modules: &["state", "capacity"],
        crates: &["serde"],
        pure: true,
        broken: &[
            "use crate::backend::Backend;",
            "use crate::event::Event;",
            "use crate::stack::Stack;",
            "let now = std::time::Instant::now();",
            "let id = uuid::Uuid::now_v7();",
            "tracing::warn!(\"gap\");",
            "std::io::stdin().read_line(&mut answer);",
            "async fn plan() {}",
            "use super::super::exec::run;",
        ],
    },
    Row {
        path: "event",
        modules: &["plan", "state"],
        crates: &["serde"],
        pure: true,
        broken: &[
            "use crate::backend::Change;",
            "use crate::exec::Ended;",
            "use tokio::sync::mpsc;",
        ],
    },
    Row {
        path: "backend",
        modules: &["state", "plan", "event"],
        crates: &[
            "tokio",
            "bytes",
            "futures_util",
            "serde",
            "serde_json",
            "thiserror",
            "rustix",
        ],
        pure: false,
        broken: &[
            "use crate::report::table;",
            "use crate::cli::args;",
            "use crate::exec::run;",
            "use crate::stack::Stack;",
            "use bollard::Docker;",
            "use kube::Client;",
            "use k8s_openapi::api::core::v1::Pod;",
        ],
    },
    Row {
        path: "backend/docker",
        modules: &["state", "plan", "event"],
        crates: &[
            "bollard",
            "docker_credential",
            "hyper",
            "hyper_util",
            "http_body_util",
            "serde_urlencoded",
            "tonic",
            "tower_service",
            "tokio_rustls",
            "time",
            "rustix",
            "rustls",
            "tar",
            "uuid",
            "tokio",
            "bytes",
            "futures_util",
            "serde",
            "serde_json",
            "thiserror",
        ],
        pure: false,
        broken: &[
            "use crate::exec::run;",
            "use crate::report::table;",
            "use kube::Client;",
        ],
    },
    Row {
        path: "backend/swarm",
        modules: &["state", "plan", "event"],
        crates: &[
            "bollard",
            "tokio",
            "bytes",
            "futures_util",
            "serde",
            "serde_json",
            "thiserror",
        ],
        pure: false,
        broken: &["use kube::Client;", "use crate::cli::args;"],
    },
    Row {
        path: "backend/kubernetes",
        // Objects carry what a replica is counted with.
        modules: &["state", "plan", "event", "capacity"],
        crates: &[
            "kube",
            "http",
            "flate2",
            "k8s_openapi",
            "tokio",
            "bytes",
            "futures_util",
            "serde",
            "serde_json",
            "thiserror",
        ],
        pure: false,
        broken: &["use bollard::Docker;", "use crate::cli::args;"],
    },
    Row {
        // Its fake gateway speaks the gateway's protocol.
        path: "backend/memory",
        modules: &["state", "plan", "event"],
        crates: &["shop_gateway", "tokio", "bytes", "serde", "serde_json"],
        pure: false,
        broken: &[
            "use bollard::Docker;",
            "let now = std::time::Instant::now();",
        ],
    },
    Row {
        path: "build",
        modules: &["state", "event", "backend"],
        crates: &[
            "tokio",
            "tar",
            "ignore",
            "sha2",
            "shlex",
            "bytes",
            "futures_util",
            "serde",
            "serde_json",
            "thiserror",
        ],
        pure: false,
        broken: &[
            "use crate::report::table;",
            "use crate::cli::args;",
            "use crate::plan::Options;",
            "use bollard::Docker;",
        ],
    },
    Row {
        // `plan::action` holds the words of a backend call, which a prober is made with.
        path: "gateway",
        modules: &["state", "backend", "plan::action"],
        crates: &[
            "shop_gateway",
            "tokio",
            "futures_util",
            "serde",
            "serde_json",
            "thiserror",
        ],
        pure: false,
        broken: &[
            "use crate::plan::Options;",
            "let plan = crate::plan::plan(&input);",
            "use crate::exec::run;",
            "use bollard::Docker;",
        ],
    },
    Row {
        path: "release",
        modules: &["state", "plan", "backend"],
        crates: &["serde", "serde_json", "thiserror"],
        pure: false,
        broken: &[
            "use crate::report::table;",
            "use crate::cli::args;",
            "use crate::exec::run;",
            "use bollard::Docker;",
        ],
    },
    Row {
        path: "exec",
        modules: &[
            "plan", "event", "backend", "gateway", "build", "release", "state",
        ],
        crates: &[
            "tokio",
            "futures_util",
            "bytes",
            "serde",
            "serde_json",
            "thiserror",
        ],
        pure: false,
        broken: &[
            "use bollard::Docker;",
            "use kube::Client;",
            "use indicatif::ProgressBar;",
            "use crate::report::table;",
            "use crate::cli::args;",
            "plan.steps.push(step);",
            "job.plan.steps.retain(|step| step.id > 1);",
        ],
    },
    Row {
        // Events reach it through tokio's channel, and its clock redraws.
        path: "report",
        modules: &["event", "plan", "state", "capacity"],
        crates: &[
            "tokio",
            "humantime",
            "indicatif",
            "comfy_table",
            "serde",
            "serde_json",
            "serde_yaml",
            "miette",
        ],
        pure: false,
        broken: &[
            "use crate::backend::Backend;",
            "use crate::exec::run;",
            "use bollard::Docker;",
            "use clap::Parser;",
        ],
    },
    Row {
        path: "cli",
        modules: &[
            "stack", "state", "capacity", "plan", "event", "backend", "build", "gateway",
            "release", "exec", "report",
        ],
        crates: &[
            "clap",
            "clap_complete",
            "clap_mangen",
            "rustix",
            "tokio",
            "shop_gateway",
            "bytes",
            "futures_util",
            "humantime",
            "miette",
            "serde",
            "serde_json",
            "serde_yaml",
            "shlex",
            "strsim",
            "rustix",
            "rustls",
            "thiserror",
            "uuid",
        ],
        pure: false,
        broken: &[
            "use bollard::Docker;",
            "use kube::Client;",
            "use indicatif::ProgressBar;",
        ],
    },
];

/// What no pure module may name.
const IMPURE: &[&str] = &[
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::process",
    "std::env",
    "std::thread",
    "std::fs",
    "std::io",
    "Instant::now",
    "SystemTime",
    "rand::",
    "tracing::",
    "async fn",
    ".await",
];

/// What no module may name, pure or not: there is one place for each.
const NOWHERE: &[&str] = &["println!"];

/// What single rows may not name, beyond modules and crates.
const ALSO: &[(&str, &[&str])] = &[
    (
        "stack/load",
        &["std::env", "TcpStream", "std::process", "SystemTime"],
    ),
    (
        "backend/memory",
        &["Instant::now", "SystemTime", "std::env", "std::fs"],
    ),
    (
        "exec",
        &[
            "steps.push",
            "steps.retain",
            "steps.remove",
            "steps.insert",
            "steps.sort",
        ],
    ),
];

/// The one place that prints.
const PRINTS: &[&str] = &["main.rs", "cli/output.rs"];

#[test]
fn modules_keep_to_their_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let crates = dependencies();
    let mut broken = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (file, text) in sources(&root) {
        let Some(row) = row_of(&file) else {
            assert!(
                ["lib.rs", "main.rs"].contains(&file.as_str()),
                "src/{file} has no row in the table"
            );
            continue;
        };
        seen.insert(row.path);
        for (number, fault) in faults(row, &file, &text, &crates) {
            broken.insert(format!("src/{file}:{number}"), fault);
        }
    }
    assert!(broken.is_empty(), "broken layers: {broken:#?}");
    for path in [
        "stack", "state", "capacity", "plan", "event", "backend", "exec",
    ] {
        assert!(seen.contains(path), "no file was read for {path}");
    }
}

#[test]
fn every_row_catches_what_breaks_it() {
    let crates = dependencies();
    for row in ROWS {
        assert!(!row.broken.is_empty(), "{} has no fixture", row.path);
        for line in row.broken {
            let text = format!("//! A module.\n\nfn sound() {{}}\n{line}\n");
            let file = format!("{}/fixture.rs", row.path);
            assert_eq!(row_of(&file).unwrap().path, row.path);
            let found = faults(row, &file, &text, &crates);
            assert_eq!(found.len(), 1, "{}: `{line}` gives {found:?}", row.path);
            assert_eq!(found[0].0, 4, "{}: `{line}`", row.path);
        }
        // What is sound is not complained about.
        let own = row.path.split('/').next().unwrap();
        let mut sound =
            format!("// use bollard::Docker;\nuse crate::{own}::thing;\nuse std::fmt;\n");
        for module in row.modules {
            writeln!(sound, "use crate::{module}::Thing;").unwrap();
        }
        for name in row.crates {
            writeln!(sound, "use {name}::Thing;").unwrap();
        }
        sound.push_str("#[cfg(test)]\nmod tests { use tokio::test; }\n");
        assert_eq!(
            faults(row, &format!("{}/fixture.rs", row.path), &sound, &crates),
            [],
            "{}",
            row.path
        );
    }
}

#[test]
fn services_do_not_depend_on_shopctl() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("services");
    let mut read = 0;
    for entry in fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        read += 1;
        assert_eq!(
            service_faults(&manifest),
            Vec::<String>::new(),
            "{}",
            folder.display()
        );
    }
    assert!(read >= 4, "services are missing");
    for fixture in [
        "[dependencies]\nshopctl = { path = \"../..\" }\n",
        "[dependencies]\nshopctl.workspace = true\n",
        "[dependencies]\nshop-order = { path = \"../order\" }\n",
    ] {
        assert_eq!(service_faults(fixture).len(), 1, "{fixture}");
    }
}

/// What a service's manifest may not depend on: shopctl, and other services than
/// the kit (and, in tests, the gateway).
fn service_faults(manifest: &str) -> Vec<String> {
    manifest
        .lines()
        .filter(|line| {
            let name = line.split(['=', '.']).next().unwrap_or_default().trim();
            let foreign =
                name.starts_with("shop-") && !["shop-kit", "shop-gateway"].contains(&name);
            name == "shopctl" || foreign
        })
        .map(str::to_owned)
        .collect()
}

/// Lines of a file that break its row.
fn faults(row: &Row, file: &str, text: &str, crates: &BTreeSet<String>) -> Vec<(usize, String)> {
    let own = row.path.split('/').next().unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap();
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap();
        if let Some(fault) = fault(row, own, file, line, crates) {
            found.push((index + 1, fault));
        }
    }
    found
}

fn fault(
    row: &Row,
    own: &str,
    file: &str,
    line: &str,
    crates: &BTreeSet<String>,
) -> Option<String> {
    for path in module_paths(file, line) {
        let module = path.split("::").next().unwrap();
        let allowed = module == own
            || row
                .modules
                .iter()
                .any(|allowed| path == *allowed || path.starts_with(&format!("{allowed}::")));
        if !allowed {
            return Some(format!("`{}` may not use `crate::{path}`", row.path));
        }
    }
    for name in crates {
        if names_crate(line, name) && !row.crates.contains(&name.as_str()) {
            return Some(format!("`{}` may not use the crate `{name}`", row.path));
        }
    }
    let also = ALSO
        .iter()
        .filter(|(path, _)| *path == row.path)
        .flat_map(|(_, words)| words.iter());
    let impure = IMPURE.iter().filter(|_| row.pure);
    let nowhere = NOWHERE.iter().filter(|_| !PRINTS.contains(&file));
    also.chain(impure)
        .chain(nowhere)
        .find(|word| line.contains(**word))
        .map(|word| format!("`{}` may not name `{word}`", row.path))
}

/// Paths in a line that begin at the crate's root, by `crate::` or by so many
/// `super::` that they end there.
fn module_paths<'l>(file: &str, line: &'l str) -> Vec<&'l str> {
    let depth = file.trim_end_matches("/mod.rs").split('/').count();
    let mut paths: Vec<&str> = line
        .match_indices("crate::")
        .map(|(at, word)| path_at(&line[at + word.len()..]))
        .collect();
    let up = "super::".repeat(depth);
    paths.extend(
        line.match_indices(&up)
            .map(|(at, _)| path_at(&line[at + up.len()..])),
    );
    paths
}

/// `a::b::C` at the beginning of a text.
fn path_at(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
        .unwrap_or(text.len());
    text[..end].trim_end_matches(':')
}

/// Whether a line names a crate as the first part of a path.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}::")).any(|(at, _)| {
        line[..at]
            .chars()
            .next_back()
            .is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':')
    })
}

/// Row of a file: the longest path that matches.
fn row_of(file: &str) -> Option<&'static Row> {
    ROWS.iter()
        .filter(|row| {
            file.strip_prefix(row.path)
                .is_some_and(|rest| rest.starts_with('/') || rest.starts_with(".rs"))
        })
        .max_by_key(|row| row.path.len())
}

/// Crates that `src/` could name: the dependencies in Cargo.toml, and some that it
/// must not get.
fn dependencies() -> BTreeSet<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let text = fs::read_to_string(manifest).unwrap();
    let package = text.split("\n[dependencies]\n").nth(1).unwrap();
    let section = package.split("\n[").next().unwrap();
    let mut names: BTreeSet<String> = section
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains('='))
        .map(|line| {
            line.split(['=', '.'])
                .next()
                .unwrap()
                .trim()
                .replace('-', "_")
        })
        .collect();
    assert!(
        names.contains("bollard") && names.contains("shop_gateway"),
        "{names:?}"
    );
    names.extend(["rand", "tracing", "reqwest"].map(str::to_owned));
    names
}

fn sources(root: &Path) -> Vec<(String, String)> {
    let mut pending = vec![root.to_owned()];
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(root).unwrap().display().to_string();
            // A module of tests in a file of its own.
            if !file.ends_with("/tests.rs") {
                found.push((file, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}
