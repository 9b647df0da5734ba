//! Base images made on this machine, since no registry is needed to test.

use std::path::Path;
use std::process::Command;

use crate::support::block_on;
use crate::support::docker;

/// A Debian image `<name>:1` with these packages; kept for the next run.
pub(crate) fn debian_image(name: &str, packages: &str) -> String {
    let tag = format!("{name}:1");
    if block_on(async { docker().inspect_image(&tag).await.is_ok() }) {
        return tag;
    }
    let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.tar"));
    if !archive.exists() {
        // Another test may be making the same.
        let made = archive.with_extension(format!("{}.part", std::process::id()));
        let status = Command::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase", "--format=tar"])
            .arg(format!("--include={packages}"))
            .arg("bookworm")
            .arg(&made)
            .status()
            .expect("mmdebstrap is installed");
        assert!(status.success(), "mmdebstrap failed");
        std::fs::rename(made, &archive).expect("the archive can be renamed");
    }
    let status = Command::new("curl")
        .args(["-sS", "--fail", "--unix-socket", "/var/run/docker.sock"])
        .args(["-X", "POST", "-o", "/dev/null"])
        .args(["-H", "Content-Type: application/x-tar", "-T"])
        .arg(&archive)
        .arg(format!(
            "http://engine/v1.41/images/create?fromSrc=-&repo={name}&tag=1"
        ))
        .status()
        .expect("curl is installed");
    assert!(status.success(), "the engine did not import {tag}");
    tag
}
