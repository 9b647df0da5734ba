//! What a command works with: the target, the settings, the console.

use std::path::PathBuf;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use tokio::sync::mpsc;
use tokio::sync::watch;

use super::change::Ending;
use super::change::Session;
use super::desk;
use super::error::CliError;
use super::error::print_findings;
use super::exit::Exit;
use super::project::Naming;
use super::project::Project;
use super::settings::Settings;
use super::signals::Signals;
use crate::backend::Backend;
use crate::backend::Holder;
use crate::backend::Images;
use crate::backend::Observe;
use crate::backend::Pending;
use crate::backend::docker::image;
use crate::event::EventKind;
use crate::exec::Emitter;
use crate::exec::ProvideHelper;
use crate::report::Format;
use crate::report::Progress;
use crate::report::console::Console;

/// What a command works with.
pub(super) struct World<'a, B> {
    /// Where it happens.
    pub(super) backend: &'a B,
    /// Flags and environment.
    pub(super) settings: &'a Settings,
    /// Where it is shown.
    pub(super) console: &'a Console,
    /// The program whose binary helpers run: our own.
    pub(super) binary: PathBuf,
    /// stdin is a terminal, so a question may be asked.
    pub(super) asks: bool,
}

/// Puts our own image on an engine.
struct OwnImage<'a, B> {
    images: &'a B,
    binary: &'a PathBuf,
}

impl<B: Images + Observe> ProvideHelper for OwnImage<'_, B> {
    fn provide<'a>(&'a self, tag: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            if self.images.capabilities().is_cluster {
                return Ok(());
            }
            image::ensure(self.images, tag, self.binary).await.map(drop)
        })
    }
}

impl<B: Backend> World<'_, B> {
    /// Loads the stack and prints what the loader has to say.
    pub(super) fn load(&self, services: &[String]) -> Result<Project, CliError> {
        self.load_with(services, Naming::Required)
    }

    /// The same, with or without the names of images that are built.
    pub(super) fn load_with(
        &self,
        services: &[String],
        naming: Naming,
    ) -> Result<Project, CliError> {
        let loaded = desk::load(self.settings, self.console, services)?;
        let mut project = Project::new(
            loaded.stack,
            &self.settings.load.environment,
            &self.settings.cache,
            services,
            naming,
        )?;
        project.named_below(&self.settings.cluster.registry);
        if !self.settings.quiet {
            print_findings(self.console, &project.warnings, self.settings.verbose);
        }
        Ok(project)
    }

    /// Name of the stack: the file's, or where that cannot be read the one that was
    /// given. What is recorded with the target needs no file.
    pub(super) fn stack_name(&self) -> Result<String, CliError> {
        match (self.settings.stack(), &self.settings.load.project_name) {
            (Ok(loaded), _) => Ok(loaded.stack.name),
            (Err(_), Some(name)) => Ok(name.clone()),
            (Err(problems), None) => Err(problems.into()),
        }
    }

    /// Runs a command that changes things: its events are reported as they come,
    /// Ctrl-C stops it at a safe point, and the last event says how it ended.
    pub(super) async fn act(
        &self,
        work: impl AsyncFnOnce(&Session<'_, B>) -> Result<Ending, CliError>,
    ) -> Result<Exit, CliError> {
        let run = uuid::Uuid::now_v7().simple().to_string();
        let (sender, events) = mpsc::unbounded_channel();
        let emitter = Emitter::new(sender, run.clone());
        let (stopper, stop) = watch::channel(false);
        let working = async move {
            let helper = OwnImage {
                images: self.backend,
                binary: &self.binary,
            };
            let session = Session {
                backend: self.backend,
                helper: &helper,
                helper_image: image::tag(),
                helper_binary: self.binary.clone(),
                emitter: &emitter,
                holder: Holder {
                    who: self.settings.user.clone(),
                    host: self.settings.host.clone(),
                    run: run.clone(),
                    since: now_ms(),
                },
                run,
                stop,
            };
            let mut signals = Signals::new();
            let result = {
                let work = work(&session);
                tokio::pin!(work);
                loop {
                    tokio::select! {
                        result = &mut work => break result,
                        exit = signals.next() => {
                            if *stopper.borrow() {
                                break Err(CliError::new(exit, "stopped at once, in the middle of the work")
                                    .hint("run the same command again to finish"));
                            }
                            let message = "stopping at the next safe point; once more stops at once".to_owned();
                            emitter.emit(EventKind::Warning { message });
                            let _ = stopper.send(true);
                        }
                    }
                }
            };
            // A run that stopped because it was asked to ends with the signal's code.
            let result = match result {
                Ok(ending) if ending.exit == Exit::Interrupted => Ok(Ending {
                    exit: signals.last.unwrap_or(Exit::Interrupted),
                    ..ending
                }),
                other => other,
            };
            let finished = match &result {
                Ok(ending) => EventKind::Finished {
                    outcome: ending.outcome.to_owned(),
                    detail: ending.detail.clone(),
                    exit_code: ending.exit.code(),
                },
                Err(error) => EventKind::Finished {
                    outcome: error.exit.outcome().to_owned(),
                    detail: error.summary(),
                    exit_code: error.exit.code(),
                },
            };
            emitter.emit(finished);
            // The reporter ends when the last sender is gone.
            drop(emitter);
            result
        };
        let progress = Progress {
            console: self.console.clone(),
            mode: self.settings.progress,
            json: self.settings.format == Format::Json,
            verbose: self.settings.verbose,
        };
        let reporting = progress.follow(events);
        let (result, ()) = tokio::join!(working, reporting);
        let ending = result?;
        if ending.exit == Exit::Done {
            return Ok(Exit::Done);
        }
        let failed = CliError::new(ending.exit, ending.detail);
        Err(if ending.hint.is_empty() {
            failed
        } else {
            failed.hint(ending.hint)
        })
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
