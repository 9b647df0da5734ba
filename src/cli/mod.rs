//! The commands: one file each. Flags in [`args`], flags and environment
//! together in [`settings`], wording and exit codes in [`error`] and [`exit`].
//!
//! No business rule lives here: a command loads, observes, plans, shows, and
//! hands over to `exec`. Test: whole commands with [`run`] on the memory backend.

pub mod args;
mod build;
mod capacity;
mod change;
#[cfg(feature = "kubernetes")]
mod cluster;
mod completion;
mod config;
mod deploy;
mod desk;
mod doctor;
mod doctor_cluster;
mod down;
pub mod error;
pub mod events;
mod exec;
pub mod exit;
mod gateway;
mod history;
mod init;
mod logs;
pub mod moment;
mod plan;
mod planfile;
mod project;
pub mod registry;
#[cfg(feature = "kubernetes")]
pub mod render;
mod restart;
mod rollback;
mod run;
mod scale;
pub mod settings;
mod signals;
mod status;
mod terminal;
mod world;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser as _;

use args::Cli;
use args::Command;
use desk::Desk;
use error::CliError;
use exit::Exit;
use settings::Settings;
use world::World;

use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::docker::Docker;
use crate::event::Event;
use crate::event::EventKind;
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
    let code = match parse(&invocation, &console) {
        Ok(cli) => match cli.command {
            // The data plane brings its own runtime.
            Command::Gateway(command) => match gateway::run(command, &console) {
                Ok(exit) => exit.code(),
                Err(error) => fail(&console, &error),
            },
            _ => start(&invocation, &cli, console),
        },
        Err(code) => code,
    };
    code.into()
}

/// Runs a command on the runtime and the engine that it needs.
fn start(invocation: &Invocation, cli: &Cli, console: Console) -> u8 {
    // Two commands at once would install it twice; the first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(
                &console,
                &CliError::caused(Exit::Internal, "cannot start", &error),
            );
        }
    };
    let code = runtime.block_on(async {
        let console = console.colored(settings::color(&cli.globals, &invocation.environment));
        match gathered(invocation, cli) {
            Ok(settings) => on_backend(invocation, cli, console, settings).await,
            Err(error) => not_begun(cli, &console, &error),
        }
    });
    // A read of the terminal that nobody waits for must not hold the exit up.
    runtime.shutdown_background();
    code
}

/// Runs an invocation without a process: the exit code. `connect` gives the
/// backend to commands that need one.
pub async fn run<B: Backend>(
    invocation: &Invocation,
    console: &Console,
    connect: impl AsyncFnOnce(&Settings) -> Result<B, BackendError>,
) -> u8 {
    match parse(invocation, console) {
        Ok(cli) => {
            let color = settings::color(&cli.globals, &invocation.environment);
            let console = console.clone().colored(color);
            match gathered(invocation, &cli) {
                Ok(settings) => run_parsed(invocation, &cli, console, settings, connect).await,
                Err(error) => not_begun(&cli, &console, &error),
            }
        }
        Err(code) => code,
    }
}

/// Runs a command on the backend that its flags or its file name.
async fn on_backend(
    invocation: &Invocation,
    cli: &Cli,
    console: Console,
    settings: Settings,
) -> u8 {
    #[cfg(feature = "kubernetes")]
    if let Some(registry) = cluster::registry(&cli.command, &settings) {
        let connect = async |settings: &Settings| {
            let settings = cluster::settings(settings, &registry);
            crate::backend::kubernetes::client::Cluster::connect(&settings).await
        };
        return run_parsed(invocation, cli, console, settings, connect).await;
    }
    let connect = async |settings: &Settings| Docker::connect(&engine(settings)).await;
    run_parsed(invocation, cli, console, settings, connect).await
}

/// Parses the arguments; help, version and wrong usage end here with their code.
fn parse(invocation: &Invocation, console: &Console) -> Result<Cli, u8> {
    Cli::try_parse_from(&invocation.args).map_err(|error| {
        use clap::error::ErrorKind;
        let text = error.render().to_string();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match console.out(&text) {
                Ok(()) => Exit::Done.code(),
                Err(error) => fail(console, &error.into()),
            },
            _ => {
                console.err(&text);
                Exit::Usage.code()
            }
        }
    })
}

