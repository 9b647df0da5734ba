//! Conformance with Docker Compose 2.40.3: the same files accepted and
//! refused, and the same document printed; and whatever is refused is refused with
//! file, line and column.
//!
//! Each case is a folder with `case.json` (arguments and environment), `in/`
//! (the files), and `expected.json` or `expected-error`. The cases beside this
//! file run always; those of `SHOPCTL_COMPOSE_CASES=FOLDER`, or of the folder that
//! lies beside the checkout, run where they are. `deviations.txt` names the cases
//! where we differ on purpose.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that reports figures"
)]

#[path = "support/cases.rs"]
mod cases;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use shopctl::stack::LoadRequest;
use shopctl::stack::Loaded;
use shopctl::stack::Problem;
use shopctl::stack::config::hash_of;
use shopctl::stack::load;

/// How one case compares.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Same,
    /// Both refuse, and we do not say where: one line for each such problem.
    Unplaced(String),
    /// We refuse what the peer accepts.
    Refused(String),
    /// We accept what the peer refuses.
    Accepted,
    /// Both accept, and the documents differ.
    Differs(String),
}

#[test]
fn own_cases_agree_with_docker_compose() {
    let outcomes = run(&cases::own());
    assert!(outcomes.len() >= 60, "only {} cases", outcomes.len());
    verify("own cases", &outcomes);
}

#[test]
fn outside_cases_agree_with_docker_compose() {
    if let Some(folder) = cases::outside() {
        verify("outside cases", &run(&folder));
    }
}

#[test]
fn outside_cases_are_looked_for_where_they_should_be() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("checkout");
    let beside = root.join("../shared/compose-cases");
    let named = place.path().join("named");
    let fill = |folder: &Path| {
        fs::create_dir_all(folder.join("case")).unwrap();
        fs::write(folder.join("case/case.json"), "{}").unwrap();
    };
    let find = |named: Option<&Path>, in_ci| cases::find(named.map(Path::as_os_str), &root, in_ci);
    fs::create_dir_all(&root).unwrap();
    assert_eq!(find(None, true), Ok(None), "neither is there");
    fs::create_dir_all(root.join("../shared")).unwrap();
    assert!(find(None, true).is_err(), "a half, where CI runs");
    assert_eq!(find(None, false), Ok(None), "a half, elsewhere");
    fs::create_dir_all(&beside).unwrap();
    assert!(find(None, true).is_err(), "an empty folder, where CI runs");
    fill(&beside);
    assert_eq!(find(None, true), Ok(Some(beside)));
    assert!(find(Some(&named), false).is_err(), "named and not there");
    fs::create_dir_all(&named).unwrap();
    assert!(find(Some(&named), false).is_err(), "named and empty");
    fill(&named);
    assert_eq!(find(Some(&named), false), Ok(Some(named)));
    let nothing = cases::find(Some(OsStr::new("")), &root, false);
    assert!(nothing.is_err(), "named by nothing: {nothing:?}");
}

fn verify(what: &str, outcomes: &BTreeMap<String, Outcome>) {
    let count = |wanted: fn(&Outcome) -> bool| outcomes.values().filter(|o| wanted(o)).count();
    let same = count(|outcome| *outcome == Outcome::Same);
    let alike = |outcome: &Outcome| matches!(outcome, Outcome::Differs(_) | Outcome::Unplaced(_));
    println!(
        "{what}: {} cases, accept/refuse equal {}, answer equal {same}",
        outcomes.len(),
        same + count(alike),
    );
    let deviations = fs::read_to_string(cases::own().join("deviations.txt")).unwrap();
    let known: Vec<&str> = deviations
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let mut unexpected = String::new();
    for (case, outcome) in outcomes {
        if *outcome != Outcome::Same && !known.contains(&case.as_str()) {
            unexpected.push_str(&format!("== {case}: {outcome:?}\n").replace("\\n", "\n  "));
        }
    }
    assert!(unexpected.is_empty(), "unexpected:\n{unexpected}");
}

fn run(folder: &Path) -> BTreeMap<String, Outcome> {
    let work = tempfile::tempdir().unwrap();
    cases::list(folder)
        .into_iter()
        .map(|(name, path)| {
            let request = LoadRequest {
                document_only: true,
                ..cases::lay(&path, work.path())
            };
            (name, case(&path, &request))
        })
        .collect()
}

