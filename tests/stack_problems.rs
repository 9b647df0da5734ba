//! What a person reads when a stack file is wrong: each folder of
//! `tests/broken` is one stack, and its problems are a snapshot.
//!
//! Read a changed snapshot as its user would: is the place exact, the sentence
//! true, the hint something to type?

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use shopctl::stack::LoadRequest;
use shopctl::stack::load;
use shopctl::state::resolve;

fn request(folder: PathBuf) -> LoadRequest {
    LoadRequest {
        working_dir: folder,
        environment: BTreeMap::from([
            ("COUNT".to_owned(), "many".to_owned()),
            ("RO".to_owned(), "perhaps".to_owned()),
        ]),
        ..LoadRequest::default()
    }
}

/// The problems of a request that must fail, with the folder taken out.
fn problems(request: &LoadRequest) -> String {
    let folder = request.working_dir.to_string_lossy().into_owned();
    let problems = load(request).expect_err("the stack is broken");
    assert!(problems.errors().count() > 0, "no error in {folder}");
    problems.to_string().replace(&folder, "@DIR@")
}

#[test]
fn broken_stacks_are_explained() {
    let broken = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut folders: Vec<PathBuf> = fs::read_dir(broken)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    assert!(folders.len() >= 50, "only {} broken stacks", folders.len());
    insta::with_settings!({ snapshot_path => "broken-snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        for folder in folders {
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            insta::assert_snapshot!(name, problems(&request(folder)));
        }
    });
}

#[test]
fn requests_that_cannot_be_met_are_explained() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("shop");
    fs::create_dir(&folder).unwrap();
    fs::write(
        folder.join("latin1.yaml"),
        b"services:\n  a: {image: \"caf\xe9\"}\n",
    )
    .unwrap();
    fs::write(
        folder.join("ok.yaml"),
        "services: {order: {image: \"order:1\"}}\n",
    )
    .unwrap();
    let file = |name: &str| LoadRequest {
        files: vec![PathBuf::from(name)],
        ..request(folder.clone())
    };
    let cases = [
        ("no stack file anywhere", request(folder.clone())),
        ("a file that is not there", file("none.yaml")),
        ("a folder", file(".")),
        ("a file that is not UTF-8", file("latin1.yaml")),
        ("a file without an end", file("/dev/zero")),
        ("a remote file", file("https://example.com/compose.yaml")),
        ("standard input without any", file("-")),
        (
            "a broken standard input",
            LoadRequest {
                stdin: Some("services: {order: {imag: x}}".to_owned()),
                ..file("-")
            },
        ),
        (
            "a project name that cannot be",
            LoadRequest {
                project_name: Some("My Shop".to_owned()),
                ..file("ok.yaml")
            },
        ),
        (
            "a service that is not there",
            LoadRequest {
                services: vec!["ordr".to_owned()],
                ..file("ok.yaml")
            },
        ),
        (
            "an environment file that is not there",
            LoadRequest {
                env_files: vec![PathBuf::from("none.env")],
                ..file("ok.yaml")
            },
        ),
    ];
    let mut text = String::new();
    for (name, request) in cases {
        writeln!(text, "## {name}\n{}", problems(&request)).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn doubtful_stacks_are_commented() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doubtful");
    let loaded = load(&request(folder)).unwrap();
    let text: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(text.join("\n"));
}

/// One name, one reason and one remedy each, whether it is found in the file or later.
#[test]
fn keys_that_do_not_act_are_named_once_with_the_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/named");
    let mut request = request(folder);
    request
        .environment
        .insert("TOKEN".to_owned(), "t".to_owned());
    let loaded = load(&request).unwrap();
    let resolved = resolve::resolve(&loaded.stack, &resolve::Inputs::default()).unwrap();
    let mut named: Vec<String> = Vec::new();
    for warning in loaded.warnings.iter().chain(&resolved.warnings) {
        if !["not-yet", "on-clusters", "not-supported", "no-effect"].contains(&warning.name) {
            continue;
        }
        assert!(warning.place().line > 0, "{warning}");
        let hint = warning.hint.as_deref().unwrap_or("-");
        named.push(format!("{}: {}\n    {hint}", warning.name, warning.message));
    }
    insta::assert_snapshot!(named.join("\n"));
}
