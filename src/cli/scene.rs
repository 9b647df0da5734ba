//! What every command works with, and the steps that all of them share: load
//! the stack, connect, show an answer.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tokio::sync::watch;

use super::error;
use super::error::CliError;
use super::exit::Exit;
use super::project::Project;
use super::project::ProjectError;
use super::settings::Environment;
use super::settings::Settings;
use super::settings::Terminals;
use super::world::World;
use crate::report::console::Console;
use crate::report::output;
use crate::report::tables::View;
use crate::stack;
use crate::stack::Loaded;

/// Ctrl-C and SIGTERM, as commands see them.
#[derive(Debug, Clone)]
pub struct Signals {
    /// Becomes true at the first of them: stop at the next safe point.
    pub stop: watch::Receiver<bool>,
    code: Arc<AtomicU8>,
}

impl Signals {
    /// Signals, and the way to raise them.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, stop) = watch::channel(false);
        let code = Arc::new(AtomicU8::new(Exit::Interrupted.code()));
        (sender, Self { stop, code })
    }

    /// Notes which signal it was.
    pub fn note(&self, exit: Exit) {
        self.code.store(exit.code(), Ordering::Relaxed);
    }

    /// Exit code of an interrupted command.
    pub fn code(&self) -> u8 {
        self.code.load(Ordering::Relaxed)
    }

    /// Resolves at the first signal; never when nobody can raise one any more.
    pub async fn raised(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a command works with.
pub(super) struct Scene<'a, W> {
    /// Flags and environment.
    pub(super) settings: Settings,
    /// The environment itself.
    pub(super) environment: &'a Environment,
    /// Where words go.
    pub(super) console: Console,
    /// Which streams are terminals.
    pub(super) terminals: Terminals,
    /// Gives the backend.
    pub(super) world: &'a W,
    /// Ctrl-C and SIGTERM.
    pub(super) signals: Signals,
}

impl<W: World> Scene<'_, W> {
    /// Loads the stack and prints what is worth a warning.
    pub(super) fn load(&self) -> Result<Loaded, CliError> {
        self.load_with(|_| {})
    }

    /// Loads the stack by a changed request.
    pub(super) fn load_with(
        &self,
        change: impl FnOnce(&mut stack::LoadRequest),
    ) -> Result<Loaded, CliError> {
        let mut request = self.settings.load.clone();
        if request.files.iter().any(|file| file.as_os_str() == "-") && request.stdin.is_none() {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| {
                    CliError::caused(Exit::StackInvalid, "standard input cannot be read", &error)
                })?;
            request.stdin = Some(text);
        }
        change(&mut request);
        let loaded = stack::load(&request)?;
        if !self.settings.quiet {
            error::print_findings(&self.console, &loaded.warnings);
        }
        Ok(loaded)
    }

    /// Loads the stack and gathers what planning needs; `only` names services.
    pub(super) fn project(&self, only: &[String]) -> Result<Project, CliError> {
        let loaded = self.load()?;
        known(&loaded, only)?;
        let project = Project::new(loaded.stack, self.environment, &self.settings.cache, only)?;
        if !self.settings.quiet {
            error::print_findings(&self.console, &project.warnings);
        }
        Ok(project)
    }

    /// Connects to the backend.
    pub(super) async fn connect(&self) -> Result<W::Backend, CliError> {
        Ok(self.world.connect(&self.settings.engine).await?)
    }

    /// Prints an answer in the form that was asked for.
    pub(super) fn answer<T: Serialize>(
        &self,
        document: &T,
        view: impl FnOnce(&T) -> View,
    ) -> Result<(), CliError> {
        let text = output::render(self.settings.format, document, view);
        self.console.out(&text)?;
        Ok(())
    }
}

/// Refuses names of services that the stack does not have.
pub(super) fn known(loaded: &Loaded, services: &[String]) -> Result<(), CliError> {
    let names = loaded.stack.services.keys();
    for service in services {
        if loaded.stack.services.contains_key(service) {
            continue;
        }
        let nearest = names
            .clone()
            .map(|name| (strsim::damerau_levenshtein(name, service), name))
            .filter(|(distance, name)| *distance <= name.len().max(service.len()) / 3 + 1)
            .min();
        let error = CliError::usage(format!(
            "stack {} has no service `{service}`",
            loaded.stack.name
        ));
        return Err(match nearest {
            Some((_, name)) => error.hint(format!("did you mean `{name}`?")),
            None if loaded.stack.inactive.contains(service) => {
                error.hint("select its profile with --profile NAME")
            }
            None => error.hint("shopctl config --services"),
        });
    }
    Ok(())
}

impl From<ProjectError> for CliError {
    fn from(error: ProjectError) -> Self {
        match error {
            ProjectError::Problems(problems) => problems.into(),
            ProjectError::Build(error) => error.into(),
        }
    }
}
