//! `run` on a cluster: a pod beside those of the service.

use super::Command;
use super::unknown;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::OneOff;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::signals::Signals;
use crate::cli::world::World;
use crate::report::console::Paint;
use crate::state::desired::DesiredState;
use crate::state::task;

/// Makes it, and so starts it. From then on signals are its.
pub(super) async fn make<B: Backend>(
    world: &World<'_, B>,
    desired: &DesiredState,
    command: &Command<'_>,
) -> Result<(Signals, String), CliError> {
    let name = command.args.service.as_str();
    let service = desired.services.get(name);
    let mut service = service.ok_or_else(|| unknown(name))?.clone();
    is_known(command.args.user.as_deref())?;
    service.container = task::one_off(&service.container);
    command.settle(world, &mut service.container);
    let request = OneOff {
        desired,
        service: &service,
        id: command.id,
    };
    let mut signals = Signals::new();
    let making = world.backend.one_off(&request);
    tokio::pin!(making);
    // Whether it is there is not known before the server has answered.
    let made = loop {
        let told = signals.last.is_some();
        tokio::select! {
            made = &mut making => break made,
            exit = signals.next() => if told {
                let message = format!("stopped at once; a pod of {name} may be left");
                return Err(CliError::new(exit, message).hint("kubectl get pods -A -l shopctl.dev/run-of"));
            }
        }
    };
    let made = made.map_err(|error| explained(error, name))?;
    if !world.settings.quiet {
        for note in made.notes {
            let label = world.console.paint(Paint::Cyan, "note:");
            world.console.err(&format!("{label} {name}: {note}"));
        }
    }
    Ok((signals, made.name))
}

/// Refuses a user by its name: a cluster would run the command as another one.
fn is_known(user: Option<&str>) -> Result<(), CliError> {
    let is_number = |id: &str| id.parse::<u32>().is_ok();
    match user {
        Some(user) if !user.split(':').all(is_number) => {
            let message = format!("a cluster knows users by their numbers alone, not {user}");
            Err(CliError::usage(message).hint("shopctl run --user 65532 SERVICE -- COMMAND"))
        }
        _ => Ok(()),
    }
}

fn explained(error: BackendError, service: &str) -> CliError {
    match error {
        BackendError::ImageMissing { .. } => {
            let message = format!("the image of {service} is not built, or not in its registry");
            let hint = format!("shopctl build {service} --push");
            CliError::new(Exit::Exec, message).hint(hint)
        }
        BackendError::NotFound { .. } => CliError::from(error).hint("shopctl deploy"),
        other => other.into(),
    }
}
