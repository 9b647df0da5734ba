//! The gateway as a program of its own, with the subcommands of
//! `shopctl gateway`. The only place that writes to standard error.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use shop_gateway::ControlOptions;
use shop_gateway::Error;
use shop_gateway::LockOptions;
use shop_gateway::RunOptions;
use shop_gateway::Succession;

const USAGE: &str = "\
usage: shop-gateway run --name NAME --dir DIR --listen ID=PORT ... [--doors]
                        [--base PROGRAM] [--take-over]
       shop-gateway control --name NAME [--prober]
       shop-gateway keep
       shop-gateway lock";

fn main() -> ExitCode {
    let error = match start(std::env::args().skip(1)) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    let mut text = format!("error: {error}");
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if matches!(error, Error::Usage(_)) {
        text = format!("{text}\n{USAGE}");
    }
    say(&text);
    ExitCode::from(if matches!(error, Error::Usage(_)) {
        2
    } else {
        1
    })
}

fn start(mut arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let subcommand = arguments.next().unwrap_or_default();
    let options = Options::parse(arguments)?;
    match subcommand.as_str() {
        "run" => shop_gateway::block_on(shop_gateway::run(options.run()?)),
        "control" => shop_gateway::block_on(shop_gateway::control(options.control()?)),
        "keep" => shop_gateway::block_on(shop_gateway::keep()),
        "lock" => shop_gateway::block_on(shop_gateway::lock(LockOptions::default())),
        other => Err(Error::Usage(format!("no subcommand `{other}`"))),
    }
}

#[derive(Default)]
struct Options {
    name: Option<String>,
    dir: Option<String>,
    listens: Vec<String>,
    prober: bool,
    doors: bool,
    base: Option<String>,
    take_over: bool,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| Error::Usage(format!("`{argument}` needs a value")))
            };
            match argument.as_str() {
                "--name" => options.name = Some(value()?),
                "--dir" => options.dir = Some(value()?),
                "--listen" => options.listens.push(value()?),
                "--doors" => options.doors = true,
                Succession::BASE => options.base = Some(value()?),
                Succession::TAKE_OVER => options.take_over = true,
                "--prober" => options.prober = true,
                other => return Err(Error::Usage(format!("no option `{other}`"))),
            }
        }
        Ok(options)
    }

    fn run(self) -> Result<RunOptions, Error> {
        let mut options =
            RunOptions::new(required(self.name, "--name")?, required(self.dir, "--dir")?);
        options.doors = self.doors;
        for listen in &self.listens {
            options.listens.push(listen.parse()?);
        }
        options.report = Arc::new(|event| say(&event.to_string()));
        options.succession = Some(Succession {
            // As a program of the store it has the name that it was put there by.
            program: program(),
            base: self.base,
            folder: options.directory.with_file_name("bin"),
            arguments: std::env::args_os().skip(1).collect(),
            take_over: self.take_over,
        });
        Ok(options)
    }

    fn control(self) -> Result<ControlOptions, Error> {
        if self.prober {
            let name = self.name.unwrap_or_else(|| "prober".to_owned());
            return Ok(ControlOptions::prober(name));
        }
        Ok(ControlOptions::bridge(required(self.name, "--name")?))
    }
}

fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn required(value: Option<String>, option: &str) -> Result<String, Error> {
    value.ok_or_else(|| Error::Usage(format!("`{option}` is missing")))
}

/// Where standard error goes, and whether anywhere, is not our concern.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
