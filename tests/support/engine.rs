//! A second engine, with its own data, socket and network namespace, so that the
//! machine's own engine and ports are left alone.
//!
//! Needs root, `dockerd`, `unshare` and `nsenter`; without them the tests fail, since a
//! proof that was skipped is none.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use super::Ran;
use super::TestStack;
use super::eventually;

/// A second engine; gone with all it made when dropped.
pub struct Engine {
    folder: tempfile::TempDir,
    /// Keeps the network namespace while the engine is down.
    holder: Child,
    /// Runs the containers, and outlives the engine, as where an init starts both.
    containerd: Child,
    daemon: Option<Child>,
    live_restore: bool,
    /// The data lie on a file system of their own.
    mounted: bool,
    /// The engine's program, after what starts it.
    dockerd: Vec<String>,
}

/// The engine of the next Debian, unpacked beside the tests and kept for the next run,
/// with its own libraries: a newer one than that of this machine.
fn newer() -> Vec<String> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-of-trixie");
    if !root.exists() {
        let part = root.with_extension(format!("{}.part", std::process::id()));
        let status = Command::new("mmdebstrap")
            .args(["--quiet", "--variant=extract", "--include=docker.io"])
            .arg("trixie")
            .arg(&part)
            .status();
        assert!(status.expect("mmdebstrap is installed").success());
        // Another test may have been first.
        if fs::rename(&part, &root).is_err() {
            assert!(root.exists(), "renamed");
            let _ = fs::remove_dir_all(part);
        }
    }
    let libraries = root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    let loaders = fs::read_dir(&libraries).expect("libraries").flatten();
    let mut loaders = loaders.map(|entry| entry.path().display().to_string());
    let loader = loaders.find(|path| path.contains("/ld-linux-"));
    let text = |path: PathBuf| path.display().to_string();
    vec![
        loader.expect("a loader"),
        "--library-path".to_owned(),
        text(libraries),
        text(root.join("usr/sbin/dockerd")),
    ]
}

