//! Conformance with Docker Compose 2.40.3: the same files accepted and
//! refused, and the same document printed.
//!
//! Each case is a folder with `case.json` (arguments and environment), `in/`
//! (the files), and `expected.json` or `expected-error`. The cases beside this
//! file run always; `SHOPCTL_COMPOSE_CASES=DIR` runs those of another folder
//! too. `deviations.txt` names the cases where we differ on purpose.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that reports figures"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use shopctl::stack::LoadRequest;
use shopctl::stack::Loaded;
use shopctl::stack::config::hash_of;
use shopctl::stack::load;

/// How one case compares.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Same,
    /// We refuse what the peer accepts.
    Refused(String),
    /// We accept what the peer refuses.
    Accepted,
    /// Both accept, and the documents differ.
    Differs(String),
}

fn own_cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose-cases")
}

#[test]
fn own_cases_agree_with_docker_compose() {
    let outcomes = run(&own_cases());
    assert!(outcomes.len() >= 60, "only {} cases", outcomes.len());
    verify("own cases", &outcomes);
}

#[test]
fn named_cases_agree_with_docker_compose() {
    let Some(folder) = std::env::var_os("SHOPCTL_COMPOSE_CASES") else {
        return;
    };
    let outcomes = run(Path::new(&folder));
    assert!(!outcomes.is_empty(), "no cases in {}", folder.display());
    verify("named cases", &outcomes);
}

fn verify(what: &str, outcomes: &BTreeMap<String, Outcome>) {
    let count = |wanted: fn(&Outcome) -> bool| outcomes.values().filter(|o| wanted(o)).count();
    let same = count(|outcome| *outcome == Outcome::Same);
    let differs = count(|outcome| matches!(outcome, Outcome::Differs(_)));
    println!(
        "{what}: {} cases, accept/refuse equal {}, document equal {same}",
        outcomes.len(),
        same + differs,
    );
    let deviations = fs::read_to_string(own_cases().join("deviations.txt")).unwrap();
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
    let mut outcomes = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.join("case.json").exists() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let inside = work.path().join(&name);
            copy(&path.join("in"), &inside);
            outcomes.insert(name, case(&path, &inside));
        }
    }
    outcomes
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn case(path: &Path, inside: &Path) -> Outcome {
    let case: Value =
        serde_json::from_str(&fs::read_to_string(path.join("case.json")).unwrap()).unwrap();
    let expected = fs::read_to_string(path.join("expected.json"))
        .ok()
        .map(|text| serde_json::from_str::<Value>(&text).unwrap());
    match (load(&request(&case, inside)), expected) {
        (Err(_), None) => Outcome::Same,
        (Ok(_), None) => Outcome::Accepted,
        (Err(problems), Some(_)) => Outcome::Refused(problems.to_string()),
        (Ok(loaded), Some(expected)) => {
            let folder = inside.to_string_lossy();
            let text = loaded.document.to_json().replace(&*folder, "@DIR@");
            let printed: Value = serde_json::from_str(&text).unwrap();
            let mut lines = Vec::new();
            differences("", &expected, &printed, &mut lines);
            hashes(path, inside, &loaded, &mut lines);
            if lines.is_empty() {
                Outcome::Same
            } else {
                Outcome::Differs(format!("\n{}", lines.join("\n")))
            }
        }
    }
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

fn request(case: &Value, inside: &Path) -> LoadRequest {
    let mut request = LoadRequest {
        working_dir: inside.to_owned(),
        document_only: true,
        services: texts(&case["config_args"]),
        ..LoadRequest::default()
    };
    for (name, value) in case["env"].as_object().into_iter().flatten() {
        request
            .environment
            .insert(name.clone(), value.as_str().unwrap().to_owned());
    }
    request.environment.insert("HOME".into(), "/home/u".into());
    request
        .environment
        .insert("PATH".into(), "/usr/bin:/bin".into());
    let args = texts(&case["args"]);
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "-f" => request.files.push(args.next().unwrap().into()),
            "--env-file" => request.env_files.push(args.next().unwrap().into()),
            "-p" => request.project_name = args.next().cloned(),
            "--profile" => request.profiles.push(args.next().unwrap().clone()),
            "--project-directory" => request.project_directory = args.next().map(PathBuf::from),
            "--all-resources" => request.all_resources = true,
            other => unreachable!("a case with the argument {other}"),
        }
    }
    request
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
