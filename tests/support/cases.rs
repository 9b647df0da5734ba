//! Conformance cases: where they are, and how one is asked for.
//!
//! A case is a folder with `case.json` (arguments and environment), `in/` (the
//! files), and the recorded answer of Docker Compose. Those of this project lie in
//! `tests/compose-cases`; a larger set, taken from other projects, may lie beside
//! the checkout.

#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::print_stdout,
    reason = "each test binary uses its own part of this"
)]

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use shopctl::stack::LoadRequest;

/// Where the outside cases lie, from the root of the checkout.
const BESIDE: &str = "../shared/compose-cases";

/// The cases of this project.
pub(crate) fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose-cases")
}

/// The folder of the outside cases; `None`, after a word about it, where there is none.
pub(crate) fn outside() -> Option<PathBuf> {
    let named = std::env::var_os("SHOPCTL_COMPOSE_CASES");
    let in_ci = std::env::var_os("CI").is_some();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = find(named.as_deref(), root, in_ci).unwrap_or_else(|why| panic!("{why}"));
    if found.is_none() {
        println!(
            "the outside cases were not found: neither SHOPCTL_COMPOSE_CASES=FOLDER nor {BESIDE}"
        );
    }
    found
}

/// The folder that is named, else the one beside the checkout. What is named has to be
/// there; in continuous integration a half of what lies beside is no reason to prove
/// less.
pub(crate) fn find(
    named: Option<&OsStr>,
    root: &Path,
    in_ci: bool,
) -> Result<Option<PathBuf>, String> {
    let beside = root.join(BESIDE);
    if let Some(named) = named {
        let folder = PathBuf::from(named);
        return if list(&folder).is_empty() {
            Err(format!(
                "SHOPCTL_COMPOSE_CASES: no cases in {}",
                folder.display()
            ))
        } else {
            Ok(Some(folder))
        };
    }
    if !list(&beside).is_empty() {
        return Ok(Some(beside));
    }
    let around = beside.parent().is_some_and(Path::is_dir);
    if in_ci && around {
        return Err(format!("no cases in {BESIDE}, though its parent is there"));
    }
    Ok(None)
}

/// The cases of a folder by name, in order; none where it cannot be read.
pub(crate) fn list(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut cases: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.join("case.json").exists())
        .map(|path| {
            let name = path.file_name().unwrap_or_default();
            (name.to_string_lossy().into_owned(), path)
        })
        .collect();
    cases.sort();
    cases
}

/// Lays the files of a case into a folder of its name, and says how it is asked for.
pub(crate) fn lay(path: &Path, work: &Path) -> LoadRequest {
    let inside = work.join(path.file_name().expect("a case has a name"));
    copy(&path.join("in"), &inside);
    let text = fs::read_to_string(path.join("case.json")).expect("readable");
    request(&serde_json::from_str(&text).expect("JSON"), inside)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

fn request(case: &Value, inside: PathBuf) -> LoadRequest {
    let mut request = LoadRequest {
        working_dir: inside,
        services: texts(&case["config_args"]),
        ..LoadRequest::default()
    };
    for (name, value) in case["env"].as_object().into_iter().flatten() {
        let value = value.as_str().expect("text").to_owned();
        request.environment.insert(name.clone(), value);
    }
    for (name, value) in [("HOME", "/home/u"), ("PATH", "/usr/bin:/bin")] {
        request.environment.insert(name.into(), value.into());
    }
    let args = texts(&case["args"]);
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let mut value = || args.next().expect("a flag has its value").clone();
        match flag.as_str() {
            "-f" => request.files.push(value().into()),
            "--env-file" => request.env_files.push(value().into()),
            "-p" => request.project_name = Some(value()),
            "--profile" => request.profiles.push(value()),
            "--project-directory" => request.project_directory = Some(value().into()),
            "--all-resources" => request.all_resources = true,
            other => unreachable!("a case with the argument {other}"),
        }
    }
    request
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(|text| text.as_str().expect("text").to_owned())
        .collect()
}
