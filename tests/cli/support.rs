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
    /// Outside of the folder, so that no build context holds it.
    cache: tempfile::TempDir,
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
        let cache = tempfile::tempdir().expect("a temporary folder");
        let cache_path = cache.path().display().to_string();
        let environment = [
            ("XDG_CACHE_HOME", cache_path.as_str()),
            ("USER", "ana"),
            ("HOSTNAME", "laptop"),
            // No local socket is looked at.
            ("DOCKER_HOST", "tcp://engine:2375"),
            ("COMPOSE_PROJECT_NAME", "shop"),
        ];
        fs::write(cache.path().join("shopctl-binary"), "a program")
            .expect("the folder is writable");
        Self {
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            folder,
            cache,
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
            binary: self.cache.path().join("shopctl-binary"),
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

/// Holds a document against its schema in `docs/reference/schema/`.
#[track_caller]
pub(crate) fn valid(schema: &str, document: &serde_json::Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/reference/schema")
        .join(schema);
    let text = fs::read_to_string(&path).expect("the schema is there");
    let schema: serde_json::Value = serde_json::from_str(&text).expect("a schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
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
