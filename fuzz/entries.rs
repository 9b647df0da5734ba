//! What is done with one input: by the fuzz targets, and by `tests/fuzz_corpus.rs`.
//!
//! All go through the library's one door, [`load`], each so that its part of the work
//! gets the input: the variables of a value, the lines of an environment file, the tree
//! of a document, a whole stack file. What loads is printed and resolved, what does not
//! is put into words, because those have to stand any input too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use shopctl::stack::LoadRequest;
use shopctl::stack::load;
use shopctl::state::resolve;

/// Does its part with an input, in a folder that holds nothing else.
pub(crate) type Entry = fn(&[u8], &Path);

/// What a target does.
pub(crate) fn of(target: &str) -> Entry {
    match target {
        "interpolate" => interpolate,
        "dotenv" => dotenv,
        "tree" => tree,
        "loader" => loader,
        other => unreachable!("a target named {other}"),
    }
}

/// The input is a value with variables.
fn interpolate(input: &[u8], folder: &Path) {
    let value = text(input);
    let stack = serde_json::json!({
        "name": "fuzz",
        "services": { "a": { "image": "a:1", "environment": { "V": value } } },
    });
    finish(&LoadRequest {
        stdin: Some(stack.to_string()),
        ..request("-", folder)
    });
}

/// The input is an environment file, of the project and of its services.
fn dotenv(input: &[u8], folder: &Path) {
    const STACK: &str = "
name: fuzz
services:
  a: { image: \"a:${A:-1}\", env_file: fuzz.env }
  b: { image: \"a:1\", env_file: [{ path: fuzz.env, format: raw }] }
";
    lay(folder, "fuzz.env", input);
    finish(&LoadRequest {
        stdin: Some(STACK.to_owned()),
        env_files: vec![PathBuf::from("fuzz.env")],
        ..request("-", folder)
    });
}

/// The input is a document that is only printed: nothing is replaced or checked.
fn tree(input: &[u8], folder: &Path) {
    finish(&LoadRequest {
        stdin: Some(text(input).to_owned()),
        document_only: true,
        raw: true,
        ..request("-", folder)
    });
}

/// The input is a stack file, which may also include and extend itself.
fn loader(input: &[u8], folder: &Path) {
    lay(folder, "stack.yaml", input);
    finish(&request("stack.yaml", folder));
}

fn request(file: &str, folder: &Path) -> LoadRequest {
    let variables = [("A", "a"), ("B", "$A ${A}"), ("EMPTY", ""), ("PORT", "80")];
    LoadRequest {
        files: vec![PathBuf::from(file)],
        project_name: Some("fuzz".to_owned()),
        profiles: vec!["*".to_owned()],
        working_dir: folder.to_owned(),
        environment: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        all_resources: true,
        ..LoadRequest::default()
    }
}

fn finish(request: &LoadRequest) {
    let loaded = match load(request) {
        Ok(loaded) => loaded,
        Err(problems) => {
            assert!(problems.errors().count() > 0, "refused without a reason");
            let _ = problems.to_string();
            return;
        }
    };
    for problem in &loaded.warnings {
        let _ = problem.to_string();
    }
    let document = &loaded.document;
    let _ = document.to_yaml();
    let json = document.to_json();
    assert!(
        serde_json::from_str::<serde_json::Value>(&json).is_ok(),
        "no JSON: {json}"
    );
    for service in document.services() {
        let _ = document.hash(&service);
    }
    let contents: BTreeMap<PathBuf, Vec<u8>> = resolve::files(&loaded.stack)
        .into_iter()
        .map(|path| (path, Vec::new()))
        .collect();
    let inputs = resolve::Inputs {
        contents,
        ..resolve::Inputs::default()
    };
    let _ = resolve::resolve(&loaded.stack, &inputs);
}

/// The input up to the first byte that is no text.
fn text(input: &[u8]) -> &str {
    match std::str::from_utf8(input) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&input[..error.valid_up_to()]).unwrap_or_default(),
    }
}

fn lay(folder: &Path, name: &str, content: &[u8]) {
    fs::write(folder.join(name), content).expect("the folder is writable");
}
