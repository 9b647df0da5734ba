//! `exec`: a command in a running replica; its exit code is ours.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use rustix::termios;
use rustix::termios::OptionalActions;
use rustix::termios::Termios;
use tokio::io::AsyncWrite;

use super::args::ExecArgs;
use super::desk::Desk;
use super::error::CliError;
use super::exit::Exit;
use super::signals::Signals;
use crate::backend::Backend;
use crate::backend::ExecRequest;
use crate::backend::Query;
use crate::report::console::Console;
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
        size: termios::tcgetwinsize(io::stdout())
            .ok()
            .map(|size| (size.ws_row, size.ws_col)),
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

/// The terminal passes every key on, until this is dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Option<Self> {
        let before = termios::tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // The user sees it when the terminal stays raw; there is no more to do.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// One of the console's streams as a sink for bytes.
struct ConsoleWriter {
    console: Console,
    out: bool,
}

impl ConsoleWriter {
    fn out(console: &Console) -> Self {
        Self {
            console: console.clone(),
            out: true,
        }
    }

    fn err(console: &Console) -> Self {
        Self {
            console: console.clone(),
            out: false,
        }
    }
}

impl AsyncWrite for ConsoleWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = if self.out {
            self.console.raw_out(bytes)
        } else {
            self.console.raw_err(bytes)
        };
        Poll::Ready(written.map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