fn case(path: &Path, request: &LoadRequest) -> Outcome {
    let expected = fs::read_to_string(path.join("expected.json"))
        .ok()
        .map(|text| serde_json::from_str::<Value>(&text).unwrap());
    match (load(request), expected) {
        (Err(problems), None) => {
            let unplaced: Vec<String> = problems
                .errors()
                .filter_map(|problem| unplaced(problem, request))
                .collect();
            if unplaced.is_empty() {
                Outcome::Same
            } else {
                Outcome::Unplaced(format!("\n{}", unplaced.join("\n")))
            }
        }
        (Ok(_), None) => Outcome::Accepted,
        (Err(problems), Some(_)) => Outcome::Refused(problems.to_string()),
        (Ok(loaded), Some(expected)) => {
            let folder = request.working_dir.to_string_lossy();
            let text = loaded.document.to_json().replace(&*folder, "@DIR@");
            let printed: Value = serde_json::from_str(&text).unwrap();
            let mut lines = Vec::new();
            differences("", &expected, &printed, &mut lines);
            hashes(path, &request.working_dir, &loaded, &mut lines);
            if lines.is_empty() {
                Outcome::Same
            } else {
                Outcome::Differs(format!("\n{}", lines.join("\n")))
            }
        }
    }
}

/// A line for an error that does not say file, line and column where it could.
fn unplaced(problem: &Problem, request: &LoadRequest) -> Option<String> {
    let place = problem.place();
    let placed = !place.file.is_empty() && place.line > 0 && place.column > 0;
    (!placed && !is_of_request(problem, request))
        .then(|| format!("{}: {} at {place}", problem.name, problem.message))
}

/// Whether no line of a file is to blame, but what was asked for.
fn is_of_request(problem: &Problem, request: &LoadRequest) -> bool {
    let names = |files: &[PathBuf]| {
        let mut files = files.iter();
        files.any(|file| *file == Path::new(&*problem.place().file))
    };
    match problem.name {
        // There is no file to point into.
        "no-file" => request.files.is_empty(),
        // Not read, and named by a flag; one that a file names is placed in that file.
        "file" => names(&request.files) || names(&request.env_files),
        // The name stands behind a flag.
        "project-name" => request.project_name.is_some(),
        _ => false,
    }
}

/// Configuration hashes. They were recorded in `/tmp/cc/<case>`, since paths are
/// part of them; and the peer leaves `env_file` out of account when it prints
/// them, and not when it starts containers.
fn hashes(path: &Path, inside: &Path, loaded: &Loaded, lines: &mut Vec<String>) {
    let Ok(text) = fs::read_to_string(path.join("expected-hash")) else {
        return;
    };
    let recorded_in = format!("/tmp/cc/{}", path.file_name().unwrap().to_string_lossy());
    for line in text.lines() {
        let Some((service, expected)) = line.split_once(' ') else {
            continue;
        };
        let uses_env_file = loaded
            .stack
            .services
            .get(service)
            .is_none_or(|service| !service.env_files.is_empty());
        if uses_env_file {
            continue;
        }
        let input = loaded.document.hash_input(service).unwrap();
        let input = input.replace(&*inside.to_string_lossy(), &recorded_in);
        let digest = hash_of(&input);
        if digest != expected {
            lines.push(format!(
                "hash of {service}: {expected} and ours {digest} of {input}"
            ));
        }
    }
}

/// Where two documents differ, one line each.
fn differences(path: &str, expected: &Value, printed: &Value, lines: &mut Vec<String>) {
    match (expected, printed) {
        (Value::Object(expected), Value::Object(printed)) => {
            for (key, value) in expected {
                match printed.get(key) {
                    Some(other) => differences(&format!("{path}.{key}"), value, other, lines),
                    None => lines.push(format!("{path}.{key} is missing: {value}")),
                }
            }
            for (key, value) in printed {
                if !expected.contains_key(key) {
                    lines.push(format!("{path}.{key} is too much: {value}"));
                }
            }
        }
        (Value::Array(expected), Value::Array(printed)) if expected.len() == printed.len() => {
            for (index, (value, other)) in expected.iter().zip(printed).enumerate() {
                differences(&format!("{path}[{index}]"), value, other, lines);
            }
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => {}
        _ if expected == printed => {}
        _ => lines.push(format!("{path}: {expected} and ours {printed}")),
    }
}
