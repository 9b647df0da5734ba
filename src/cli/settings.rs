//! Flags, environment and defaults as plain structs: the only reader of
//! environment variables, and no more than that.
//!
//! The environment comes in as a map, so tests need none. Test:
//! `cargo nextest run -p shopctl cli::settings`.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::args::BackendArg;
use super::args::Globals;
use super::args::ProgressArg;
use super::error::CliError;
use crate::report::Format;
use crate::report::Mode;
use crate::report::console::Color;
use crate::stack;
use crate::stack::LoadRequest;
use crate::stack::Loaded;
use crate::stack::Problems;
use crate::stack::Stack;
use crate::stack::model::BackendKind;

/// The environment of the process, by name.
pub type Environment = BTreeMap<String, String>;

/// The environment of this process; values that are not UTF-8 are left out.
pub fn process_environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Everything a command may ask for besides its own flags.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// What to load; `stdin` is filled when a file is `-`.
    pub load: LoadRequest,
    /// `--backend`.
    pub backend: Option<BackendArg>,
    /// Which engine is meant.
    pub engine: EngineSettings,
    /// Which cluster is meant.
    pub cluster: ClusterSettings,
    /// Form of an answer on stdout.
    pub format: Format,
    /// Form of progress on stderr.
    pub progress: Mode,
    /// More words.
    pub verbose: bool,
    /// Neither progress nor warnings.
    pub quiet: bool,
    /// No question is asked: the answer is yes.
    pub yes: bool,
    /// Folder for what may be lost, e.g. digests of prepare inputs.
    pub cache: PathBuf,
    /// Who asks, for locks and records.
    pub user: String,
    /// From which host.
    pub host: String,
    /// The stack as it was loaded to find its backend, until somebody takes it.
    pub(super) loaded: Arc<Mutex<Option<Loaded>>>,
}

/// Which engine is meant: what the flags and the environment say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineSettings {
    /// `DOCKER_HOST`; absent where `--context` goes before it.
    pub host: Option<String>,
    /// `--context`, else `DOCKER_CONTEXT`.
    pub context: Option<String>,
    /// `DOCKER_CONFIG`, else `.docker` in the home.
    pub config_dir: Option<PathBuf>,
    /// `DOCKER_TLS_VERIFY` is set and not empty.
    pub tls_verify: bool,
    /// `DOCKER_CERT_PATH`.
    pub cert_path: Option<PathBuf>,
    /// `DOCKER_BUILDKIT=0`.
    pub classic_builder: bool,
}

impl EngineSettings {
    /// Path of the engine's socket, where it is one of this host.
    pub fn local_socket(&self) -> Option<PathBuf> {
        match (&self.host, &self.context) {
            (Some(host), _) => host.strip_prefix("unix://").map(Into::into),
            (None, None) => Some("/var/run/docker.sock".into()),
            (None, Some(_)) => None,
        }
    }
}

/// Which cluster is meant: what the flags and the environment say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Files of `KUBECONFIG`, else `.kube/config` in the home.
    pub kubeconfig: Vec<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `SHOPCTL_REGISTRY`, else what the file says.
    pub registry: String,
}

/// The terminals among the standard streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terminals {
    /// Standard input is one, so a question may be asked.
    pub stdin: bool,
    /// Standard output is one.
    pub stdout: bool,
    /// Standard error is one.
    pub stderr: bool,
}

/// When output is coloured, by flag and environment.
pub fn color(globals: &Globals, environment: &Environment) -> Color {
    match globals.color {
        super::args::ColorArg::Always => Color::Always,
        super::args::ColorArg::Never => Color::Never,
        super::args::ColorArg::Auto if set(environment, "NO_COLOR").is_some() => Color::Never,
        super::args::ColorArg::Auto if environment.get("TERM").is_some_and(|it| it == "dumb") => {
            Color::Never
        }
        super::args::ColorArg::Auto => Color::Auto,
    }
}

impl Settings {
    /// Loads the stack. What was loaded to find its backend is not loaded a second time;
    /// later calls read the files anew.
    pub fn stack(&self) -> Result<Loaded, Problems> {
        let mut begun = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match begun.take() {
            Some(loaded) => Ok(loaded),
            None => stack::load(&self.load),
        }
    }

    /// Keeps a stack for whoever asks for it next.
    #[cfg(feature = "kubernetes")]
    pub(super) fn keep(&self, loaded: Loaded) {
        let mut begun = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        *begun = Some(loaded);
    }

    /// Where the stack runs: as a flag says, else as its file does, else on an engine.
    pub fn backend_of(&self, stack: &Stack) -> BackendArg {
        let file = stack.shop.backend.map(|kind| match kind {
            BackendKind::Docker => BackendArg::Docker,
            BackendKind::Swarm => BackendArg::Swarm,
            BackendKind::Kubernetes => BackendArg::Kubernetes,
        });
        self.backend.or(file).unwrap_or(BackendArg::Docker)
    }
}

/// Refuses a backend that is not there yet.
pub fn is_known(backend: BackendArg) -> Result<(), CliError> {
    if backend == BackendArg::Docker
        || (backend == BackendArg::Kubernetes && cfg!(feature = "kubernetes"))
    {
        return Ok(());
    }
    let message = format!("the {} backend is not part of this version", backend.name());
    Err(CliError::usage(message).hint("--backend docker"))
}

