//! Docker Compose as a user has it: `COMPOSE=FILE`, else the one that lies beside the
//! checkout, else `docker compose`, else `docker-compose`. An absent one is a failure, not
//! a skip.

use std::path::Path;
use std::process::Command;
use std::process::Output;

use tempfile::TempDir;

/// Where continuous integration keeps a Docker Compose 2.
const BESIDE: &str = "../shared/peer/docker-compose";

/// Docker Compose on one project, in a folder that holds none of its files.
pub(crate) struct Compose {
    command: Vec<String>,
    /// What it calls itself, e.g. `2.40.3`.
    pub(crate) version: String,
    project: String,
    folder: TempDir,
}

impl Compose {
    /// Finds it. Compose 1 does nothing without a file, so it gets one that only
    /// names the services; Compose 2 gets none.
    pub(crate) fn find(project: &str, services: &[&str]) -> Self {
        let named = std::env::var("COMPOSE").ok().filter(|it| !it.is_empty());
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join(BESIDE);
        let beside = beside.is_file().then(|| beside.display().to_string());
        let named = named.or(beside);
        let candidates = match named {
            Some(program) => vec![vec![program]],
            None => vec![
                vec!["docker".to_owned(), "compose".to_owned()],
                vec!["docker-compose".to_owned()],
            ],
        };
        let found = candidates.into_iter().find_map(|command| {
            let version = version(&command)?;
            Some((command, version))
        });
        let (command, version) = found.expect(
            "Docker Compose is needed: ./install.sh test-tools, or name one with COMPOSE=FILE",
        );
        let folder = tempfile::tempdir().expect("a folder");
        if version.starts_with("1.") {
            let services: Vec<String> = services
                .iter()
                .map(|service| format!("  {service}: {{ image: none }}\n"))
                .collect();
            let file = format!("version: '3.8'\nservices:\n{}", services.concat());
            std::fs::write(folder.path().join("docker-compose.yml"), file).expect("a file");
        }
        Self {
            command,
            version,
            project: project.to_owned(),
            folder,
        }
    }

    /// Whether it is Compose 1.
    pub(crate) fn is_old(&self) -> bool {
        self.version.starts_with("1.")
    }

    /// Runs it on the project; what it printed to stdout and stderr.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        self.ok_in(self.folder.path(), arguments)
    }

    /// The same in a folder, which may hold the files of the project.
    #[track_caller]
    pub(crate) fn ok_in(&self, folder: &Path, arguments: &[&str]) -> String {
        let output = program(&self.command)
            .args(["-p", &self.project])
            .args(arguments)
            .current_dir(folder)
            .output()
            .expect("it starts");
        let words = words(&output);
        assert!(output.status.success(), "{arguments:?}: {words}");
        words
    }
}

fn version(command: &[String]) -> Option<String> {
    let output = program(command)
        .args(["version", "--short"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.trim().trim_start_matches('v').to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn program(command: &[String]) -> Command {
    let mut program = Command::new(&command[0]);
    program
        .args(&command[1..])
        .env_remove("COMPOSE_FILE")
        .env_remove("COMPOSE_PROJECT_NAME")
        .stdin(std::process::Stdio::null());
    program
}

fn words(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .concat()
}
