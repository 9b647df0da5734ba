//! The commands: one file each. Flags in [`args`], flags and environment
//! together in [`settings`], wording and exit codes in [`error`] and [`exit`].
//!
//! No business rule lives here: a command loads, observes, plans, shows, and
//! hands over to `exec`. Test: whole commands with [`run`] on the memory backend.

pub mod args;
mod capacity;
mod change;
mod deploy;
mod down;
pub mod error;
pub mod exit;
mod plan;
mod project;
mod restart;
mod scale;
pub mod settings;
mod status;
mod world;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser as _;

use args::Cli;
use args::Command;
use args::GatewayCommand;
use error::CliError;
use exit::Exit;
use settings::Settings;
use world::World;

use crate::backend::Backend;
use crate::backend::docker::Docker;
use crate::report::console::Console;

/// Everything a command takes from the process it runs in.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Arguments, the program's name first.
    pub args: Vec<OsString>,
    /// The environment.
    pub environment: settings::Environment,
    /// Folder the command was started in; absolute.
    pub working_dir: PathBuf,
    /// Which streams are terminals.
    pub terminals: settings::Terminals,
    /// The program's own binary, which helpers run.
    pub binary: PathBuf,
}

impl Invocation {
    /// That of this process.
    pub fn of_process() -> Self {
        use std::io::IsTerminal as _;
        Self {
            args: std::env::args_os().collect(),
            environment: settings::process_environment(),
            working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            terminals: settings::Terminals {
                stdin: std::io::stdin().is_terminal(),
                stdout: std::io::stdout().is_terminal(),
                stderr: std::io::stderr().is_terminal(),
            },
            binary: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")),
        }
    }
}

/// Runs the command line of this process; the exit code of the process.
pub fn main() -> std::process::ExitCode {
    let invocation = Invocation::of_process();
    let console = Console::process();
    let cli = match Cli::try_parse_from(&invocation.args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, and clap knows which stream they go to.
            let _ = error.print();
            return std::process::ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let console = console.colored(settings::color(&cli.globals, &invocation.environment));
    let exit = match start(&invocation, cli, &console) {
        Ok(exit) => exit,
        Err(error) => {
            error.print(&console);
            error.exit
        }
    };
    std::process::ExitCode::from(exit.code())
}

/// Starts a command on the runtime that it needs.
fn start(invocation: &Invocation, cli: Cli, console: &Console) -> Result<Exit, CliError> {
    if let Command::Gateway(command) = cli.command {
        return gateway(command);
    }
    // Two commands at once would install it twice; the first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::caused(Exit::Internal, "cannot start", &error))?;
    runtime.block_on(async {
        let settings = gathered(invocation, &cli)?;
        let backend = Docker::connect(&engine(&settings)).await?;
        dispatch(invocation, &cli, &settings, console, &backend).await
    })
}

/// Runs a command on a backend.
pub async fn dispatch<B: Backend>(
    invocation: &Invocation,
    cli: &Cli,
    settings: &Settings,
    console: &Console,
    backend: &B,
) -> Result<Exit, CliError> {
    let world = World {
        backend,
        settings,
        console,
        binary: invocation.binary.clone(),
        asks: invocation.terminals.stdin && !settings.yes,
    };
    match &cli.command {
        Command::Deploy(args) => deploy::run(&world, args).await,
        Command::Plan(args) => plan::run(&world, args).await,
        Command::Scale(args) => scale::run(&world, args).await,
        Command::Status(args) => status::run(&world, args).await,
        Command::Down(args) => down::run(&world, args).await,
        Command::Restart(args) => restart::run(&world, args).await,
        Command::Capacity(args) => capacity::run(&world, args).await,
        _ => Err(CliError::usage("this command is not part of this version")),
    }
}

/// Flags over environment over defaults, with stdin read where a file is `-`.
pub fn gathered(invocation: &Invocation, cli: &Cli) -> Result<Settings, CliError> {
    let files: Vec<PathBuf> = cli
        .files
        .files
        .iter()
        .chain(cli.command.files())
        .cloned()
        .collect();
    let reads_stdin = files.iter().any(|file| file.as_os_str() == "-");
    let mut settings = settings::gather(
        &cli.globals,
        files,
        &invocation.environment,
        &invocation.working_dir,
        invocation.terminals,
    )?;
    if reads_stdin {
        let text = std::io::read_to_string(std::io::stdin()).map_err(|error| {
            CliError::caused(Exit::StackInvalid, "stdin cannot be read", &error)
        })?;
        settings.load.stdin = Some(text);
    }
    Ok(settings)
}

fn engine(settings: &Settings) -> crate::backend::docker::Settings {
    let engine = &settings.engine;
    crate::backend::docker::Settings {
        host: engine.host.clone(),
        context: engine.context.clone(),
        config_dir: engine.config_dir.clone(),
        tls_verify: engine.tls_verify,
        cert_path: engine.cert_path.clone(),
        classic_builder: settings
            .load
            .environment
            .get("DOCKER_BUILDKIT")
            .is_some_and(|value| value == "0"),
    }
}

/// The data plane and its helpers, each on a small runtime of its own.
fn gateway(command: GatewayCommand) -> Result<Exit, CliError> {
    use shop_gateway::ControlOptions;
    use shop_gateway::LockOptions;
    use shop_gateway::RunOptions;
    let result = match command {
        GatewayCommand::Run { name, dir, listen } => {
            let mut options = RunOptions::new(name, dir);
            for one in listen {
                options
                    .listens
                    .push(one.parse().map_err(|error: shop_gateway::Error| {
                        CliError::usage(error.to_string())
                    })?);
            }
            shop_gateway::block_on(shop_gateway::run(options))
        }
        GatewayCommand::Control { name, prober } => {
            let name = name.unwrap_or_default();
            let options = if prober {
                ControlOptions::prober(name)
            } else {
                ControlOptions::bridge(name)
            };
            shop_gateway::block_on(shop_gateway::control(options))
        }
        GatewayCommand::Keep => shop_gateway::block_on(shop_gateway::keep()),
        GatewayCommand::Lock => shop_gateway::block_on(shop_gateway::lock(LockOptions::default())),
    };
    result.map_or_else(
        |error| {
            Err(CliError::caused(
                Exit::Internal,
                "the data plane failed",
                &error,
            ))
        },
        |()| Ok(Exit::Done),
    )
}
