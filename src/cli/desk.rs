//! What commands work with that may have no engine at hand, and the steps that
//! they share: load the stack, show an answer.

use serde::Serialize;

use super::args::BackendArg;
use super::error;
use super::error::CliError;
use super::settings::Settings;
use super::settings::Terminals;
use super::settings::is_known;
use crate::report::console::Console;
use crate::report::output;
use crate::report::tables::View;
use crate::stack::Loaded;
use crate::stack::problem::ON_CLUSTERS;

/// What a command works with.
pub(super) struct Desk<'a> {
    /// Flags and environment.
    pub(super) settings: &'a Settings,
    /// Where words go.
    pub(super) console: &'a Console,
    /// Which streams are terminals.
    pub(super) terminals: Terminals,
}

impl Desk<'_> {
    /// Loads the stack and prints what is worth a warning; the named services
    /// have to exist.
    pub(super) fn load(&self, services: &[String]) -> Result<Loaded, CliError> {
        load(self.settings, self.console, services)
    }

    /// The same of a stack that may run on a cluster.
    #[cfg(feature = "kubernetes")]
    pub(super) fn load_anywhere(&self) -> Result<Loaded, CliError> {
        load_anywhere(self.settings, self.console)
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

/// Loads the stack and prints what is worth a warning; the named services have to exist.
pub(super) fn load(
    settings: &Settings,
    console: &Console,
    services: &[String],
) -> Result<Loaded, CliError> {
    let loaded = load_anywhere(settings, console)?;
    is_known(settings.backend_of(&loaded.stack))?;
    known(&loaded, services)?;
    Ok(loaded)
}

fn load_anywhere(settings: &Settings, console: &Console) -> Result<Loaded, CliError> {
    let loaded = for_backend(settings, settings.stack()?);
    if !settings.quiet {
        error::print_findings(console, &loaded.warnings, settings.verbose);
    }
    Ok(loaded)
}

/// Without the warnings about keys that act where the stack goes.
pub(super) fn for_backend(settings: &Settings, mut loaded: Loaded) -> Loaded {
    if settings.backend_of(&loaded.stack) == BackendArg::Kubernetes {
        loaded.warnings.retain(|one| one.name != ON_CLUSTERS);
    }
    loaded
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
            .filter(|(distance, name)| *distance <= name.len().max(service.len()) / 3)
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
