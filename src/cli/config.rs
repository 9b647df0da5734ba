//! `config`: the resolved stack file, lists from it, or only what is wrong with it.

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;

use super::args::ConfigArgs;
use super::desk::Desk;
use super::desk::for_backend;
use super::desk::known;
use super::error::CliError;
use super::error::print_findings;
use super::exit::Exit;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::report::Format;
use crate::report::documents::VERSION;
use crate::report::output;
use crate::report::problems::FoundProblem;
use crate::report::problems::ProblemsDocument;
use crate::report::problems::RelatedPlace;
use crate::report::tables;
use crate::stack;
use crate::stack::Loaded;
use crate::stack::Problem;
use crate::stack::Problems;
use crate::state::resolve;

/// Registries that are asked at a time.
const PARALLEL: usize = 8;

/// Prints it.
pub(super) fn run(desk: &Desk<'_>, args: &ConfigArgs) -> Result<Exit, CliError> {
    if args.schema {
        desk.console.out(&output::json(&stack::schema()))?;
        return Ok(Exit::Done);
    }
    let loaded = load(desk, args);
    if desk.settings.quiet && desk.settings.format == Format::Json && !lists(args) {
        return problems(desk, args, &loaded);
    }
    print(desk, args, &told(desk, args, loaded)?)
}

/// The same with the digests that the images have in their registries, which the engine
/// asks.
pub(super) async fn with_digests<B: Backend>(
    desk: &Desk<'_>,
    args: &ConfigArgs,
    backend: &B,
) -> Result<Exit, CliError> {
    let mut loaded = told(desk, args, load(desk, args))?;
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

fn load(desk: &Desk<'_>, args: &ConfigArgs) -> Result<Loaded, Problems> {
    let mut request = desk.settings.load.clone();
    request.raw = args.no_interpolate;
    stack::load(&request)
}

/// What was loaded, with a word about what was found: quiet or not, who checks a file wants
/// to hear of it.
fn told(
    desk: &Desk<'_>,
    args: &ConfigArgs,
    loaded: Result<Loaded, Problems>,
) -> Result<Loaded, CliError> {
    let loaded = for_backend(desk.settings, loaded?);
    print_findings(desk.console, &found(&loaded, args.no_interpolate), true);
    Ok(loaded)
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
    // `-q` only checks, and has told what it found.
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

/// What was found in a stack that can be used; a raw one is not checked.
fn found(loaded: &Loaded, raw: bool) -> Vec<Problem> {
    let mut found = loaded.warnings.clone();
    if !raw {
        found.extend(resolve::warnings(&loaded.stack));
    }
    found
}

/// What is wrong, as one document for an editor; the exit code is the same as without.
fn problems(
    desk: &Desk<'_>,
    args: &ConfigArgs,
    loaded: &Result<Loaded, Problems>,
) -> Result<Exit, CliError> {
    let valid = loaded.is_ok();
    let found = match loaded {
        Ok(loaded) => {
            let mut found = self::found(loaded, args.no_interpolate);
            for problem in &mut found {
                mark(loaded, problem);
            }
            found
        }
        Err(problems) => problems.list.clone(),
    };
    let document = ProblemsDocument {
        version: VERSION.to_owned(),
        valid,
        problems: found.iter().map(problem).collect(),
    };
    desk.console.out(&output::json(&document))?;
    Ok(if valid {
        Exit::Done
    } else {
        Exit::StackInvalid
    })
}

/// What is found after loading knows only where its key begins.
fn mark(loaded: &Loaded, problem: &mut Problem) {
    if problem.snippet.line.is_some() {
        return;
    }
    problem.snippet = loaded.snippet(&problem.snippet.place);
    let before = problem.snippet.place.column.saturating_sub(1) as usize;
    let line = problem.snippet.line.as_deref().unwrap_or_default();
    let key = line.chars().skip(before);
    let length = key.take_while(|one| !one.is_whitespace() && *one != ':');
    problem.snippet.length = u32::try_from(length.count()).unwrap_or_default();
}

/// Whether something else than the whole is asked for.
fn lists(args: &ConfigArgs) -> bool {
    args.services
        || args.images
        || args.volumes
        || args.networks
        || args.profiles
        || args.variables
        || args.environment
        || args.hash.is_some()
}

fn problem(found: &Problem) -> FoundProblem {
    let place = found.place();
    FoundProblem {
        name: found.name.to_owned(),
        severity: found.severity.to_string(),
        message: found.message.clone(),
        path: found.path.clone(),
        file: place.file.to_string(),
        line: place.line,
        column: place.column,
        end: place.column + found.snippet.length,
        hint: found.hint.clone(),
        reference: found.reference.clone(),
        related: found
            .related
            .iter()
            .map(|related| {
                let place = &related.snippet.place;
                RelatedPlace {
                    note: related.note.clone(),
                    file: place.file.to_string(),
                    line: place.line,
                    column: place.column,
                    end: place.column + related.snippet.length,
                }
            })
            .collect(),
    }
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