impl Engine {
    /// A network and a containerd of its own; no engine yet.
    pub fn new(live_restore: bool) -> Self {
        let holder = Command::new("unshare")
            .args(["--net", "sh", "-c"])
            .arg("ip link set lo up && exec sleep infinity")
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare runs");
        let own = format!("/proc/{}/ns/net", holder.id());
        eventually(Duration::from_secs(5), "a network of its own", || {
            let ours = fs::read_link("/proc/self/ns/net").ok()?;
            (fs::read_link(&own).ok()? != ours).then_some(())
        });
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("data")).expect("a folder");
        fs::write(path("daemon.json"), "{}").expect("a file");
        let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        fs::write(path("containerd.toml"), config).expect("a file");
        let containerd = Command::new("nsenter")
            .args([&format!("--net={own}"), "containerd", "--config"])
            .arg(path("containerd.toml"))
            .arg("--root")
            .arg(path("containerd"))
            .arg("--state")
            .arg(path("exec/containerd"))
            .arg("--address")
            .arg(path("containerd.sock"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsenter runs");
        eventually(Duration::from_mins(1), "containerd is there", || {
            path("containerd.sock").exists().then_some(())
        });
        Self {
            folder,
            holder,
            containerd,
            daemon: None,
            live_restore,
            mounted: false,
            dockerd: vec!["dockerd".to_owned()],
        }
    }

    /// A newer engine than that of this machine.
    pub fn newer() -> Self {
        let mut engine = Self::new(false);
        engine.dockerd = newer();
        engine
    }

    /// With its data on a file system of this many megabytes.
    pub fn on_disk_of(megabytes: u32) -> Self {
        let mut engine = Self::new(false);
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "none"])
            .arg(engine.path("data"))
            .status();
        assert!(mounted.expect("mount runs").success());
        engine.mounted = true;
        engine
    }

    /// A file of the engine.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where it is reached, as `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    /// Something run in the engine's network.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.holder.id()))
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// shopctl for a stack on this engine, ready to run; in the engine's network, since
    /// what listens on the machine's own ports is no obstacle here.
    pub fn shopctl(&self, stack: &TestStack, arguments: &[&str]) -> Command {
        let plain = stack.command(arguments);
        let mut command = self.inside(plain.get_program().to_str().expect("a path in UTF-8"));
        command.args(plain.get_args());
        if let Some(folder) = plain.get_current_dir() {
            command.current_dir(folder);
        }
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("DOCKER_HOST", self.host());
        command
    }

    /// Runs shopctl for a stack on this engine.
    pub fn run(&self, stack: &TestStack, arguments: &[&str]) -> Ran {
        Ran::of(arguments, &mut self.shopctl(stack, arguments))
    }

    /// Starts the engine; it answers on return.
    pub fn start(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log");
        let mut command = self.inside(&self.dockerd[0]);
        command
            .args(&self.dockerd[1..])
            .arg("--config-file")
            .arg(self.path("daemon.json"))
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("exec"))
            .arg("--pidfile")
            .arg(self.path("pid"))
            .arg("--containerd")
            .arg(self.path("containerd.sock"))
            .args(["--host", &self.host()])
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .arg("--storage-driver=fuse-overlayfs")
            .stdout(Stdio::null())
            .stderr(log);
        if self.live_restore {
            command.arg("--live-restore");
        }
        self.daemon = Some(command.spawn().expect("nsenter runs"));
        eventually(Duration::from_mins(1), "the engine answers", || {
            self.docker(&["version"]).status.success().then_some(())
        });
    }

    /// What the engine answers to a GET of this path.
    pub fn docker(&self, arguments: &[&str]) -> Output {
        Command::new("curl")
            .args(["-sS", "--fail", "--max-time", "20", "--unix-socket"])
            .arg(self.path("socket"))
            .arg(format!("http://engine/{}", arguments.join("/")))
            .output()
            .expect("curl runs")
    }

    /// Ends the engine with a signal; it is gone on return.
    pub fn stop(&mut self, signal: &str) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        let sent = Command::new("kill")
            .args([signal, &daemon.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
        daemon.wait().expect("it ends");
    }

    /// What answers to `GET /` at an address; empty when nothing does.
    pub fn ask_at(&self, address: &str) -> String {
        let asked = self
            .inside("curl")
            .args(["-sS", "--max-time", "5"])
            .arg(format!("http://{address}/"))
            .output();
        String::from_utf8_lossy(&asked.expect("nsenter runs").stdout).into_owned()
    }

    /// Processes that serve this engine, by what they were started with.
    pub fn processes(&self) -> Vec<String> {
        let mark = self.path("containerd.sock").display().to_string();
        let of = |entry: fs::DirEntry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(&mark)
                .then(|| entry.file_name().to_string_lossy().into_owned())
        };
        let all = fs::read_dir("/proc").expect("processes").flatten();
        all.filter_map(of).collect()
    }
}

impl Engine {
    /// What runs in its containers: they outlive those who started them. Files of the
    /// engine are mounted into each, and its folder cannot be seen there. A container that
    /// another engine is about to start has that folder until it is given a root of its own.
    fn contained(&self) -> Vec<String> {
        let folder = self.folder.path();
        let name = folder.file_name().expect("a folder").to_string_lossy();
        let is_ours = |mounts: &str| {
            let column = |n| {
                mounts
                    .lines()
                    .filter_map(move |line| line.split(' ').nth(n))
            };
            column(3).any(|root| root.split('/').any(|part| part == name))
                && !column(4).any(|point| Path::new(point).starts_with(folder))
        };
        let of = |entry: fs::DirEntry| {
            let mounts = fs::read_to_string(entry.path().join("mountinfo")).ok()?;
            is_ours(&mounts).then(|| entry.file_name().to_string_lossy().into_owned())
        };
        let all = fs::read_dir("/proc").expect("processes").flatten();
        all.filter_map(of).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            let _ = std::io::Write::write_all(&mut std::io::stderr(), tail.join("\n").as_bytes());
        }
        if let Some(mut daemon) = self.daemon.take() {
            let _ = Command::new("kill").arg(daemon.id().to_string()).status();
            let _ = daemon.wait();
        }
        let _ = self.containerd.kill();
        let _ = self.containerd.wait();
        for process in self.processes().into_iter().chain(self.contained()) {
            let _ = Command::new("kill").args(["-KILL", &process]).status();
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let here = self.folder.path().display().to_string();
        let under = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let mut under: Vec<&str> = under.filter(|path| path.starts_with(&here)).collect();
        // What was mounted last lies on top.
        under.reverse();
        for path in under {
            let _ = Command::new("umount").args(["-l", path]).status();
        }
    }
}
