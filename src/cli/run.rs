//! One invocation from its arguments to its exit code, without a process: tests
//! give their own console, environment and world.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser as _;
use clap::error::ErrorKind;

use super::args::Cli;
use super::args::Command;
use super::commands;
use super::error::CliError;
use super::exit::Exit;
use super::scene::Scene;
use super::scene::Signals;
use super::settings;
use super::settings::Environment;
use super::settings::Terminals;
use super::world::World;
use crate::event::Event;
use crate::event::EventKind;
use crate::report::console::Console;

/// Everything an invocation takes from its process.
pub struct Invocation {
    /// Arguments, the program's name first.
    pub arguments: Vec<OsString>,
    /// Environment.
    pub environment: Environment,
    /// Folder it was started in; absolute.
    pub working_dir: PathBuf,
    /// Which standard streams are terminals.
    pub terminals: Terminals,
    /// Where words go.
    pub console: Console,
}

/// A parsed invocation.
pub struct Parsed {
    pub(super) cli: Cli,
    pub(super) invocation: Invocation,
}

impl Invocation {
    /// Parses the arguments; help, version and wrong usage end here with their
    /// exit code.
    pub fn parse(mut self) -> Result<Parsed, u8> {
        match Cli::try_parse_from(&self.arguments) {
            Ok(cli) => {
                let color = settings::color(&cli.globals, &self.environment);
                self.console = self.console.colored(color);
                Ok(Parsed {
                    cli,
                    invocation: self,
                })
            }
            Err(error) => {
                let help = matches!(
                    error.kind(),
                    ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
                );
                let text = error.render().to_string();
                if help {
                    return Err(match self.console.out(&text) {
                        Ok(()) => Exit::Done.code(),
                        Err(_) => Exit::Internal.code(),
                    });
                }
                self.console.err(&text);
                Err(Exit::Usage.code())
            }
        }
    }
}

impl Parsed {
    /// Whether the command does much at a time.
    pub fn is_busy(&self) -> bool {
        self.cli.command.acts() || matches!(self.cli.command, Command::Build(_))
    }

    /// The gateway's own command, which needs nothing of ours.
    pub fn gateway(&self) -> Option<&super::args::GatewayCommand> {
        match &self.cli.command {
            Command::Gateway(command) => Some(command),
            _ => None,
        }
    }
}

/// Parses and runs one invocation; the exit code.
pub async fn run<W: World>(invocation: Invocation, world: &W, signals: &Signals) -> u8 {
    match invocation.parse() {
        Ok(parsed) => run_parsed(parsed, world, signals).await,
        Err(code) => code,
    }
}

/// Runs a parsed invocation; the exit code.
pub(super) async fn run_parsed<W: World>(parsed: Parsed, world: &W, signals: &Signals) -> u8 {
    let Parsed { cli, invocation } = parsed;
    let console = invocation.console.clone();
    let json_lines = cli.command.acts() && cli.globals.output == super::args::OutputArg::Json;
    let outcome = match scene(&cli, &invocation, world, signals) {
        Ok(scene) => commands::dispatch(&scene, cli.command).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            error.print(&console);
            if json_lines {
                let _ = console.out(&last_line(&error));
            }
            error.exit.code()
        }
    }
}

fn scene<'a, W: World>(
    cli: &Cli,
    invocation: &'a Invocation,
    world: &'a W,
    signals: &Signals,
) -> Result<Scene<'a, W>, CliError> {
    let files = [cli.files.files.as_slice(), cli.command.files()].concat();
    let settings = settings::gather(
        &cli.globals,
        files,
        &invocation.environment,
        &invocation.working_dir,
        invocation.terminals,
    )?;
    Ok(Scene {
        settings,
        environment: &invocation.environment,
        console: invocation.console.clone(),
        terminals: invocation.terminals,
        world,
        signals: signals.clone(),
    })
}

/// The last line of `-o json` when a command ends before its run began.
fn last_line(error: &CliError) -> String {
    let at = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
    let event = Event {
        version: "1".to_owned(),
        at,
        run: String::new(),
        kind: EventKind::Finished {
            outcome: error.exit.outcome().to_owned(),
            detail: error.summary(),
            exit_code: error.exit.code(),
        },
    };
    // Events have string keys alone, so serialising cannot fail.
    serde_json::to_string(&event).unwrap_or_default()
}
