//! The documents and the tree keep their promises: links lead somewhere, files
//! stay readable, and no second TLS library creeps in.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Files that git knows or would add, with this ending.
fn files(ending: &str) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
            &format!("*{ending}"),
        ])
        .current_dir(root())
        .output()
        .expect("git runs");
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Vec<PathBuf> = names
        .lines()
        .map(|name| root().join(name))
        .filter(|path| path.exists())
        .collect();
    assert!(!found.is_empty(), "no {ending} file was found");
    found
}

#[test]
fn relative_links_in_the_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for path in files(".md") {
        let text = fs::read_to_string(&path).expect("readable");
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let folder = path.parent().unwrap_or(Path::new(""));
            if !folder.join(target).exists() {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links: {broken:#?}");
}

#[test]
fn no_source_file_is_longer_than_800_lines() {
    let long: Vec<String> = files(".rs")
        .into_iter()
        .filter_map(|path| {
            let lines = fs::read_to_string(&path).expect("readable").lines().count();
            (lines > 800).then(|| format!("{} has {lines} lines", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn only_one_tls_library_is_linked() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("readable");
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--offline",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.contains("ring v"), "the tree was read");
    for forbidden in ["aws-lc-sys", "openssl-sys"] {
        assert!(
            !tree.contains(forbidden),
            "{forbidden} is linked (lock file: {})",
            lock.contains(forbidden)
        );
    }
}
