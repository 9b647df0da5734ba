//! Hands the digest of the data plane's sources, and of what lays out its image, to
//! the compiler: the tag of our own image. A rebuilt CLI with the same data plane thus
//! keeps its gateways.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use sha2::Digest as _;
use sha2::Sha256;

/// What lays out the image.
const LAYOUT: [&str; 1] = ["src/backend/docker/image.rs"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let gateway = root.join("services/gateway");
    let mut files = vec![gateway.join("Cargo.toml")];
    files.extend(LAYOUT.map(|file| root.join(file)));
    collect(&gateway.join("src"), &mut files)?;
    files.sort();
    let mut digest = Sha256::new();
    for file in &files {
        let name = file.strip_prefix(&root)?.to_string_lossy().into_owned();
        let content = fs::read(file)?;
        digest.update(format!("{name}\0{}\0", content.len()));
        digest.update(content);
    }
    let mut text = String::new();
    for byte in digest.finalize().iter().take(6) {
        write!(text, "{byte:02x}")?;
    }
    println!("cargo::rerun-if-changed=build.rs");
    for file in LAYOUT {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-changed=services/gateway/src");
    println!("cargo::rerun-if-changed=services/gateway/Cargo.toml");
    println!("cargo::rustc-env=SHOPCTL_DATA_PLANE={text}");
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
