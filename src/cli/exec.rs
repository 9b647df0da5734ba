//! `exec`: a command in a running replica; its exit code is ours.

use super::args::ExecArgs;
use super::desk::Desk;
use super::error::CliError;
use super::exit::Exit;
use super::signals::Signals;
use super::terminal::ConsoleWriter;
use super::terminal::RawTerminal;
use super::terminal::sizes;
use crate::backend::Backend;
use crate::backend::ExecRequest;
use crate::backend::Query;
use crate::state::change::serves;
use crate::state::observed::Role;

/// Runs it in the first replica that serves.
pub(super) async fn run<B: Backend>(
    desk: &Desk<'_>,
    backend: &B,
    args: &ExecArgs,
) -> Result<u8, CliError> {
    let own = |mut error: CliError| {
        // Whatever fails before the command runs is ours, not the command's.
        if !matches!(error.exit, Exit::StackInvalid | Exit::Usage) {
            error.exit = Exit::Exec;
        }
        error
    };
    let loaded = desk
        .load(std::slice::from_ref(&args.service))
        .map_err(own)?;
    let query = Query {
        stack: loaded.stack.name.clone(),
        ..Query::default()
    };
    let observed = backend
        .observe(&query)
        .await
        .map_err(|error| own(error.into()))?;
    let replica = observed
        .instances
        .iter()
        .filter(|one| one.role == Role::Service && one.service == args.service && serves(one))
        .min_by_key(|one| one.slot)
        .ok_or_else(|| {
            CliError::new(
                Exit::Exec,
                format!("no replica of {} is running", args.service),
            )
            .hint("shopctl status")
        })?;
    let tty = desk.terminals.stdin && desk.terminals.stdout;
    let request = ExecRequest {
        container: replica.name.clone(),
        command: args.command.clone(),
        tty,
        stdin: true,
        sizes: if tty { sizes() } else { None },
        ..ExecRequest::default()
    };
    let _raw = if tty { RawTerminal::enter() } else { None };
    let mut signals = Signals::new();
    let run = backend.exec(
        &request,
        Some(Box::new(tokio::io::stdin())),
        Box::new(ConsoleWriter::out(desk.console)),
        Box::new(ConsoleWriter::err(desk.console)),
    );
    tokio::select! {
        code = run => {
            let code = code.map_err(|error| own(error.into()))?;
            Ok(u8::try_from(code).unwrap_or(u8::MAX))
        }
        exit = signals.next() => Ok(exit.code()),
    }
}
