//! `install.sh` on a machine that has neither Rust nor an engine: it stops
//! before writing anything, and names the exact commands.

use std::path::Path;
use std::process::Command;

/// Every path of a tree with its size, to see whether anything was written.
fn listing(root: &Path) -> String {
    let output = Command::new("find")
        .arg(root)
        .args([
            "-xdev",
            "-not",
            "-path",
            "*/proc/*",
            "-not",
            "-type",
            "d",
            "-printf",
            "%p %s %T@\n",
        ])
        .output()
        .expect("find runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "engine"]
fn a_bare_machine_is_told_what_to_do_and_left_alone() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let made = Command::new("mmdebstrap")
        .args([
            "--quiet",
            "--variant=minbase",
            "--format=directory",
            "bookworm",
        ])
        .arg(root.path())
        .status()
        .expect("mmdebstrap is installed (./install.sh test-tools)");
    assert!(made.success(), "mmdebstrap failed");
    let checkout = root.path().join("checkout");
    std::fs::create_dir(&checkout).expect("a folder");
    for file in ["install.sh", "Cargo.toml"] {
        std::fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(file),
            checkout.join(file),
        )
        .expect("copied");
    }
    for (arguments, expected) in [
        (
            vec![],
            vec![
                "./install.sh --with-rust",
                "SHOPCTL_BINARY=FILE ./install.sh",
                "gcc libc6-dev",
            ],
        ),
        (
            vec!["demo"],
            vec![
                "./install.sh demo --with-rust",
                "apt-get install",
                "docker.io",
            ],
        ),
    ] {
        let before = listing(root.path());
        let ran = Command::new("chroot")
            .arg(root.path())
            .args([
                "/usr/bin/env",
                "-i",
                "HOME=/root",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ])
            .args(["sh", "/checkout/install.sh"])
            .args(&arguments)
            .output()
            .expect("chroot runs (as root)");
        let words = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{words}");
        for part in expected {
            assert!(words.contains(part), "`{part}` is missing in: {words}");
        }
        assert!(words.starts_with("Nothing was changed."), "{words}");
        assert_eq!(before, listing(root.path()), "something was written");
    }
}
