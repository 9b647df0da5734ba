//! `config`: the resolved stack file, or lists from it.

use std::collections::BTreeMap;

use super::args::ConfigArgs;
use super::desk::Desk;
use super::desk::known;
use super::error::CliError;
use super::exit::Exit;
use super::project::Project;
use crate::report::Format;
use crate::stack::config::Document;
use crate::state::digest;

/// Prints it.
pub(super) fn run(desk: &Desk<'_>, args: &ConfigArgs) -> Result<Exit, CliError> {
    let loaded = desk.load_with(true, |request| {
        request.raw = args.no_interpolate;
    })?;
    if args.resolve_image_digests {
        return Err(CliError::usage(
            "--resolve-image-digests is not part of this version",
        ));
    }
    if let Some(service) = &args.hash {
        return hash(desk, service);
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
        Some(variables(document))
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

/// Names of the variables, as far as the document knows them.
fn variables(document: &Document) -> Vec<String> {
    document.environment().keys().cloned().collect()
}

/// `SERVICE DIGEST`, the digest being that of the service's container.
fn hash(desk: &Desk<'_>, service: &str) -> Result<Exit, CliError> {
    let loaded = desk.load(&[])?;
    let only: Vec<String> = match service {
        "*" => Vec::new(),
        names => names.split(',').map(str::to_owned).collect(),
    };
    known(&loaded, &only)?;
    let project = Project::new(
        loaded.stack,
        &desk.settings.load.environment,
        &desk.settings.cache,
        &only,
    )?;
    let files: BTreeMap<String, String> = project
        .desired
        .files
        .iter()
        .map(|(name, set)| (name.clone(), digest::file_set(set)))
        .collect();
    for service in project.desired.services.values() {
        if only.is_empty() || only.contains(&service.name) {
            let digest = digest::revision(&service.container, &files);
            desk.console.out(&format!("{} {digest}", service.name))?;
        }
    }
    Ok(Exit::Done)
}
