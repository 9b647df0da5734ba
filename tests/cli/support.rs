//! One invocation in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use shopctl::backend::memory::Memory;
use shopctl::cli::Invocation;
use shopctl::cli::settings::Terminals;
use shopctl::report::console::Console;

/// A project folder and the world its stack runs in.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    /// The world.
    pub(crate) memory: Memory,
    environment: BTreeMap<String, String>,
}

impl Bench {
    /// A folder with this stack file.
    pub(crate) fn new(file: &str) -> Self {
        let bench = Self::empty();
        bench.write("stack.yaml", file);
        bench
    }

    /// An empty folder.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = folder.path().join(".cache").display().to_string();
        let environment = [
            ("XDG_CACHE_HOME", cache.as_str()),
            ("USER", "ana"),
            ("HOSTNAME", "laptop"),
            // No local socket is looked at.
            ("DOCKER_HOST", "tcp://engine:2375"),
            ("COMPOSE_PROJECT_NAME", "shop"),
        ];
        fs::write(folder.path().join(".shopctl"), "a program").expect("the folder is writable");
        Self {
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            folder,
            memory: Memory::default(),
        }
    }

    /// A variable of the environment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file below the folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a folder");
        }
        fs::write(path, text).expect("the folder is writable");
    }

    /// Runs shopctl.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let (console, captured) = Console::memory(false);
        let invocation = Invocation {
            args: std::iter::once("shopctl")
                .chain(arguments.iter().copied())
                .map(Into::into)
                .collect(),
            environment: self.environment.clone(),
            working_dir: self.path().to_owned(),
            terminals: Terminals::default(),
            binary: self.path().join(".shopctl"),
        };
        let memory = self.memory.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let code = runtime.block_on(shopctl::cli::run(&invocation, &console, async |_| {
            Ok(memory)
        }));
        Ran {
            code,
            stdout: self.steady(&captured.stdout()),
            stderr: self.steady(&captured.stderr()),
        }
    }

    /// What differs from run to run, made the same.
    fn steady(&self, text: &str) -> String {
        let folder = self.path().display().to_string();
        text.replace(&folder, "[folder]")
    }
}

/// How a run ended.
pub(crate) struct Ran {
    /// Exit code.
    pub(crate) code: u8,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Ran {
    /// The output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "exit code: {}", self.code)?;
        writeln!(
            out,
            "--- stdout\n{}--- stderr\n{}",
            self.stdout, self.stderr
        )
    }
}
