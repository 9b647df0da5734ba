//! Another shopctl brings its data plane into the gateways that run: no container is made
//! anew, no connection refused, no request lost.
//!
//! The other one is this one with another name for its data plane: real programs that
//! tell each other apart.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use bollard::query_parameters::RemoveImageOptionsBuilder;
use serde_json::Value;
use shopctl::backend::docker::image;
use support::Ran;
use support::TestStack;
use support::block_on;
use support::docker;
use support::eventually;
use support::rig::Rig;
use support::shopctl;

/// Long enough for anything on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// A shopctl that brings another data plane; its image is removed with it.
struct Other {
    folder: tempfile::TempDir,
    data_plane: String,
}

impl Other {
    fn make() -> Self {
        let ours = image::program();
        let data_plane: String = ours.chars().rev().collect();
        assert_ne!(data_plane, ours);
        let mut program = std::fs::read(shopctl()).expect("a program");
        let mut from = 0;
        while let Some(at) = find(&program[from..], ours.as_bytes()) {
            let place = from + at..from + at + ours.len();
            program[place].copy_from_slice(data_plane.as_bytes());
            from += at + ours.len();
        }
        assert!(from > 0, "it knows its name");
        // An optimised program has it in pieces too, within its instructions.
        let piece = &ours.as_bytes()[..8];
        assert_eq!(
            find(&program, piece),
            None,
            "this proof needs a debug build"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let other = Self { folder, data_plane };
        std::fs::write(other.path(), program).expect("written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(other.path(), mode).expect("set");
        other
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("shopctl")
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let tag = format!("shopctl-gateway:{}", self.data_plane);
        block_on(async move {
            let force = RemoveImageOptionsBuilder::default().force(true).build();
            let _ = docker().remove_image(&tag, Some(force), None).await;
        });
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

/// The gateways, each as its container's id and when that was started.
fn gateways(stack: &TestStack) -> Vec<(String, String, String)> {
    let names = stack.containers().into_keys();
    let gateways = names.filter(|name| name.contains("-gateway-"));
    gateways
        .map(|name| {
            let found = stack.inspect(&name);
            let started = found.state.and_then(|state| state.started_at);
            (
                name,
                found.id.unwrap_or_default(),
                started.expect("it runs"),
            )
        })
        .collect()
}

/// What `doctor` says of the gateways.
fn diagnosis(stack: &TestStack, program: &Path) -> String {
    let arguments = ["doctor", "-o", "json"];
    let ran = Ran::of(&arguments, &mut stack.command_of(program, &arguments));
    let checks = ran.json();
    let mut checks = checks["checks"].as_array().expect("checks").iter();
    let found = checks.find(|check| check["name"] == "gateway");
    let found = found.unwrap_or_else(|| panic!("no gateway: {ran}"));
    found["outcome"].as_str().expect("an outcome").to_owned()
}

fn steps(plan: &Ran) -> Vec<String> {
    let document = plan.json();
    let steps = document["steps"].as_array().expect("steps").iter();
    steps
        .map(|step| step["what"].as_str().expect("words").to_owned())
        .collect()
}

#[test]
#[ignore = "engine"]
fn a_new_data_plane_takes_over_in_running_gateways_and_nothing_is_lost() {
    let other = Other::make();
    let (ours, theirs) = (shopctl(), other.path());
    let count = 10_000;
    let mut rig = Rig::start_by(&theirs, count, "2s");
    let before = gateways(&rig.stack);
    assert_eq!(diagnosis(&rig.stack, &theirs), "ok");
    assert_eq!(diagnosis(&rig.stack, &ours), "warning");
    let gateway = format!("{}-gateway-1", rig.stack.name);
    let planned = steps(&rig.stack.ok(&["plan", "-o", "json"]));
    assert_eq!(
        planned,
        [
            format!("store data plane {}", image::program()),
            format!("upgrade {gateway} to data plane {}", image::program()),
        ]
    );
    let mut upgrades = 0;
    while rig.is_busy() {
        let by = if upgrades % 2 == 0 { &ours } else { &theirs };
        rig.change_by(by, &["deploy"]);
        assert_eq!(diagnosis(&rig.stack, by), "ok");
        upgrades += 1;
    }
    rig.prove(&format!("{upgrades} upgrades"), count);
    assert!(upgrades >= 3, "{upgrades}");
    assert_eq!(gateways(&rig.stack), before, "no container was touched");
    // A gateway that dies comes back with the program that served last.
    if upgrades % 2 == 0 {
        rig.stack.ok(&["deploy", "--progress", "none"]);
    }
    let pid = rig
        .stack
        .inspect(&gateway)
        .state
        .and_then(|state| state.pid);
    let pid = pid.expect("it runs").to_string();
    let killed = std::process::Command::new("kill")
        .args(["-9", &pid])
        .status();
    assert!(killed.expect("started").success());
    eventually(SOON, "it serves again", || {
        let (status, _) = support::get(rig.port, "/").ok()?;
        (status == 200 && gateways(&rig.stack) != before).then_some(())
    });
    assert_eq!(diagnosis(&rig.stack, &ours), "ok");
    assert_eq!(
        steps(&rig.stack.ok(&["plan", "-o", "json"])),
        Vec::<String>::new()
    );
    let removed = rig.stack.ok(&["down", "--volumes", "-o", "json"]);
    assert!(
        removed
            .events()
            .iter()
            .any(|event: &Value| event["event"] == "finished")
    );
    assert_eq!(rig.stack.leftovers(), Vec::<String>::new());
}
