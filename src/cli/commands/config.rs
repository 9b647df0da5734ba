//! `config`: the resolved stack file, or lists from it.

use std::collections::BTreeMap;

use super::super::args::ConfigArgs;
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::scene::Scene;
use super::super::scene::known;
use super::super::world::World;
use crate::report::Format;
use crate::stack::config::Document;
use crate::state::digest;

/// Prints it.
pub(super) async fn run<W: World>(scene: &Scene<'_, W>, args: &ConfigArgs) -> Result<u8, CliError> {
    let loaded = scene.load_with(|request| {
        request.raw = args.no_interpolate;
    })?;
    if args.resolve_image_digests {
        return Err(CliError::usage(
            "--resolve-image-digests is not part of this version",
        ));
    }
    if let Some(service) = &args.hash {
        return hash(scene, service).await;
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
            scene.console.out(&line)?;
        }
        return Ok(Exit::Done.code());
    }
    // `-q` only checks.
    if !scene.settings.quiet {
        let text = match scene.settings.format {
            Format::Json => document.to_json(),
            Format::Human | Format::Yaml => document.to_yaml(),
            Format::Markdown => format!("```yaml\n{}\n```", document.to_yaml().trim_end()),
        };
        scene.console.out(&text)?;
    }
    Ok(Exit::Done.code())
}

/// Names of the variables, as far as the document knows them.
fn variables(document: &Document) -> Vec<String> {
    document.environment().keys().cloned().collect()
}

/// `SERVICE DIGEST`, the digest being that of the service's container.
async fn hash<W: World>(scene: &Scene<'_, W>, service: &str) -> Result<u8, CliError> {
    let quiet = scene.load_with(|_| {})?;
    let only: Vec<String> = match service {
        "*" => Vec::new(),
        names => names.split(',').map(str::to_owned).collect(),
    };
    known(&quiet, &only)?;
    let project = scene.project(&only)?;
    let files: BTreeMap<String, String> = project
        .desired
        .files
        .iter()
        .map(|(name, set)| (name.clone(), digest::file_set(set)))
        .collect();
    for service in project.desired.services.values() {
        if only.is_empty() || only.contains(&service.name) {
            let digest = digest::revision(&service.container, &files);
            scene.console.out(&format!("{} {digest}", service.name))?;
        }
    }
    Ok(Exit::Done.code())
}
