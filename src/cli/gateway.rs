//! `gateway …`: the data plane, run from the same binary by the containers of a
//! stack. The one arrow from the command line into the services.

use std::sync::Arc;

use shop_gateway::ControlOptions;
use shop_gateway::Error;
use shop_gateway::LockOptions;
use shop_gateway::RunOptions;
use shop_gateway::Succession;

use super::args::GatewayCommand;
use super::error::CliError;
use super::exit::Exit;
use crate::backend::docker::image;
use crate::report::console::Console;

/// Runs it until it ends. It brings its own runtime.
pub(super) fn run(command: GatewayCommand, console: &Console) -> Result<Exit, CliError> {
    match start(command, console) {
        Ok(()) => Ok(Exit::Done),
        Err(error @ Error::Usage(_)) => Err(CliError::usage(error.to_string())),
        Err(error) => Err(CliError::caused(Exit::Internal, error.to_string(), &error)),
    }
}

fn start(command: GatewayCommand, console: &Console) -> Result<(), Error> {
    match command {
        GatewayCommand::Run {
            name,
            dir,
            listen,
            doors,
            base,
            take_over,
        } => {
            let succession = Succession {
                program: image::program().to_owned(),
                base,
                folder: dir.with_file_name("bin"),
                arguments: std::env::args_os().skip(1).collect(),
                take_over,
            };
            let mut options = RunOptions::new(name, dir);
            options.succession = Some(succession);
            options.doors = doors;
            for listen in &listen {
                options.listens.push(listen.parse()?);
            }
            let console = console.clone();
            options.report = Arc::new(move |event| console.err(&event.to_string()));
            shop_gateway::block_on(shop_gateway::run(options))
        }
        GatewayCommand::Control { name, prober } => {
            let options = match (prober, name) {
                (true, name) => ControlOptions::prober(name.unwrap_or_else(|| "prober".to_owned())),
                (false, Some(name)) => ControlOptions::bridge(name),
                (false, None) => return Err(Error::Usage("`--name` is missing".to_owned())),
            };
            shop_gateway::block_on(shop_gateway::control(options))
        }
        GatewayCommand::Keep => shop_gateway::block_on(shop_gateway::keep()),
        GatewayCommand::Lock => shop_gateway::block_on(shop_gateway::lock(LockOptions::default())),
    }
}
