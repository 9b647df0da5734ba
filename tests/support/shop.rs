//! The real shop in containers: the stack file that users run, with images from
//! the services' binaries that `cargo test` built, on ports of the test's own.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use super::Ran;
use super::TestStack;
use super::free_port;

const SERVICES: [&str; 2] = ["goods", "order"];

/// `stacks/shop.yaml` under a name of its own.
pub(crate) struct Shop {
    pub(crate) stack: TestStack,
    /// Published port of order.
    pub(crate) orders: u16,
    /// Published port of goods.
    pub(crate) goods: u16,
}

impl Shop {
    /// Lays out images and an override; nothing is deployed yet.
    pub(crate) fn new(replicas: usize) -> Self {
        let stack = TestStack::new("");
        let (goods, orders) = (free_port(), free_port());
        let mut parts = vec!["services:\n".to_owned()];
        for (name, port) in [("goods", goods), ("order", orders)] {
            let context = stack.path().join(name);
            fs::create_dir_all(context.join("data")).expect("a folder");
            fs::write(context.join("data/.keep"), "").expect("the folder is writable");
            fs::copy(binary(name), context.join(name)).expect("the binary was built");
            let dockerfile = root().join("services").join(name).join("Dockerfile");
            let inside = if name == "goods" { 8001 } else { 8000 };
            // Reservations are small, since other tests take their part of the machine.
            parts.push(format!(
                r#"
  {name}:
    build: !override {{ context: "{}", dockerfile: "{}" }}
    ports: !override [{{ target: {inside}, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy: {{ replicas: {replicas}, resources: {{ reservations: {{ cpus: "0.02", memory: 16M }} }} }}
    x-shop: {{ build: !reset null }}
"#,
                context.display(),
                dockerfile.display()
            ));
        }
        stack.write("own.yaml", &parts.concat());
        Self {
            stack,
            orders,
            goods,
        }
    }

    /// Runs shopctl on the two files, which must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{ran}");
        ran
    }

    /// Runs shopctl on the two files.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let file = root().join("stacks/shop.yaml");
        let file = file.to_str().expect("a path in UTF-8");
        let own = self.stack.path().join("own.yaml");
        let own = own.to_str().expect("a path in UTF-8");
        self.stack
            .run(&[&["-f", file, "-f", own], arguments].concat())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A service's binary beside shopctl's, built when a run of fewer packages left
/// it out or older than its sources.
fn binary(name: &str) -> PathBuf {
    let shopctl = Path::new(env!("CARGO_BIN_EXE_shopctl"));
    let path = shopctl.with_file_name(name);
    let services = root().join("services");
    let sources = [services.join(name), services.join("kit")];
    let newest = sources.iter().map(|folder| newest(folder)).max();
    if modified(&path) >= newest {
        return path;
    }
    let profile = shopctl.parent().and_then(Path::file_name);
    let release = profile.is_some_and(|profile| profile == "release");
    let target = shopctl.ancestors().nth(3).expect("target/TRIPLE/PROFILE");
    let built = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["build", "--locked"])
        .args(SERVICES.iter().flat_map(|service| ["-p", service]))
        .args(release.then_some("--release"))
        .arg("--target-dir")
        .arg(target)
        .status()
        .expect("cargo runs");
    assert!(built.success(), "{name} cannot be built");
    path
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

fn newest(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).expect("a folder of sources");
    let times = entries.map(|entry| {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            newest(&path)
        } else {
            modified(&path).expect("a time")
        }
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}