/// Puts flags over environment over defaults. `files` are those of the top
/// level and of the command, in order.
pub fn gather(
    globals: &Globals,
    files: Vec<PathBuf>,
    environment: &Environment,
    working_dir: &Path,
    terminals: Terminals,
) -> Result<Settings, CliError> {
    let get = |name: &str| set(environment, name);
    let home = get("HOME").map(PathBuf::from);
    let files = if files.is_empty() {
        shopctl_files(environment)
    } else {
        files
    };
    Ok(Settings {
        backend: globals.backend,
        load: LoadRequest {
            files,
            env_files: globals.env_file.clone(),
            project_name: globals.project_name.clone(),
            profiles: globals.profile.clone(),
            environment: environment.clone(),
            working_dir: working_dir.to_owned(),
            ..LoadRequest::default()
        },
        engine: EngineSettings {
            // A context asked for by flag goes before a host of the environment.
            host: get("DOCKER_HOST").filter(|_| globals.context.is_none()),
            context: globals.context.clone().or_else(|| get("DOCKER_CONTEXT")),
            config_dir: get("DOCKER_CONFIG")
                .map(PathBuf::from)
                .or_else(|| home.as_ref().map(|home| home.join(".docker"))),
            tls_verify: get("DOCKER_TLS_VERIFY").is_some(),
            cert_path: get("DOCKER_CERT_PATH").map(PathBuf::from),
            classic_builder: get("DOCKER_BUILDKIT").is_some_and(|it| it == "0"),
        },
        cluster: ClusterSettings {
            kubeconfig: kubeconfig(environment, home.as_deref()),
            context: globals.context.clone(),
            registry: get("SHOPCTL_REGISTRY").unwrap_or_default(),
        },
        format: globals.output.into(),
        progress: progress(globals, environment, terminals),
        verbose: globals.verbose,
        quiet: globals.quiet,
        yes: globals.yes,
        cache: get("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| home.map(|home| home.join(".cache")))
            .unwrap_or_else(std::env::temp_dir)
            .join("shopctl"),
        user: get("USER")
            .or_else(|| get("LOGNAME"))
            .unwrap_or_else(|| "unknown".to_owned()),
        host: get("HOSTNAME")
            .or_else(kernel_host_name)
            .unwrap_or_else(|| "unknown".to_owned()),
        loaded: Arc::default(),
    })
}

fn progress(globals: &Globals, environment: &Environment, terminals: Terminals) -> Mode {
    let dumb = environment.get("TERM").is_some_and(|it| it == "dumb");
    if globals.quiet {
        return Mode::None;
    }
    let live = match globals.progress {
        ProgressArg::None => return Mode::None,
        ProgressArg::Plain => false,
        ProgressArg::Tty => terminals.stderr,
        ProgressArg::Auto => terminals.stderr && !dumb,
    };
    if live { Mode::Tty } else { Mode::Plain }
}

/// `SHOPCTL_FILE` goes before `COMPOSE_FILE`, which the loader reads itself.
fn shopctl_files(environment: &Environment) -> Vec<PathBuf> {
    let separator = set(environment, "COMPOSE_PATH_SEPARATOR").unwrap_or_else(|| ":".to_owned());
    set(environment, "SHOPCTL_FILE").map_or_else(Vec::new, |files| {
        files
            .split(separator.as_str())
            .filter(|file| !file.is_empty())
            .map(PathBuf::from)
            .collect()
    })
}

fn kubeconfig(environment: &Environment, home: Option<&Path>) -> Vec<PathBuf> {
    if let Some(files) = set(environment, "KUBECONFIG") {
        return std::env::split_paths(&files).collect();
    }
    home.map(|home| home.join(".kube/config"))
        .into_iter()
        .collect()
}

/// A variable that is set and not empty.
fn set(environment: &Environment, name: &str) -> Option<String> {
    environment.get(name).filter(|it| !it.is_empty()).cloned()
}

/// Shells seldom export `HOSTNAME`.
fn kernel_host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn gathered(globals: &Globals, pairs: &[(&str, &str)]) -> Settings {
        gather(
            globals,
            Vec::new(),
            &environment(pairs),
            Path::new("/project"),
            Terminals::default(),
        )
        .expect("valid flags")
    }

    #[test]
    fn shopctl_file_may_name_several() {
        let settings = gathered(&Globals::default(), &[("SHOPCTL_FILE", "a.yaml:b.yaml")]);
        assert_eq!(settings.load.files, ["a.yaml", "b.yaml"].map(PathBuf::from));
        let settings = gathered(
            &Globals::default(),
            &[
                ("SHOPCTL_FILE", "a.yaml;b:c.yaml"),
                ("COMPOSE_PATH_SEPARATOR", ";"),
            ],
        );
        assert_eq!(
            settings.load.files,
            ["a.yaml", "b:c.yaml"].map(PathBuf::from)
        );
    }

    #[test]
    fn a_context_flag_goes_before_a_host_variable() {
        let globals = Globals {
            context: Some("prod".to_owned()),
            ..Globals::default()
        };
        let engine = gathered(&globals, &[("DOCKER_HOST", "tcp://h:1")]).engine;
        assert_eq!(
            (engine.host, engine.context),
            (None, Some("prod".to_owned()))
        );
        let engine = gathered(&Globals::default(), &[("DOCKER_HOST", "tcp://h:1")]).engine;
        assert_eq!(engine.host.as_deref(), Some("tcp://h:1"));
    }

    #[test]
    fn without_a_terminal_progress_is_plain() {
        assert_eq!(gathered(&Globals::default(), &[]).progress, Mode::Plain);
        let quiet = Globals {
            quiet: true,
            ..Globals::default()
        };
        assert_eq!(gathered(&quiet, &[]).progress, Mode::None);
    }

    #[test]
    fn no_color_is_honoured_unless_a_flag_asks_for_colour() {
        let no_color = environment(&[("NO_COLOR", "1")]);
        assert_eq!(color(&Globals::default(), &no_color), Color::Never);
        let always = Globals {
            color: super::super::args::ColorArg::Always,
            ..Globals::default()
        };
        assert_eq!(color(&always, &no_color), Color::Always);
    }
}
