//! `config`: the resolved stack file, or lists from it.

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;

use super::args::ConfigArgs;
use super::desk::Desk;
use super::desk::known;
use super::error::CliError;
use super::exit::Exit;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::report::Format;
use crate::report::output;
use crate::report::tables;
use crate::stack;
use crate::stack::Loaded;

/// Registries that are asked at a time.
const PARALLEL: usize = 8;

/// Prints it.
pub(super) fn run(desk: &Desk<'_>, args: &ConfigArgs) -> Result<Exit, CliError> {
    if args.schema {
        desk.console.out(&output::json(&stack::schema()))?;
        return Ok(Exit::Done);
    }
    print(desk, args, &load(desk, args)?)
}

/// The same with the digests that the images have in their registries, which the engine
/// asks.
pub(super) async fn with_digests<B: Backend>(
    desk: &Desk<'_>,
    args: &ConfigArgs,
    backend: &B,
) -> Result<Exit, CliError> {
    let mut loaded = load(desk, args)?;
    let digests: Vec<(String, String)> = stream::iter(loaded.document.unpinned())
        .map(|(service, image)| async move {
            let digest = backend.digest(&image).await?;
            Ok::<_, BackendError>((service, digest))
        })
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    for (service, digest) in digests {
        loaded.document.pin_image(&service, &digest);
    }
    print(desk, args, &loaded)
}

fn load(desk: &Desk<'_>, args: &ConfigArgs) -> Result<Loaded, CliError> {
    desk.load_with(true, |request| {
        request.raw = args.no_interpolate;
    })
}

fn print(desk: &Desk<'_>, args: &ConfigArgs, loaded: &Loaded) -> Result<Exit, CliError> {
    if let Some(service) = &args.hash {
        return hash(desk, loaded, service);
    }
    let document = &loaded.document;
    let list = if args.services {
        Some(document.services())
    } else if args.images {
        Some(document.images().into_values().collect())
    } else if args.volumes {
        Some(document.volumes())
    } else if args.networks {
        Some(document.networks())
    } else if args.profiles {
        Some(document.profiles().iter().cloned().collect())
    } else if args.environment {
        let line = |(name, value): (&String, &String)| format!("{name}={value}");
        Some(document.environment().iter().map(line).collect())
    } else if args.variables {
        let rows = document.variables().iter().map(|used| {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
            [
                used.name.clone(),
                used.required.to_string(),
                or_none(&used.default),
                or_none(&used.alternate),
            ]
        });
        let rows: Vec<[String; 4]> = rows.collect();
        desk.answer(&document.variables(), |_| tables::variables(&rows))?;
        return Ok(Exit::Done);
    } else {
        None
    };
    if let Some(lines) = list {
        for line in lines {
            desk.console.out(&line)?;
        }
        return Ok(Exit::Done);
    }
    // `-q` only checks.
    if !desk.settings.quiet {
        let text = match desk.settings.format {
            Format::Json => document.to_json(),
            Format::Human | Format::Yaml => document.to_yaml(),
            Format::Markdown => format!("```yaml\n{}\n```", document.to_yaml().trim_end()),
        };
        desk.console.out(&text)?;
    }
    Ok(Exit::Done)
}

/// `SERVICE HASH`, Docker Compose's own.
fn hash(desk: &Desk<'_>, loaded: &Loaded, services: &str) -> Result<Exit, CliError> {
    let wanted: Vec<String> = match services {
        "*" => loaded.document.services(),
        names => names.split(',').map(str::to_owned).collect(),
    };
    known(loaded, &wanted)?;
    for service in wanted {
        if let Some(hash) = loaded.document.hash(&service) {
            desk.console.out(&format!("{service} {hash}"))?;
        }
    }
    Ok(Exit::Done)
}
