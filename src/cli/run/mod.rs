//! `run`: a command in a container of its own, with the image and settings of a
//! service; its exit code is ours. On an engine it is a container, on a cluster a pod.

mod cluster;
mod engine;

use super::args::RunArgs;
use super::change;
use super::desk::Desk;
use super::error::CliError;
use super::exit::Exit;
use super::project::Naming;
use super::signals::Signals;
use super::terminal::ConsoleWriter;
use super::terminal::RawTerminal;
use super::terminal::sizes;
use super::world::World;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::RunRequest;
use crate::plan::action::Action;
use crate::state::desired::DesiredState;
use crate::state::spec::ContainerSpec;

/// Runs it; what it needs is not started.
pub(super) async fn run<B: Backend>(
    desk: &Desk<'_>,
    world: &World<'_, B>,
    args: &RunArgs,
) -> Result<u8, CliError> {
    attempt(desk, world, args).await.map_err(|mut error| {
        // Whatever fails beside the command is ours, not the command's.
        if !matches!(error.exit, Exit::StackInvalid | Exit::Usage) {
            error.exit = Exit::Exec;
        }
        error
    })
}

async fn attempt<B: Backend>(
    desk: &Desk<'_>,
    world: &World<'_, B>,
    args: &RunArgs,
) -> Result<u8, CliError> {
    let tty = !args.no_tty && !args.detach && desk.terminals.stdin && desk.terminals.stdout;
    let desired = desired(world, &args.service).await?;
    let context = Context {
        stack: desired.stack.clone(),
        run: uuid::Uuid::now_v7().simple().to_string(),
        ..Context::default()
    };
    let id = uuid::Uuid::now_v7().simple().to_string();
    let command = Command {
        args,
        tty,
        id: &id[20..],
    };
    let (mut signals, container) = if world.backend.capabilities().is_cluster {
        cluster::make(world, &desired, &command).await?
    } else {
        engine::make(world, &desired, &command, &context).await?
    };
    let ended = if let Some(exit) = signals.last {
        remove(world, &context, &container).await;
        Ok(Some(exit.code()))
    } else {
        carry_out(desk, world, &command, (&context, &container), &mut signals).await
    };
    match ended {
        // One that was told to end before it began ends as we do.
        Err(BackendError::NotFound { .. }) if signals.last.is_some() => {
            Ok(signals.last.unwrap_or(Exit::Exec).code())
        }
        Err(error) => {
            remove(world, &context, &container).await;
            Err(error.into())
        }
        Ok(Some(code)) => Ok(code),
        Ok(None) => {
            desk.console.out(&container)?;
            Ok(Exit::Done.code())
        }
    }
}

/// What is to be run.
struct Command<'a> {
    args: &'a RunArgs,
    /// It has a terminal.
    tty: bool,
    /// What tells it from others.
    id: &'a str,
}

impl Command<'_> {
    /// Puts the command and its own settings in the place of the service's.
    fn settle<B>(&self, world: &World<'_, B>, spec: &mut ContainerSpec) {
        let args = self.args;
        spec.tty = self.tty;
        spec.stdin_open = !args.detach;
        if let Some(entrypoint) = &args.entrypoint {
            let words = shlex::split(entrypoint).unwrap_or_else(|| vec![entrypoint.clone()]);
            spec.entrypoint = Some(words);
            spec.command = None;
        }
        if !args.command.is_empty() {
            spec.command = Some(args.command.clone());
        }
        spec.user = args.user.clone().or(spec.user.take());
        spec.working_dir = args.workdir.clone().or(spec.working_dir.take());
        for variable in &args.env {
            let (name, value) = if let Some((name, value)) = variable.split_once('=') {
                (name, Some(value.to_owned()))
            } else {
                let environment = &world.settings.load.environment;
                (variable.as_str(), environment.get(variable).cloned())
            };
            spec.environment.insert(name.to_owned(), value);
        }
    }
}

/// The stack as it was released, else as the file has it.
async fn desired<B: Backend>(
    world: &World<'_, B>,
    service: &str,
) -> Result<DesiredState, CliError> {
    let project = world.load_with(&[service.to_owned()], Naming::WherePossible)?;
    Ok(change::as_deployed(world.backend, &project.desired).await?)
}

fn unknown(service: &str) -> CliError {
    CliError::usage(format!("the stack has no service {service}"))
}

/// Starts it, and stays with it unless it is to be left alone; its exit code then.
async fn carry_out<B: Backend>(
    desk: &Desk<'_>,
    world: &World<'_, B>,
    command: &Command<'_>,
    (context, container): (&Context, &str),
    signals: &mut Signals,
) -> Result<Option<u8>, BackendError> {
    let detach = command.args.detach;
    // A cluster may take long to begin, and a terminal that passes every key on has none
    // that would end that.
    if detach || world.backend.capabilities().is_cluster {
        let ended = begin(world, context, container, signals).await?;
        if detach || ended.is_some() {
            return Ok(ended);
        }
    }
    stay(desk, world, container, command.tty, signals).await
}

/// Starts it, unless a signal comes before it has begun.
async fn begin<B: Backend>(
    world: &World<'_, B>,
    context: &Context,
    container: &str,
    signals: &mut Signals,
) -> Result<Option<u8>, BackendError> {
    let action = Action::StartContainer {
        container: container.to_owned(),
    };
    tokio::select! {
        begun = world.backend.apply(context, &action) => begun.map(|()| None),
        exit = signals.next() => {
            remove(world, context, container).await;
            Ok(Some(exit.code()))
        }
    }
}

/// Attached until it ends. The first signal is passed on, the second ends it.
async fn stay<B: Backend>(
    desk: &Desk<'_>,
    world: &World<'_, B>,
    container: &str,
    tty: bool,
    signals: &mut Signals,
) -> Result<Option<u8>, BackendError> {
    let request = RunRequest {
        container: container.to_owned(),
        tty,
        sizes: if tty { sizes() } else { None },
    };
    let _raw = if tty { RawTerminal::enter() } else { None };
    let running = world.backend.run(
        &request,
        Some(Box::new(tokio::io::stdin())),
        Box::new(ConsoleWriter::out(desk.console)),
        Box::new(ConsoleWriter::err(desk.console)),
    );
    tokio::pin!(running);
    loop {
        let told = signals.last.is_some();
        tokio::select! {
            code = &mut running => return Ok(Some(u8::try_from(code?).unwrap_or(u8::MAX))),
            exit = signals.next() => {
                let name = match exit {
                    _ if told => "SIGKILL",
                    Exit::Terminated => "SIGTERM",
                    _ => "SIGINT",
                };
                world.backend.signal(container, name).await?;
            }
        }
    }
}

async fn remove<B: Backend>(world: &World<'_, B>, context: &Context, container: &str) {
    let action = Action::RemoveContainer {
        container: container.to_owned(),
    };
    // The error that led here is the one to report.
    let _ = world.backend.apply(context, &action).await;
}
