//! One file per command; each takes a scene and its own arguments, and gives an
//! exit code or an error.

mod build;
mod capacity;
mod completion;
mod config;
mod doctor;
mod exec;
pub(super) mod gateway;
mod init;
mod logs;

use super::args::Command;
use super::error::CliError;
use super::exit::Exit;
use super::scene::Scene;
use super::world::World;

/// Runs a command.
pub(super) async fn dispatch<W: World>(
    scene: &Scene<'_, W>,
    command: Command,
) -> Result<u8, CliError> {
    match command {
        Command::Build(args) => build::run(scene, &args).await,
        Command::Config(args) => config::run(scene, &args).await,
        Command::Capacity(_) => capacity::run(scene).await,
        Command::Logs(args) => logs::run(scene, &args).await,
        Command::Exec(args) => exec::run(scene, args).await,
        Command::Init(args) => init::run(scene, &args),
        Command::Doctor(_) => doctor::run(scene).await,
        Command::Completion(args) => completion::completion(scene, args.shell),
        Command::Man(_) => completion::man(scene),
        Command::Gateway(command) => Ok(gateway::run(command, &scene.console)),
        Command::Deploy(_)
        | Command::Plan(_)
        | Command::Scale(_)
        | Command::Status(_)
        | Command::Down(_)
        | Command::Restart(_) => Err(CliError::new(
            Exit::Internal,
            "this command is not wired up yet",
        )),
    }
}
