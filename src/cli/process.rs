//! The way in from `main`: the process's arguments, environment, streams and
//! signals, a runtime no larger than needed, and an exit code back.

use std::process::ExitCode;

use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::commands::gateway;
use super::exit::Exit;
use super::run::Invocation;
use super::run::Parsed;
use super::run::run_parsed;
use super::scene::Signals;
use super::settings;
use super::settings::Terminals;
use super::world::DockerWorld;
use crate::report::console::Console;

/// Runs this process.
pub fn main() -> ExitCode {
    let console = Console::process();
    let Ok(working_dir) = std::env::current_dir() else {
        console.err("error: the current folder does not exist any more\nhint: cd to another one");
        return Exit::Usage.code().into();
    };
    let invocation = Invocation {
        arguments: std::env::args_os().collect(),
        environment: settings::process_environment(),
        working_dir,
        terminals: terminals(&console),
        console: console.clone(),
    };
    let code = match invocation.parse() {
        Ok(parsed) => match parsed.gateway() {
            Some(command) => gateway::run(command.clone(), &console),
            None => block_on(parsed, &console),
        },
        Err(code) => code,
    };
    code.into()
}

fn terminals(console: &Console) -> Terminals {
    use std::io::IsTerminal as _;
    Terminals {
        stdin: std::io::stdin().is_terminal(),
        stdout: console.out_is_terminal(),
        stderr: console.err_is_terminal(),
    }
}

fn block_on(parsed: Parsed, console: &Console) -> u8 {
    // A provider that is installed already is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = if parsed.is_busy() {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            console.err(&format!("error: no runtime can be started\ncause: {error}"));
            return Exit::Internal.code();
        }
    };
    let code = runtime.block_on(async {
        let (sender, signals) = Signals::new();
        tokio::select! {
            code = run_parsed(parsed, &DockerWorld, &signals) => code,
            code = listen(&sender, &signals, console) => code,
        }
    });
    // A read of the terminal that nobody waits for must not hold the exit up.
    runtime.shutdown_background();
    code
}

/// The first signal asks for a stop at the next safe point, the second ends the
/// process at once.
async fn listen(
    sender: &tokio::sync::watch::Sender<bool>,
    signals: &Signals,
    console: &Console,
) -> u8 {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    let mut asked = false;
    loop {
        let exit = tokio::select! {
            _ = interrupt.recv() => Exit::Interrupted,
            _ = terminate.recv() => Exit::Terminated,
        };
        signals.note(exit);
        if asked {
            return exit.code();
        }
        asked = true;
        if console.err_is_terminal() {
            console.err("stopping at the next safe point; once more to stop at once");
        }
        let _ = sender.send(true);
    }
}
