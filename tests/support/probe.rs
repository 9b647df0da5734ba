//! A static executable for containers, compiled once from `probe_main.rs` by the
//! compiler alone: no image registry is needed, and it does what tests ask.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use sha2::Digest as _;
use sha2::Sha256;

/// The executable's source.
const SOURCE: &str = include_str!("probe_main.rs");

/// Path of the executable; compiled when it is not there.
pub(crate) fn path() -> PathBuf {
    let digest = format!("{:x?}", Sha256::digest(SOURCE.as_bytes()).as_slice());
    let digest: String = digest
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(12)
        .collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let done = folder.join(format!("probe-{digest}"));
    if done.exists() {
        return done;
    }
    // Tests are processes of their own: each compiles to a name of its own.
    let own = folder.join(format!("probe-{digest}-{}", std::process::id()));
    let source = own.with_extension("rs");
    fs::create_dir_all(folder).expect("the probe is compiled");
    fs::write(&source, SOURCE).expect("the probe is compiled");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let status = Command::new(rustc)
        .args([
            "--edition=2024",
            "-Ctarget-feature=+crt-static",
            "-Copt-level=s",
            "-Cstrip=symbols",
        ])
        .arg("-o")
        .arg(&own)
        .arg(&source)
        .status()
        .expect("the probe is compiled");
    assert!(status.success(), "the probe does not compile");
    fs::remove_file(&source).expect("the probe is compiled");
    fs::rename(&own, &done).expect("the probe is compiled");
    done
}