async fn run_parsed<B: Backend>(
    invocation: &Invocation,
    cli: &Cli,
    console: Console,
    settings: Settings,
    connect: impl AsyncFnOnce(&Settings) -> Result<B, BackendError>,
) -> u8 {
    let prepared = async {
        let desk = Desk {
            settings: &settings,
            console: &console,
            terminals: invocation.terminals,
        };
        if let Some(result) = without_engine(&desk, &cli.command) {
            return Ok(result.map(Exit::code));
        }
        let connected = connect(&settings).await;
        if let Command::Doctor(_) = cli.command {
            let result = match connected {
                Ok(backend) => doctor::run(&desk, Ok(&backend)).await,
                Err(error) => doctor::run::<B>(&desk, Err(error)).await,
            };
            return Ok(result.map(Exit::code));
        }
        let backend = connected?;
        Ok(Box::pin(dispatch(invocation, &desk, &cli.command, &backend)).await)
    };
    match prepared.await {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => fail(&console, &error),
        Err(error) => not_begun(cli, &console, &error),
    }
}

/// Fails a run that would have ended with a last line, had it begun.
fn not_begun(cli: &Cli, console: &Console, error: &CliError) -> u8 {
    if cli.command.acts() && cli.globals.output == args::OutputArg::Json {
        let _ = console.out(&last_line(error));
    }
    fail(console, error)
}

fn fail(console: &Console, error: &CliError) -> u8 {
    error.print(console);
    error.exit.code()
}

/// The last line of `-o json`, for a run that never began.
fn last_line(error: &CliError) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let event = Event {
        version: "1".to_owned(),
        at: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
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

/// Runs a command that needs no engine; `None` for the others.
fn without_engine(desk: &Desk<'_>, command: &Command) -> Option<Result<Exit, CliError>> {
    Some(match command {
        #[cfg(feature = "kubernetes")]
        Command::Render(args) => render::run(desk, args),
        #[cfg(feature = "kubernetes")]
        Command::Doctor(args) if args.rights => render::rights(desk),
        Command::Config(args) if !args.resolve_image_digests => config::run(desk, args),
        Command::Init(args) => init::run(desk, args),
        Command::Completion(args) => completion::completion(desk, args.shell),
        Command::Man(_) => completion::man(desk),
        Command::Gateway(command) => gateway::run(command.clone(), desk.console),
        _ => return None,
    })
}

/// Runs a command on a backend.
async fn dispatch<B: Backend>(
    invocation: &Invocation,
    desk: &Desk<'_>,
    command: &Command,
    backend: &B,
) -> Result<u8, CliError> {
    let world = World {
        backend,
        settings: desk.settings,
        console: desk.console,
        binary: invocation.binary.clone(),
        asks: invocation.terminals.stdin && !desk.settings.yes,
    };
    let done = match command {
        Command::Deploy(args) => Box::pin(deploy::run(&world, args)).await,
        Command::Plan(args) => plan::run(&world, args).await,
        Command::Config(args) => config::with_digests(desk, args, backend).await,
        Command::Scale(args) => scale::run(&world, args).await,
        Command::Status(args) => status::run(&world, args).await,
        Command::Rollback(args) => rollback::run(&world, args).await,
        Command::History(_) => history::run(&world).await,
        Command::Down(args) => down::run(&world, args).await,
        Command::Restart(args) => restart::run(&world, args).await,
        Command::Capacity(args) => capacity::run(&world, args).await,
        Command::Build(args) => build::run(desk, backend, args).await,
        Command::Logs(args) => logs::run(desk, backend, args).await,
        Command::Events(args) => events::run(desk, backend, args).await,
        // The command's own exit code is passed on.
        Command::Exec(args) => return exec::run(desk, backend, args).await,
        Command::Run(args) => return run::run(desk, &world, args).await,
        #[cfg(feature = "kubernetes")]
        Command::Render(_) => Ok(Exit::Done),
        Command::Init(_)
        | Command::Doctor(_)
        | Command::Completion(_)
        | Command::Man(_)
        | Command::Gateway(_) => Ok(Exit::Done),
    };
    done.map(Exit::code)
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
    if let Some(backend) = cli.globals.backend
        && !renders(&cli.command)
    {
        settings::is_known(backend)?;
    }
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

/// Whether a command makes objects of a cluster and needs no engine.
fn renders(command: &Command) -> bool {
    match command {
        #[cfg(feature = "kubernetes")]
        Command::Render(_) => true,
        _ => false,
    }
}

fn engine(settings: &Settings) -> crate::backend::docker::Settings {
    let engine = &settings.engine;
    crate::backend::docker::Settings {
        host: engine.host.clone(),
        context: engine.context.clone(),
        config_dir: engine.config_dir.clone(),
        tls_verify: engine.tls_verify,
        cert_path: engine.cert_path.clone(),
        classic_builder: engine.classic_builder,
    }
}
