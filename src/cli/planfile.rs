//! Plan files: what `plan --out` writes and `deploy --plan` insists on.
//!
//! A plan file holds no value of an environment, secret or config. Replicas are
//! named by their revision, so a changed value changes the steps, and with them
//! the comparison: whoever deploys a plan file gets what was reviewed, or nothing.

use std::fs;
use std::path::Path;

use super::error::CliError;
use super::exit::Exit;
use crate::plan::action::Plan;
use crate::plan::action::Step;
use crate::plan::report;
use crate::report::documents::PlanDocument;
use crate::report::documents::VERSION;
use crate::report::output;

/// The document of a plan, with its changes, steps and causes in words.
pub(super) fn document(plan: &Plan, only: &[String]) -> PlanDocument {
    let words = |step: &Step| (report::what(step), report::cause(&step.cause));
    PlanDocument::new(plan, only, report::changes(plan), words)
}

/// Writes a plan file.
pub(super) fn write(path: &Path, document: &PlanDocument) -> Result<(), CliError> {
    fs::write(path, output::json(document)).map_err(|error| {
        CliError::caused(
            Exit::Usage,
            format!("the plan file {} cannot be written", path.display()),
            &error,
        )
    })
}

/// Reads a plan file.
pub(super) fn read(path: &Path) -> Result<PlanDocument, CliError> {
    let unusable = |error: &dyn std::error::Error| {
        CliError::caused(
            Exit::Usage,
            format!("{} is no plan file", path.display()),
            error,
        )
        .hint("shopctl plan --out FILE")
    };
    let bytes = fs::read(path).map_err(|error| unusable(&error))?;
    let document: PlanDocument =
        serde_json::from_slice(&bytes).map_err(|error| unusable(&error))?;
    if document.version == VERSION {
        Ok(document)
    } else {
        Err(CliError::usage(format!(
            "{} has format version {}, and this shopctl knows {VERSION}",
            path.display(),
            document.version
        )))
    }
}

/// Refuses when a plan made now is not the one of the file.
pub(super) fn compare(filed: &PlanDocument, now: &PlanDocument) -> Result<(), CliError> {
    if (&filed.stack, &filed.basis, &filed.steps) == (&now.stack, &now.basis, &now.steps) {
        return Ok(());
    }
    let mut detail = vec!["a plan made now:".to_owned()];
    detail.extend(now.changes.iter().cloned());
    if now.changes.is_empty() {
        detail.push("nothing to do".to_owned());
    }
    Err(CliError::new(
        Exit::Stale,
        "the plan is stale: the stack file or what runs has changed since; nothing was changed",
    )
    .detail(detail)
    .hint("review a new one: shopctl plan --out FILE"))
}
