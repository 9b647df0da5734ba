//! From what the user wrote to what should be, every default filled in.
//!
//! Pure: contents of secret files and tags of built images come in with
//! [`Inputs`], gathered before. What the file asks for and this version cannot give
//! is named in a warning, never dropped silently.
//! Test: `cargo nextest run state::resolve`.

mod container;
mod files;
mod hooks;
mod ignored;
mod inner;
mod mounts;
mod network;
mod ports;
mod service;

pub use files::content;
pub use files::holds_secrets;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;

use super::desired::DesiredState;
use crate::stack::Place;
use crate::stack::Problem;
use crate::stack::Problems;
use crate::stack::Severity;
use crate::stack::Stack;
use crate::stack::model::CapacityMode;
use crate::stack::model::FileSource;
use crate::stack::problem::Snippet;

/// What resolving needs beside the stack.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Service to the tag of its built image; absent while it cannot be known.
    pub tags: BTreeMap<String, String>,
    /// Contents of the files that [`files`] lists.
    pub contents: BTreeMap<PathBuf, Vec<u8>>,
    /// Services the user named; empty means all.
    pub only: BTreeSet<String>,
}

/// A resolved stack.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What should be.
    pub desired: DesiredState,
    /// What the file asks for in vain.
    pub warnings: Vec<Problem>,
}

/// Files whose contents [`resolve`] needs: those of secrets and configs.
pub fn files(stack: &Stack) -> BTreeSet<PathBuf> {
    stack
        .secrets
        .values()
        .chain(stack.configs.values())
        .filter_map(|object| match &object.source {
            FileSource::File(path) => Some(path.clone()),
            _ => None,
        })
        .collect()
}

/// What the file asks for in vain, unless the stack asked not to hear of it.
pub fn warnings(stack: &Stack) -> Vec<Problem> {
    let silenced = |warning: &Problem| {
        let mut names = stack.shop.lint_silence.iter();
        names.any(|name| name == warning.name)
    };
    let all = stack.services.values().flat_map(ignored::of_service);
    all.filter(|one| !silenced(one)).collect()
}

/// Fills in every default.
///
/// # Errors
/// A secret or config without content, with its place.
pub fn resolve(stack: &Stack, inputs: &Inputs) -> Result<Resolved, Problems> {
    let mut problems = Vec::new();
    let mut sets = BTreeMap::new();
    let services: BTreeMap<_, _> = stack
        .services
        .values()
        .map(|service| {
            let granted = files::of_service(stack, service, inputs, &mut problems);
            let resolved = service::resolve(stack, service, inputs, granted.mounts);
            sets.extend(granted.sets);
            (service.name.clone(), resolved)
        })
        .collect();
    if !problems.is_empty() {
        return Err(Problems { list: problems });
    }
    Ok(Resolved {
        warnings: warnings(stack),
        desired: DesiredState {
            stack: stack.name.clone(),
            services,
            networks: network::networks(stack),
            volumes: mounts::volumes(stack),
            files: sets,
            ports: ports::published(stack),
            hooks: hooks::of_stack(stack),
            strict_capacity: stack.shop.capacity == CapacityMode::Strict,
            registry: stack.shop.registry.clone().unwrap_or_default(),
            cpu_overcommit_percent: 100,
            working_dir: stack.working_dir.display().to_string(),
            config_files: stack
                .files
                .iter()
                .map(|file| file.display().to_string())
                .collect(),
            only: inputs.only.clone(),
        },
    })
}

fn problem(severity: Severity, name: &'static str, place: &Place, message: String) -> Problem {
    Problem {
        severity,
        name,
        message,
        path: String::new(),
        snippet: Snippet {
            place: place.clone(),
            ..Snippet::default()
        },
        related: Vec::new(),
        hint: None,
        reference: String::new(),
    }
}
