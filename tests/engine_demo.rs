//! The first command of the README, twice, on an engine with a network of its own, since
//! the demo's ports are fixed.

mod support;

use std::path::Path;
use std::process::Output;
use std::time::Duration;
use std::time::Instant;

use support::engine::Engine;

/// A second run has nothing to build and nothing to start.
const WARM: Duration = Duration::from_secs(20);

struct Demo {
    engine: Engine,
    /// Where shopctl is installed, and what it remembers.
    home: tempfile::TempDir,
}

impl Demo {
    fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        let home = self.home.path();
        let path = std::env::var("PATH").expect("a path");
        self.engine
            .inside(program.to_str().expect("a path in UTF-8"))
            .args(arguments)
            .env("DOCKER_HOST", self.engine.host())
            .env("SHOPCTL_BINARY", env!("CARGO_BIN_EXE_shopctl"))
            .env("PREFIX", home)
            .env("PATH", format!("{}/bin:{path}", home.display()))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .output()
            .expect("it starts")
    }
}

#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "the figure is the point")]
fn the_demo_sells_a_cup_and_does_so_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut engine = Engine::new(false);
    engine.start();
    let home = tempfile::tempdir().expect("a folder");
    let demo = Demo { engine, home };
    for round in ["first", "second"] {
        let begun = Instant::now();
        let ran = demo.run(&root.join("install.sh"), &["demo"]);
        let took = begun.elapsed();
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        let words = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{round}: {text}{words}");
        println!("{round}: {took:?}");
        for part in [
            r#""state":"pending_payment""#,
            r#""state":"paid""#,
            r#""order":{"id""#,
            r#""state":"refunded""#,
            "shop on docker, release 1, converged",
        ] {
            assert!(text.contains(part), "{round}: `{part}` is missing: {text}");
        }
        assert!(round == "first" || took < WARM, "{round}: {took:?}");
    }
    let stack = root.join("stacks/shop.yaml");
    let shopctl = demo.home.path().join("bin/shopctl");
    let file = stack.to_str().expect("a path in UTF-8");
    let down = demo.run(&shopctl, &["-f", file, "down", "--volumes", "--yes"]);
    assert!(down.status.success(), "{down:?}");
    let left = demo.engine.docker(&["containers/json?all=1"]);
    assert_eq!(String::from_utf8_lossy(&left.stdout).trim(), "[]");
}
